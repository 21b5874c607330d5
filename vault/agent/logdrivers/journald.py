"""Lines for the systemd journal, by its native protocol.

`entry`, `field_name` and `fields_of` are pure; `JournalTarget` sends.  Called by `executors.oci.shipping`.
Source: systemd, "Native Journal Protocol"; names of fields as moby's daemon/logger/journald has them.
"""

import array
import asyncio
import errno
import fcntl
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vault.agent.logdrivers.attributes import Logged
from vault.agent.logdrivers.target import Origin, unix_datagrams
from vault.agent.logs import LogLine

SOCKET: Final = Path("/run/systemd/journal/socket")
NOT_ENABLED: Final = "journald is not enabled on this host"
_ERROR, _INFO = b"3", b"6"
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_NAME_MAX: Final = 64  # Of a field; longer names make the journal drop it.
_SECOND_NS: Final = 1_000_000_000


def field_name(text: str) -> str:
    """Return a name that the journal takes: A-Z, 0-9 and _, and none of the latter two at the start; "" for none."""
    upper = "".join(c.upper() if c.isascii() and c.isalpha() else c if c in "0123456789" else "_" for c in text)
    return upper.lstrip("_0123456789")[:_NAME_MAX]


def fields_of(container: Logged, tag: str, attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that every line of a container has; an attribute never stands in for one of the others."""
    own = {name: value for key, value in attributes.items() if (name := field_name(key))}
    return own | {
        "CONTAINER_ID": container.id[:12],
        "CONTAINER_ID_FULL": container.id,
        "CONTAINER_NAME": container.name,
        "CONTAINER_TAG": tag,
        "IMAGE_NAME": container.image,
        "SYSLOG_IDENTIFIER": tag,
    }


def entry(origin: Origin, line: LogLine) -> bytes:
    """Return one line as the journal's datagram."""
    at = datetime.fromtimestamp(line.at_ns // _SECOND_NS, UTC)
    fields = {
        **{name: value.encode() for name, value in origin.fields.items()},  # A label may be called MESSAGE, too.
        "MESSAGE": line.data.removesuffix(b"\n"),
        "PRIORITY": _ERROR if line.stream == "stderr" else _INFO,
        "SYSLOG_TIMESTAMP": f"{at:%Y-%m-%dT%H:%M:%S}.{line.at_ns % _SECOND_NS:09d}Z".encode(),
    }
    return b"".join(_field(name.encode(), value) for name, value in fields.items())


def _field(name: bytes, value: bytes) -> bytes:
    """Return NAME=value; a value with a newline goes with its length, in 8 bytes, the lowest first."""
    if b"\n" in value:
        return b"%b\n%b%b\n" % (name, len(value).to_bytes(8, "little"), value)
    return b"%b=%b\n" % (name, value)


class JournalTarget:
    """The journal of this node."""

    def __init__(self, origin: Origin, path: Path = SOCKET) -> None:
        self._origin = origin
        self._path = path
        self._socket: socket.socket | None = None

    async def send(self, lines: Sequence[LogLine]) -> None:
        """Send lines; an empty one has nothing to say."""
        try:
            if self._socket is None:
                self._socket = unix_datagrams(str(self._path))
            for line in lines:
                if line.data != b"\n":
                    await self._send(entry(self._origin, line))
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _send(self, datagram: bytes) -> None:
        assert self._socket is not None
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, datagram)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            await asyncio.to_thread(_send_as_file, self._path, datagram)


def _send_as_file(path: Path, datagram: bytes) -> None:
    """Send what is too long for a datagram as a sealed file in memory."""
    fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(datagram)
        while rest:
            rest = rest[os.write(fd, rest) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.settimeout(10)
            one.connect(str(path))
            one.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    finally:
        os.close(fd)


def why_not(path: Path = SOCKET) -> str:
    """Return why lines cannot go to the journal of this node; "" when they can."""
    return "" if path.is_socket() else NOT_ENABLED

"""Lines for a syslog server: RFC 3164, RFC 5424, or as local programs write them, over udp, tcp, TLS or a socket.

`message` and `pieces` are pure; `SyslogTarget` connects.  Called by `executors.oci.shipping`.  Source of the forms:
moby, daemon/logger/syslog; unlike there, the time and the process are those of the line, not of its sending.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vault.agent.logdrivers.target import Origin, unix_datagrams
from vault.agent.logs import LogLine
from vault.model.log_syslog import SyslogServer

PIECE_BYTES: Final = 16 * 1024  # Longer lines are several messages, as with Docker.
TIMEOUT_S: Final = 10.0  # To connect, or until the server has taken what was sent.
LOCAL_SOCKETS: Final = ("/dev/log", "/var/run/syslog", "/var/run/log")
_ERROR, _INFO = 3, 6
_SECOND_NS: Final = 1_000_000_000


def message(server: SyslogServer, origin: Origin, line: LogLine, text: bytes) -> bytes:
    """Return one message, with what ends it or tells its length."""
    priority = server.facility << 3 | (_ERROR if line.stream == "stderr" else _INFO)
    at = datetime.fromtimestamp(line.at_ns // _SECOND_NS, UTC).replace(microsecond=line.at_ns % _SECOND_NS // 1000)
    stamp = f"{at:%b} {at.day:2d} {at:%H:%M:%S}"
    match server.format:
        case "rfc5424":
            head = f"<{priority}>1 {at:%Y-%m-%dT%H:%M:%SZ} {_rfc5424(origin)}"
        case "rfc5424micro":
            head = f"<{priority}>1 {at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06d}Z {_rfc5424(origin)}"
        case "rfc3164":
            head = f"<{priority}>{stamp} {origin.hostname} {origin.tag}[{origin.pid}]: "
        case _:
            head = f"<{priority}>{stamp} {origin.tag}[{origin.pid}]: "
    whole = head.encode() + text
    if server.counts_octets:
        return b"%d %b" % (len(whole), whole)
    return whole + b"\n"


def _rfc5424(origin: Origin) -> str:
    # Host name, application, process, message id, structured data (none).  Source: RFC 5424, section 6.
    return f"{origin.hostname} {origin.tag} {origin.pid} {origin.tag} - "


def pieces(line: LogLine) -> Iterator[bytes]:
    """Yield the texts of a line's messages; none of an empty line, which a newline would break in two."""
    text = line.data.removesuffix(b"\n")
    for at in range(0, len(text), PIECE_BYTES):
        yield text[at : at + PIECE_BYTES]


class SyslogTarget:
    """A connection with a server, made when there is something to send, and again after an error."""

    def __init__(self, server: SyslogServer, origin: Origin, local: Sequence[str] = LOCAL_SOCKETS) -> None:
        """local: sockets of the local server, for a server without an address."""
        self._server = server
        self._origin = origin
        self._local = local
        self._datagrams: socket.socket | None = None
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, lines: Sequence[LogLine]) -> None:
        """Send lines, one message after the other."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._send(
                    [message(self._server, self._origin, line, text) for line in lines for text in pieces(line)]
                )
        except TimeoutError:
            await self.close()
            raise OSError("the syslog server takes nothing") from None
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the connection."""
        if self._datagrams is not None:
            self._datagrams.close()
        if self._stream is not None:
            _, writer = self._stream
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()
        self._datagrams = self._stream = None

    async def _send(self, messages: Sequence[bytes]) -> None:
        if self._stream is not None and (self._stream[0].at_eof() or self._stream[1].is_closing()):
            await self.close()  # The server has hung up.
        if self._datagrams is None and self._stream is None:
            await self._connect()
        if self._stream is not None:
            _, writer = self._stream
            writer.write(b"".join(messages))
            await writer.drain()
            return
        assert self._datagrams is not None
        for one in messages:
            with suppress(ConnectionRefusedError):  # Of an earlier datagram: over udp nobody knows what arrives.
                await asyncio.get_running_loop().sock_sendall(self._datagrams, one)

    async def _connect(self) -> None:
        server = self._server
        match server.scheme:
            case "":
                await self._connect_local()
            case "udp":
                await self._connect_udp()
            case "unixgram":
                self._datagrams = unix_datagrams(server.path)
            case "unix":
                self._stream = await asyncio.open_unix_connection(server.path)
            case _:
                context = tls_context(server) if server.scheme == "tcp+tls" else None
                self._stream = await asyncio.open_connection(server.host, server.port, ssl=context)

    async def _connect_local(self) -> None:
        """Connect with the server of this node, by the first socket where one listens."""
        for path in self._local:
            with suppress(OSError):
                self._datagrams = unix_datagrams(path)
                return
            with suppress(OSError):
                self._stream = await asyncio.open_unix_connection(path)
                return
        raise OSError(f"no syslog server listens at {', '.join(self._local)}")

    async def _connect_udp(self) -> None:
        found = await asyncio.get_running_loop().getaddrinfo(
            self._server.host, self._server.port, type=socket.SOCK_DGRAM
        )
        family, kind, protocol, _, address = found[0]
        one = socket.socket(family, kind, protocol)
        try:
            one.setblocking(False)
            one.connect(address)
        except OSError:
            one.close()
            raise
        self._datagrams = one


def tls_context(server: SyslogServer) -> ssl.SSLContext:
    """Return how a server is met over TLS.  Raises `OSError` or `ssl.SSLError` for files that cannot be used."""
    context = ssl.create_default_context(cafile=server.ca_cert or None)
    if not server.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if server.cert or server.key:
        context.load_cert_chain(server.cert, server.key or None)
    return context


def why_not(server: SyslogServer) -> str:
    """Return what on this node is in the way of sending to a server, in a sentence; "" = nothing."""
    if server.path and not os.path.exists(server.path):
        return f"stat {server.path}: no such file or directory"
    if server.scheme == "tcp+tls":
        for path in filter(None, (server.ca_cert, server.cert, server.key)):
            if not Path(path).is_file():
                return f"could not load X509 key pair: open {path}: no such file or directory"
        try:
            tls_context(server)
        except (OSError, ssl.SSLError) as error:
            return f"could not load X509 key pair: {error}"
    return ""

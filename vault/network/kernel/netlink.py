"""Netlink: how to talk to the kernel's network parts, one request at a time or many in one go.

Not pure.  Used by `kernel.links`, `overlay.entries` and `kernel.flows`.  A socket acts on the namespace it was opened
in, wherever the thread goes afterwards, and may be used from several threads.  Source: netlink(7),
<linux/netlink.h>.
"""

import os
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Self

REQUEST, ACK, REPLACE, EXCL, CREATE, APPEND, DUMP = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800, 0x300
_ERROR, _DONE = 2, 3
_DUMP_INTERRUPTED: Final = 0x10
_CAPPED, _HAS_ATTRIBUTES = 0x100, 0x200  # Flags of an error's header.
_SOL_NETLINK, _EXT_ACK, _CAP_ACK, _MESSAGE_OF_ERROR = 270, 11, 10, 1
_ATTRIBUTE_KIND: Final = 0x3FFF  # Without the flags for nested and for big-endian.
_HEADER: Final = struct.Struct("=IHHII")  # Length, type, flags, sequence, port.
_ATTRIBUTE: Final = struct.Struct("=HH")  # Length, kind.
_ANSWER_BYTES: Final = 1 << 16
_BATCH_BYTES: Final = 1 << 15  # Well below what a socket's buffer holds, so that answers find room too.
_TIMEOUT_S: Final = 10
_DUMPS: Final = 5


class Request(NamedTuple):
    """One message to the kernel, without header."""

    kind: int
    flags: int
    body: bytes


class Failure(NamedTuple):
    """A request of a batch that the kernel refused."""

    request: Request
    error: OSError


class NetlinkSocket:
    """A socket to one part of the kernel; each call raises `OSError` with the kernel's reason."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(_TIMEOUT_S)
        for option in (_EXT_ACK, _CAP_ACK):  # A reason in words, and no copy of what we asked.
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; a socket keeps its namespace alive until then."""
        self._socket.close()

    def ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """Send one request; return the body of the answer that came before its acknowledgement, or nothing."""
        with self._turn:
            number = self._send([Request(kind, flags | ACK, body)])
            answer = b""
            for type_, _, sequence, one in self._answers():
                if sequence != number:
                    continue
                if type_ != _ERROR:
                    answer = one
                elif (error := _error(one)) is not None:
                    raise error
                else:
                    return answer
        raise AssertionError("the kernel's answers do not end")

    def batch(self, requests: Iterable[Request]) -> list[Failure]:
        """Send many requests, each carried out whatever becomes of the others; return those that were refused."""
        failures: list[Failure] = []
        with self._turn:
            for part in _parts(requests):
                last = part[-1]
                # Only the last is acknowledged: errors come anyhow, and silence is cheap.
                number = self._send([*part[:-1], last._replace(flags=last.flags | ACK)])
                for type_, _, sequence, one in self._answers():
                    place = sequence - number + len(part) - 1
                    if type_ != _ERROR or not 0 <= place < len(part):
                        continue
                    if (error := _error(one)) is not None:
                        failures.append(Failure(part[place], error))
                    if sequence == number:
                        break
        return failures

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the bodies of all there is of a kind."""
        for _ in range(_DUMPS):
            if (found := self._dump(kind, body)) is not None:
                return found
        raise OSError(0, "the kernel's tables changed too fast to be read")

    def _dump(self, kind: int, body: bytes) -> list[bytes] | None:
        """Return what there is; None when that changed while it was read."""
        found, whole = [], True
        with self._turn:
            number = self._send([Request(kind, DUMP, body)])
            for type_, flags, sequence, one in self._answers():
                if sequence != number:
                    continue
                whole = whole and not flags & _DUMP_INTERRUPTED
                if type_ == _ERROR:
                    if (error := _error(one)) is not None:
                        raise error
                elif type_ == _DONE:
                    break
                else:
                    found.append(one)
        return found if whole else None

    def _send(self, requests: list[Request]) -> int:
        """Send requests in one datagram; return the number of the last."""
        data = bytearray()
        for kind, flags, body in requests:
            self._sequence += 1
            data += _HEADER.pack(_HEADER.size + len(body), kind, flags | REQUEST, self._sequence, 0)
            data += body.ljust(aligned(len(body)), b"\0")
        self._socket.send(data)
        return self._sequence

    def _answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield type, flags, sequence and body of what the kernel says, for as long as it is listened to."""
        while True:
            data = self._socket.recv(_ANSWER_BYTES)
            at = 0
            while at + _HEADER.size <= len(data):
                length, type_, flags, sequence, _ = _HEADER.unpack_from(data, at)
                yield type_, flags, sequence, _with_flags(type_, flags, data[at + _HEADER.size : at + length])
                at += aligned(length)


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute as it stands in a message."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value.ljust(aligned(len(value)), b"\0")


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return the attributes that begin at an offset, by kind."""
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _ATTRIBUTE_KIND] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += aligned(length)
    return found


def aligned(length: int) -> int:
    """Return a length with its padding."""
    return (length + 3) & ~3


def _parts(requests: Iterable[Request]) -> Iterator[list[Request]]:
    part: list[Request] = []
    size = 0
    for request in requests:
        length = _HEADER.size + aligned(len(request.body))
        if part and size + length > _BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(request)
        size += length
    if part:
        yield part


def _with_flags(type_: int, flags: int, body: bytes) -> bytes:
    """Return a body; an error's without what does not belong to its words."""
    if type_ != _ERROR or not flags & _HAS_ATTRIBUTES:
        return body
    skipped = _HEADER.size
    if not flags & _CAPPED:
        (skipped,) = struct.unpack_from("=I", body, 4)
    return body[:4] + body[4 + aligned(skipped) :]


def _error(body: bytes) -> OSError | None:
    """Return the error that an answer tells of, in the kernel's words where it has some; None for success."""
    (number,) = struct.unpack_from("=i", body)
    if not number:
        return None
    words = attributes(body, 4).get(_MESSAGE_OF_ERROR, b"").rstrip(b"\0").decode(errors="replace")
    return OSError(-number, words or os.strerror(-number))

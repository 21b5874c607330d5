"""Associations of SCTP on a kernel without sockets for it: their first packets, made by hand.  Source: RFC 9260."""

import socket
import struct
from pathlib import Path
from typing import NamedTuple

from tests.network.hosts import inside

PROTOCOL = 132
_INIT, _INIT_ACK = 1, 2
_SECONDS = 2.0


class Packet(NamedTuple):
    """What a test looks at."""

    source: str
    ports: tuple[int, int]  # Source, destination.
    chunk: int


def crc32c(data: bytes) -> int:
    """Return the checksum of SCTP: CRC-32C, reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def packet(ports: tuple[int, int], tag: int, chunk: int, own_tag: int) -> bytes:
    """Return an INIT, or the answer to one; the latter carries a cookie."""
    body = struct.pack("!LLHHL", own_tag, 65_536, 1, 1, 1)
    if chunk == _INIT_ACK:
        body += struct.pack("!HH", 7, 8) + b"cook"
    whole = struct.pack("!HHLL", *ports, tag, 0) + struct.pack("!BBH", chunk, 0, 4 + len(body)) + body
    return whole[:8] + struct.pack("<L", crc32c(whole)) + whole[12:]


class End:
    """One end of an association, in a namespace."""

    def __init__(self, namespace: Path | int | None, port: int) -> None:
        def make() -> socket.socket:
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL)

        self.port = port
        self._socket = make() if namespace is None else inside(namespace, make)
        self._socket.settimeout(_SECONDS)

    def close(self) -> None:
        self._socket.close()

    def begin(self, address: str, port: int) -> None:
        """Send an INIT."""
        self._socket.sendto(packet((self.port, port), 0, _INIT, 7), (address, 0))

    def answer(self, got: Packet) -> None:
        """Answer one."""
        self._socket.sendto(packet((self.port, got.ports[0]), 7, _INIT_ACK, 9), (got.source, 0))

    def receive(self, chunk: int = _INIT) -> Packet:
        """Return the next packet for this end's port that begins with a chunk; raises `TimeoutError`."""
        while True:
            data, (source, _) = self._socket.recvfrom(2048)
            sctp = data[(data[0] & 15) * 4 :]
            found = Packet(source, struct.unpack("!HH", sctp[:4]), sctp[12])
            assert crc32c(sctp[:8] + bytes(4) + sctp[12:]) == struct.unpack("<L", sctp[8:12])[0], "a wrong checksum"
            if (found.ports[1], found.chunk) == (self.port, chunk):
                return found


def associate(client: End, server: End, address: str, port: int) -> tuple[Packet, Packet]:
    """Begin an association and have it answered; return what the server and the client see of each other."""
    client.begin(address, port)
    seen = server.receive()
    server.answer(seen)
    return seen, client.receive(_INIT_ACK)

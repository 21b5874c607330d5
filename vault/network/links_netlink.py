"""Links, addresses and routes by rtnetlink: what `ip` does, without starting a program for each task.

Not pure.  Used by `vault.network.links_kernel`, in its threads.  A socket acts on the namespace it was opened in,
wherever the thread goes afterwards.  Source: rtnetlink(7), veth(4), <linux/if_link.h>.
"""

import contextlib
import os
import socket
import struct
from ipaddress import IPv4Address
from typing import Final, Self

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _NEWROUTE = 16, 17, 18, 20, 24
_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400
_ERROR: Final = 2
_IFF_UP: Final = 1
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 3, 18, 26, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER, _INET6_ADDR_GEN_MODE = 1, 2, 1, 8
_ADDR_GEN_NONE: Final = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_OIF, _RTA_GATEWAY = 4, 5
_TABLE_MAIN, _PROTOCOL_STATIC, _SCOPE_UNIVERSE, _TYPE_UNICAST = 254, 4, 0, 1

_HEADER: Final = struct.Struct("=IHHII")  # Length, type, flags, sequence, port.
_LINK: Final = struct.Struct("=BxHiII")  # Family, device type, index, flags, which flags to change.
_ADDRESS: Final = struct.Struct("=BBBBi")  # Family, prefix length, flags, scope, index.
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # Family, lengths, tos, table, protocol, scope, type, flags.
_ANSWER_BYTES: Final = 65536
_TIMEOUT_S: Final = 10


class Netlink:
    """Changes to the links of one namespace; each raises `OSError` with the kernel's reason."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_TIMEOUT_S)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def add_pair(self, link: str, peer: str, peer_namespace: int) -> None:
        """Add a veth pair, both ends down: `link` here, `peer` in another namespace.

        peer_namespace: a descriptor of it.
        """
        inner = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(peer)
        inner += _attribute(_IFLA_NET_NS_FD, struct.pack("=i", peer_namespace))
        kind = _attribute(_INFO_KIND, b"veth") + _attribute(_INFO_DATA, _attribute(_VETH_PEER, inner))
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(link)
        self._ask(_NEWLINK, _CREATE | _EXCL, body + _attribute(_IFLA_LINKINFO, kind))

    def delete(self, link: str) -> None:
        """Delete a link, and its peer with it."""
        self._ask(_DELLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(link))

    def up(self, link: str) -> None:
        """Bring a link up, without an IPv6 address that nobody asked for."""
        index = self.index(link)
        with contextlib.suppress(OSError):  # Where the kernel has no IPv6, or the link's has been turned off.
            self._ask(_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _no_ipv6())
        self._ask(_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP))

    def index(self, link: str) -> int:
        """Return the number of a link."""
        answer = self._ask(_GETLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(link))
        return int(_LINK.unpack_from(answer)[2])

    def add_address(self, link: str, own: IPv4Address, peer: IPv4Address) -> None:
        """Give a link an address, with a route to the one at its other end."""
        body = _ADDRESS.pack(socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, self.index(link))
        body += _attribute(_IFA_LOCAL, own.packed) + _attribute(_IFA_ADDRESS, peer.packed)
        self._ask(_NEWADDR, _CREATE | _EXCL, body)

    def add_default_route(self, link: str, gateway: IPv4Address) -> None:
        """Send what is for nobody else through a link."""
        kind = (_TABLE_MAIN, _PROTOCOL_STATIC, _SCOPE_UNIVERSE, _TYPE_UNICAST, 0)
        body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, *kind)
        body += _attribute(_RTA_GATEWAY, gateway.packed) + _attribute(_RTA_OIF, struct.pack("=i", self.index(link)))
        self._ask(_NEWROUTE, _CREATE | _EXCL, body)

    def _ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """Send one request; return the body of the answer that came before its acknowledgement, or nothing."""
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, flags | _REQUEST | _ACK, self._sequence, 0) + body)
        answer = b""
        while True:
            data = self._socket.recv(_ANSWER_BYTES)
            while data:
                length, type_, _, sequence, _ = _HEADER.unpack_from(data)
                one, data = data[_HEADER.size : length], data[_aligned(length) :]
                if sequence != self._sequence:
                    continue
                if type_ == _ERROR:
                    (error,) = struct.unpack_from("=i", one)
                    if error:
                        raise OSError(-error, os.strerror(-error))
                    return answer
                answer = one


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value.ljust(_aligned(len(value)), b"\0")


def _name(link: str) -> bytes:
    return _attribute(_IFLA_IFNAME, link.encode() + b"\0")


def _no_ipv6() -> bytes:
    mode = _attribute(_INET6_ADDR_GEN_MODE, bytes((_ADDR_GEN_NONE,)))
    return _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET6, mode))


def _aligned(length: int) -> int:
    return (length + 3) & ~3

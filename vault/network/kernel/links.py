"""Links, addresses and routes by rtnetlink: what `ip` does, without starting a program for each task.

Not pure.  Used by the packages above, in threads.  Source: rtnetlink(7), veth(4),
<linux/if_link.h>.
"""

import errno
import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Final, NamedTuple

from vault.network.kernel.netlink import CREATE, EXCL, REPLACE, NetlinkSocket, Request, attribute, attributes

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _GETADDR, _NEWROUTE, _DELROUTE = 16, 17, 18, 20, 22, 24, 25
_IFF_UP: Final = 1
_CARRIES_S: Final = 3.0
_OPERATIONAL: Final = 6  # RFC 2863: up.
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_OPERSTATE, _IFLA_LINKINFO = 1, 3, 4, 16, 18
_IFLA_AF_SPEC, _IFLA_NET_NS_FD, _IFLA_EXT_MASK, _SKIP_STATS = 26, 28, 29, 8
_INFO_KIND, _INFO_DATA, _VETH_PEER, _INET6_ADDR_GEN_MODE = 1, 2, 1, 8
_ADDR_GEN_NONE: Final = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_NODAD, _NOPREFIXROUTE = 0x02, 0x200
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_RTNH_ONLINK: Final = 4
_TABLE_MAIN, _PROTOCOL_STATIC, _TYPE_UNICAST = 254, 4, 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253

LOOPBACK: Final = 1  # The number of `lo`, in every namespace.
_EVERYTHING: Final = IPv4Network("0.0.0.0/0")
_LINK: Final = struct.Struct("=BxHiII")  # Family, device type, index, flags, which flags to change.
_ADDRESS: Final = struct.Struct("=BBBBi")  # Family, prefix length, flags, scope, index.
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # Family, lengths, tos, table, protocol, scope, type, flags.


class Link(NamedTuple):
    """A link as the kernel has it."""

    number: int
    name: str
    mac: bytes
    mtu: int


class Netlink(NetlinkSocket):
    """The links of one namespace; each method raises `OSError` with the kernel's reason."""

    def add_pair(
        self,
        link: str,
        peer: str,
        peer_namespace: int,
        *,
        mtu: int = 0,
        mac: bytes = b"",
        peer_mac: bytes = b"",
    ) -> None:
        """Add a veth pair, both ends down: `link` here, `peer` in another namespace.

        peer_namespace: a descriptor of it.  mtu: of both ends; 0 = the kernel's.  mac: 6 bytes; empty = drawn.
        """
        inner = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _about(peer, mtu, peer_mac)
        inner += attribute(_IFLA_NET_NS_FD, struct.pack("=i", peer_namespace))
        self._add(link, "veth", attribute(_VETH_PEER, inner), _about(link, mtu, mac))

    def add_elsewhere(self, link: str, kind: str, data: bytes, namespace: int, *, mtu: int, mac: bytes) -> None:
        """Add a link of some kind in another namespace; its outer packets stay in this one.

        data: what only that kind has.  namespace: a descriptor.  mac: 6 bytes.
        """
        about = _about(link, mtu, mac) + attribute(_IFLA_NET_NS_FD, struct.pack("=i", namespace))
        self._add(link, kind, data, about)

    def add(self, link: str, kind: str) -> None:
        """Add a link of a kind that needs to be told nothing more."""
        self._add(link, kind, b"", _about(link, 0, b""))

    def delete(self, link: str) -> None:
        """Delete a link, and its peer with it."""
        self.ask(_DELLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(link))

    def up(self, link: str) -> None:
        """Bring a link up, without an IPv6 address that nobody asked for."""
        self.carry_out([without_ipv6(index := self.index(link)), up(index)])

    def carry_out(self, requests: Iterable[Request]) -> None:
        """Send many requests at once; raise the first error.  That there is no IPv6 to be left out is none."""
        for request, error in self.batch(requests):
            if request.kind != _NEWLINK or not request.body.endswith(_NO_IPV6):
                raise error

    def until_carrying(self, link: str) -> None:
        """Return once a link whose two ends are up carries packets.

        The kernel drops what is sent through the end that came up first until a worker of its own has seen the other.
        That takes up to a second, on a busy machine or where both ends have the same number; asking makes newer kernels
        look at once.
        """
        until_s = time.monotonic() + _CARRIES_S
        while attributes(self.describe(link), _LINK.size).get(_IFLA_OPERSTATE, b"\0")[0] != _OPERATIONAL:
            if time.monotonic() > until_s:
                raise OSError(errno.ENETDOWN, f"{link} does not come up")
            time.sleep(0.001)

    def change(self, index: int, *, mtu: int = 0, mac: bytes = b"") -> None:
        """Give a link another MTU or MAC address."""
        self.ask(_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _about("", mtu, mac))

    def index(self, link: str) -> int:
        """Return the number of a link."""
        return int(_LINK.unpack_from(self.describe(link))[2])

    def look(self, link: str) -> Link:
        """Return a link."""
        return _link(self.describe(link))

    def describe(self, link: str) -> bytes:
        """Return all the kernel says of a link, but for what it has counted."""
        return self.ask(_GETLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(link) + _NO_COUNTS)

    def links(self) -> list[Link]:
        """Return every link."""
        return [_link(body) for body in self.dump(_GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0))]

    def holder(self, address: Address) -> int | None:
        """Return the number of the link that has an address; None when none has it."""
        for body in self.dump(_GETADDR, _ADDRESS.pack(_family(address), 0, 0, 0, 0)):
            found = attributes(body, _ADDRESS.size)
            if found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS)) == address.packed:
                return int(_ADDRESS.unpack_from(body)[4])
        return None

    def _add(self, link: str, kind: str, data: bytes, about: bytes) -> None:
        info = attribute(_INFO_KIND, kind.encode()) + attribute(_INFO_DATA, data)
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + about + attribute(_IFLA_LINKINFO, info)
        self.ask(_NEWLINK, CREATE | EXCL, body)


def without_ipv6(index: int) -> Request:
    """Return the request that keeps a link from getting an IPv6 address that nobody asked for."""
    return Request(_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _NO_IPV6)


def address_to(index: int, own: IPv4Address, peer: IPv4Address) -> Request:
    """Return the request that gives a link an address, with a route to the one at its other end."""
    body = _ADDRESS.pack(socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, index)
    body += attribute(_IFA_LOCAL, own.packed) + attribute(_IFA_ADDRESS, peer.packed)
    return Request(_NEWADDR, CREATE | EXCL, body)


def default_route(index: int, gateway: IPv4Address) -> Request:
    """Return the request that sends what is for nobody else through a link."""
    return route(index, _EVERYTHING, gateway=gateway)


def up(index: int) -> Request:
    """Return the request that brings a link up."""
    return Request(_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP))


def address(index: int, own: Interface) -> Request:
    """Return the request that gives a link an address, whose subnet gets no route by itself."""
    body = _ADDRESS.pack(_family(own.ip), own.network.prefixlen, 0, _SCOPE_UNIVERSE, index)
    body += attribute(_IFA_LOCAL, own.ip.packed) + attribute(_IFA_ADDRESS, own.ip.packed)
    body += attribute(_IFA_FLAGS, struct.pack("=I", _NOPREFIXROUTE | (_NODAD if own.version == 6 else 0)))
    return Request(_NEWADDR, CREATE | REPLACE, body)


def route(index: int, to: Subnet, *, gateway: Address | None = None, source: Address | None = None) -> Request:
    """Return the request that leads a subnet through a link; one that was there is replaced.

    gateway: need not be in any subnet of the link.  source: the address that packets of this host then bear.
    """
    scope = _SCOPE_LINK if gateway is None and to.version == 4 else _SCOPE_UNIVERSE
    return Request(_NEWROUTE, CREATE | REPLACE, _route(index, to, scope, gateway, source))


def no_route(index: int, to: Subnet) -> Request:
    """Return the request that takes a route away."""
    return Request(_DELROUTE, 0, _route(index, to, 255, None, None))


def _route(index: int, to: Subnet, scope: int, gateway: Address | None, source: Address | None) -> bytes:
    flags = _RTNH_ONLINK if gateway is not None else 0
    kind = (_TABLE_MAIN, _PROTOCOL_STATIC, scope, _TYPE_UNICAST, flags)
    body = _ROUTE.pack(_family(to.network_address), to.prefixlen, 0, 0, *kind)
    if to.prefixlen:
        body += attribute(_RTA_DST, to.network_address.packed)
    if gateway is not None:
        body += attribute(_RTA_GATEWAY, gateway.packed)
    if source is not None:
        body += attribute(_RTA_PREFSRC, source.packed)
    return body + attribute(_RTA_OIF, struct.pack("=i", index))


def _link(body: bytes) -> Link:
    found = attributes(body, _LINK.size)
    return Link(
        number=int(_LINK.unpack_from(body)[2]),
        name=found[_IFLA_IFNAME].rstrip(b"\0").decode(),
        mac=found.get(_IFLA_ADDRESS, b""),
        mtu=int(struct.unpack("=I", found[_IFLA_MTU])[0]),
    )


def _family(one: Address) -> int:
    return socket.AF_INET if one.version == 4 else socket.AF_INET6


def _about(link: str, mtu: int, mac: bytes) -> bytes:
    said = _name(link) if link else b""
    if mtu:
        said += attribute(_IFLA_MTU, struct.pack("=I", mtu))
    return said + attribute(_IFLA_ADDRESS, mac) if mac else said


def _name(link: str) -> bytes:
    return attribute(_IFLA_IFNAME, link.encode() + b"\0")


_NO_COUNTS: Final = attribute(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATS))
_NO_IPV6: Final = attribute(
    _IFLA_AF_SPEC, attribute(socket.AF_INET6, attribute(_INET6_ADDR_GEN_MODE, bytes((_ADDR_GEN_NONE,))))
)

"""VXLAN links, neighbours and forwarding entries by rtnetlink.

Pure: requests and the reading of answers.  Used by `overlay.device`.  Source: <linux/if_link.h>, <linux/neighbour.h>.
"""

import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final, NamedTuple

from vault.network.kernel.links import Address
from vault.network.kernel.netlink import CREATE, REPLACE, Request, attribute, attributes

NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
AF_BRIDGE: Final = 7  # The family of forwarding entries.
_PERMANENT, _NOARP = 0x80, 0x40
_SELF: Final = 0x02  # The entry is the link's own, not a bridge's above it.
_NDA_DST, _NDA_LLADDR, _NDA_PORT = 1, 2, 6
_NEIGHBOUR: Final = struct.Struct("=BBHiHBB")  # Family, padding, index, state, flags, type.
_LINK_BYTES: Final = 16
_IFLA_LINKINFO, _INFO_KIND, _INFO_DATA = 18, 1, 2
_VXLAN_ID, _LOCAL, _LEARNING, _PORT, _LOCAL6, _LOCAL_BYPASS = 1, 4, 7, 15, 17, 31


class Vxlan(NamedTuple):
    """What makes a VXLAN link the one it is; another needs another link."""

    id: int
    port: int
    local: str = ""  # Address of this node that outer packets come from; empty = the kernel's choice, IPv4.


def vxlan_data(vxlan: Vxlan) -> bytes:
    """Return what only a VXLAN link has: it learns nothing, every entry is ours."""
    data = attribute(_VXLAN_ID, struct.pack("=I", vxlan.id)) + attribute(_PORT, struct.pack(">H", vxlan.port))
    data += attribute(_LEARNING, b"\0")
    if vxlan.local:
        local = ip_address(vxlan.local)
        data += attribute(_LOCAL if local.version == 4 else _LOCAL6, local.packed)
        if local.is_loopback:  # The short cut to another link of one machine loops where that is in another namespace.
            data += attribute(_LOCAL_BYPASS, b"\0")
    return data


def vxlan_of(body: bytes) -> Vxlan | None:
    """Return what a link's description says of its VXLAN; None for another kind of link."""
    info = attributes(attributes(body, _LINK_BYTES).get(_IFLA_LINKINFO, b""))
    if info.get(_INFO_KIND, b"").rstrip(b"\0") != b"vxlan":
        return None
    data = attributes(info.get(_INFO_DATA, b""))
    local = data.get(_LOCAL) or data.get(_LOCAL6) or b""
    return Vxlan(
        id=int(struct.unpack("=I", data[_VXLAN_ID])[0]),
        port=int(struct.unpack(">H", data[_PORT])[0]),
        local=str(ip_address(local)) if any(local) else "",
    )


def neighbour(index: int, address: Address, mac: bytes) -> Request:
    """Return the request that says which MAC address an IP address has behind a link, for good."""
    return Request(NEWNEIGH, CREATE | REPLACE, _neighbour(index, address) + attribute(_NDA_LLADDR, mac))


def no_neighbour(index: int, address: Address) -> Request:
    """Return the request that takes such an entry away."""
    return Request(DELNEIGH, 0, _neighbour(index, address))


def forwarding(index: int, mac: bytes, to: Address, port: int) -> Request:
    """Return the request that says on which node a MAC address is, and at which UDP port."""
    body = _forwarding(index, mac) + attribute(_NDA_DST, to.packed) + attribute(_NDA_PORT, struct.pack(">H", port))
    return Request(NEWNEIGH, CREATE | REPLACE, body)


def no_forwarding(index: int, mac: bytes) -> Request:
    """Return the request that takes such an entry away."""
    return Request(DELNEIGH, 0, _forwarding(index, mac))


def neighbours_of(index: int, bodies: Iterable[bytes]) -> dict[str, bytes]:
    """Return the lasting neighbours of a link among those dumped, by address."""
    found = {}
    for body in bodies:
        _, _, at, state, _, _ = _unpacked(body)
        said = attributes(body, _NEIGHBOUR.size)
        if at == index and state & _PERMANENT and _NDA_DST in said:
            found[str(ip_address(said[_NDA_DST]))] = said.get(_NDA_LLADDR, b"")
    return found


def forwardings_of(index: int, bodies: Iterable[bytes]) -> dict[bytes, str]:
    """Return the forwarding entries of a VXLAN link among those dumped, by MAC address."""
    found = {}
    for body in bodies:
        _, _, at, _, _, _ = _unpacked(body)
        said = attributes(body, _NEIGHBOUR.size)
        if at == index and _NDA_DST in said and _NDA_LLADDR in said:
            found[said[_NDA_LLADDR]] = str(ip_address(said[_NDA_DST]))
    return found


def every(family: int) -> bytes:
    """Return the question for all neighbours of a family; AF_BRIDGE = forwarding entries."""
    return _NEIGHBOUR.pack(family, 0, 0, 0, 0, 0, 0)


def _unpacked(body: bytes) -> tuple[int, int, int, int, int, int]:
    family, _, padding, index, state, flags, type_ = _NEIGHBOUR.unpack_from(body)
    return family, padding, index, state, flags, type_


def _neighbour(index: int, address: Address) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return _NEIGHBOUR.pack(family, 0, 0, index, _PERMANENT, 0, 0) + attribute(_NDA_DST, address.packed)


def _forwarding(index: int, mac: bytes) -> bytes:
    head = _NEIGHBOUR.pack(AF_BRIDGE, 0, 0, index, _PERMANENT | _NOARP, _SELF, 0)
    return head + attribute(_NDA_LLADDR, mac)

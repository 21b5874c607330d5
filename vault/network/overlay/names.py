"""Names and addresses of overlay networks on a node: files, links, MAC addresses, MTU.

Pure.  Used by `overlay.reach`, `overlay.device` and `overlay.overlays`.
"""

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from typing import Final

from vault.model.network import IPAMConfig
from vault.model.overlay import OverlayNetwork
from vault.network.kernel.links import Address, Interface, Subnet

DEVICE: Final = "vxlan0"
PORT: Final = 4789  # UDP, RFC 7348.
# Addresses inside: for benchmarks of devices (RFC 2544), so on no network of anybody's that a node has to reach.
TUNNEL_POOL: Final = IPv4Network("198.18.0.0/15")
TUNNEL_PORT: Final = 7948  # Inside only; another than plain overlays', so that nothing unencrypted is ever let in.
_FIRST_OWN_PORT, _OWN_PORTS = 20_000, 10_000
FILE_PREFIX: Final = "overlay-"
LINK_PREFIX: Final = "t"
INGRESS_LINK: Final = "ingress"  # The node's own link, as its network's namespace calls it.
_LINK_CHARACTERS: Final = 15  # The kernel's limit.
_OVERHEAD: Final = {4: 50, 6: 70}  # Outer Ethernet, IP, UDP and VXLAN headers.
_UNDERLAY_MTU: Final = 1500  # Where the node's own link is not known.
_SMALLEST_MTU: Final = {4: 68, 6: 1280}


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One subnet of a network, and the address that its tasks send through."""

    subnet: Subnet
    gateway: Address


def file_name(network_id: str) -> str:
    """Return the name of the file that holds a network's namespace."""
    return FILE_PREFIX + network_id


def link_name(task_id: str) -> str:
    """Return the name of a task's link, as its network's namespace has it."""
    return (LINK_PREFIX + task_id)[:_LINK_CHARACTERS]


def node_mac(node_address: str) -> bytes:
    """Return the MAC address by which a node is reached on every overlay: 6 bytes, drawn from its IP address."""
    packed = ip_address(node_address).packed
    return b"\x02\x42" + packed if len(packed) == 4 else b"\x02\x43" + hashlib.sha256(packed).digest()[:4]


def port_of(outside: str) -> int:
    """Return the UDP port on which a node takes in overlay packets, by the address where it does.

    Nodes on loopback addresses share one machine, and the kernel lets only one of them have a network's id on a port,
    so each has a port of its own.  What comes to an address inside a tunnel has another port than what comes in the
    clear, so that one is never taken for the other.
    """
    address = ip_address(outside)
    if address in TUNNEL_POOL:
        return TUNNEL_PORT
    return _FIRST_OWN_PORT + int(address) % _OWN_PORTS if address.is_loopback else PORT


def task_mac(addresses: tuple[str, ...]) -> bytes:
    """Return the MAC address of a task's link: Docker's 02:42 and its IPv4 address."""
    first = min((ip_interface(address).ip for address in addresses), key=lambda one: one.version)
    return node_mac(str(first))


def gateway_mac() -> bytes:
    """Return the MAC address of the other end of every task's link; each is a wire of its own."""
    return b"\x02\x42\x00\x00\x00\x01"


def ranges(configs: tuple[IPAMConfig, ...]) -> tuple[Range, ...]:
    """Return a network's subnets; one without a gateway gets its first address as one."""
    found = []
    for config in configs:
        subnet = ip_network(config.subnet, strict=False)
        gateway = ip_interface(config.gateway).ip if config.gateway else subnet.network_address + 1
        found.append(Range(subnet=subnet, gateway=gateway))
    return tuple(found)


def gateway_of(found: tuple[Range, ...], version: int) -> Address | None:
    """Return the address that a network's namespace speaks under, of an IP version."""
    return next((one.gateway for one in found if one.gateway.version == version), None)


def interfaces(addresses: tuple[str, ...], found: tuple[Range, ...]) -> tuple[Interface, ...]:
    """Return a task's addresses with the prefix lengths of their subnets."""
    return tuple(_interface(address, found) for address in addresses)


def _interface(address: str, found: tuple[Range, ...]) -> Interface:
    own = ip_interface(address)
    if "/" in address:
        return own
    length = next((one.subnet.prefixlen for one in found if own.ip in one.subnet), own.max_prefixlen)
    return ip_interface(f"{own.ip}/{length}")


def mtu_of(network: OverlayNetwork, underlay_mtu: int, *, version: int, tunnel_bytes: int = 0) -> int:
    """Return the MTU of the links of a network's tasks.

    underlay_mtu: of the node's own link, 0 = not known.  version: of IP, of the outer packets.  tunnel_bytes: what
    encryption adds.
    """
    overhead = _OVERHEAD[version] + tunnel_bytes if network.vxlan_id else 0
    own = (underlay_mtu or _UNDERLAY_MTU) - overhead
    wanted = min(own, network.mtu) if network.mtu else own
    needed = 6 if any(":" in config.subnet for config in network.configs) else 4
    return max(wanted, _SMALLEST_MTU[needed])

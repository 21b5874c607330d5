"""What a network may ask for by itself: address ranges and options of the overlay driver.  Pure.

Called by `vault.store.rules_network`.  Texts about ranges are the Engine's.
"""

import ipaddress
from typing import Final

from vault.model.errors import BadRequest, InvalidArgument
from vault.model.network import ENCRYPTED, MTU_OPTION, VXLAN_OPTION, IPAMConfig, NetworkSpec

DEFAULT_IPAM: Final = "default"
_OPTIONS: Final = {
    "overlay": frozenset((ENCRYPTED, MTU_OPTION, VXLAN_OPTION)),
    "bridge": frozenset((MTU_OPTION,)),
}
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_PLAIN: Final = {4: "an IPv4", 6: "an IPv6"}
_SMALLEST: Final = {4: 30, 6: 126}  # Its own address, the gateway, one to give away, and the broadcast address.
_NOT_FOR_TASKS: Final = tuple(
    ipaddress.ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/96", "fe80::/10", "ff00::/8")
)
SMALLEST_MTU: Final = {False: 68, True: 1280}  # RFC 791; RFC 8200 for a network with IPv6.
LARGEST_MTU: Final = 65_535
LARGEST_VXLAN_ID: Final = (1 << 24) - 1


def check_network_spec(spec: NetworkSpec) -> None:
    """Raise `BadRequest` or `InvalidArgument` naming the first thing that no network can have."""
    if spec.scope not in ("", "swarm"):
        raise InvalidArgument(f'network scope "{spec.scope}" is not supported: use swarm')
    if spec.ingress and spec.attachable:
        raise InvalidArgument("ingress network cannot be attachable: leave one of the two out")
    if not spec.ipv4_enabled:
        raise BadRequest("IPv4 cannot be disabled in a Swarm scoped network")
    check_ranges(spec)
    driver = spec.ipam_options.driver if spec.ipam_options else None
    if driver is not None and driver.name.lower() not in ("", DEFAULT_IPAM):
        raise InvalidArgument(f"error during lookup of plugin {driver.name}")
    _check_options(spec)


def check_ranges(spec: NetworkSpec) -> None:
    """Raise `BadRequest` with the Engine's text for the first address range that no network can have."""
    seen: list[IPNetwork] = []
    for config in spec.ipam_options.configs if spec.ipam_options else ():
        try:
            subnet = _checked_range(config)
        except ValueError as error:
            raise BadRequest(f"invalid network config:\n{error}") from None
        if subnet.version == 6 and not spec.ipv6_enabled:
            raise BadRequest(f"invalid network config:\ninvalid subnet {subnet}: IPv6 is not enabled, add --ipv6")
        for other in seen:
            if overlap(subnet, other):
                raise BadRequest(f"invalid network config:\ninvalid subnet {subnet}: it overlaps {other}")
        seen.append(subnet)


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether an address is in both; never for two families."""
    return one[0] in other or other[0] in one


def _check_options(spec: NetworkSpec) -> None:
    options = spec.driver_configuration.options if spec.driver_configuration else {}
    driver = (spec.driver_configuration.name if spec.driver_configuration else "") or "overlay"
    for unknown in sorted(options.keys() - _OPTIONS.get(driver, frozenset())):
        raise InvalidArgument(f"network option {unknown} means nothing to the {driver} driver: leave it out")
    mtu, smallest = options.get(MTU_OPTION), SMALLEST_MTU[spec.ipv6_enabled]
    if mtu is not None and not (_is_number(mtu) and smallest <= int(mtu) <= LARGEST_MTU):
        raise InvalidArgument(f"invalid MTU value: {mtu}: {MTU_OPTION} is a number from {smallest} to {LARGEST_MTU}")
    vxlan = options.get(VXLAN_OPTION)
    if vxlan is not None and not (_is_number(vxlan) and 1 <= int(vxlan) <= LARGEST_VXLAN_ID):
        raise InvalidArgument(f'invalid vxlan id value "{vxlan}" passed: use one number from 1 to {LARGEST_VXLAN_ID}')


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 8


def _checked_range(config: IPAMConfig) -> IPNetwork:
    """Return the subnet; raise `ValueError` with the Engine's text unless range and gateway lie in it."""
    subnet = _network("subnet", config.subnet)
    if subnet.prefixlen > _SMALLEST[subnet.version]:
        raise ValueError(f"invalid subnet {subnet}: it is too small, use /{_SMALLEST[subnet.version]} or larger")
    for special in _NOT_FOR_TASKS:
        if overlap(subnet, special):
            raise ValueError(f"invalid subnet {subnet}: {special} is not for networks")
    if config.ip_range:
        _check_ip_range(_network("ip-range", config.ip_range), subnet)
    if config.gateway:
        _check_gateway(config.gateway, subnet)
    gateway = ipaddress.ip_address(config.gateway) if config.gateway else subnet[1]
    for name, text in config.aux_addresses.items():
        if _address_in(f"auxiliary address {name}", text, subnet) == gateway:
            raise ValueError(f"invalid auxiliary address {name}: {gateway} is the gateway")
    return subnet


def _network(what: str, text: str) -> IPNetwork:
    if "/" not in text:
        raise ValueError(f"invalid {what} {text}: invalid CIDR block notation")
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"invalid {what} {text}: invalid CIDR block notation") from None
    if ipaddress.ip_address(text.partition("/")[0]) != loose[0]:
        raise ValueError(f"invalid {what} {text}: it should be {loose}")
    return loose


def _check_ip_range(ip_range: IPNetwork, subnet: IPNetwork) -> None:
    if ip_range.version != subnet.version:
        raise ValueError(f"invalid ip-range {ip_range}: parent subnet is {_PLAIN[subnet.version]} block")
    if ip_range.prefixlen < subnet.prefixlen:
        raise ValueError(f"invalid ip-range {ip_range}: CIDR block is bigger than its parent subnet {subnet}")
    if ip_range[0] not in subnet:
        raise ValueError(f"invalid ip-range {ip_range}: parent subnet {subnet} doesn't contain ip-range")


def _check_gateway(text: str, subnet: IPNetwork) -> None:
    gateway = _address_in(f"gateway {text}", text, subnet)
    if gateway == subnet[0] or (subnet.version == 4 and gateway == subnet[-1]):
        raise ValueError(f"invalid gateway {text}: the first and last address of {subnet} are nobody's")


def _address_in(what: str, text: str, subnet: IPNetwork) -> IPAddress:
    """Return an address of a subnet."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"invalid {what}: invalid address") from None
    if address.version != subnet.version:
        raise ValueError(f"invalid {what}: parent subnet is {_PLAIN[subnet.version]} block")
    if address not in subnet:
        raise ValueError(f"invalid {what}: parent subnet {subnet} doesn't contain this address")
    return address

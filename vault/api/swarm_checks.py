"""What is wrong with a posted init or join, found before anything is begun.  Pure.

Called by `vault.api.swarm`.  What depends on this machine, as its addresses, the daemon checks.
"""

import ipaddress
import re

from vault.api.shapes import PostedInit
from vault.model.errors import BadRequest, InvalidArgument
from vault.store.rules_cluster import AVAILABILITIES

PORT = 2377
MIN_DATA_PORT, MAX_DATA_PORT = 1024, 49151
MAX_SUBNET_SIZE = 29  # Bits; six addresses are left.
MAX_REMOTES = 64
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]{1,253})(?::(\d{1,5}))?")


def check_init(posted: PostedInit) -> None:
    """Raise what is wrong with a request to make a swarm."""
    check_availability(posted.availability)
    check_address("ListenAddr", posted.listen_addr)
    check_address("AdvertiseAddr", posted.advertise_addr)
    if posted.data_path_port and not MIN_DATA_PORT <= posted.data_path_port <= MAX_DATA_PORT:
        raise InvalidArgument(
            f"invalid DataPathPort {posted.data_path_port}: use a port from {MIN_DATA_PORT} to {MAX_DATA_PORT}"
        )
    for pool in posted.default_addr_pool:
        _check_pool(pool, posted.subnet_size)


def check_availability(availability: str) -> None:
    """Raise `BadRequest` for what is no availability."""
    if availability not in ("", *AVAILABILITIES):
        raise BadRequest(f'invalid Availability: "{_shown(availability)}"')


def check_address(field: str, address: str) -> None:
    """Raise `BadRequest` unless an address is "", or a host or interface, with a port or without."""
    found = _ADDRESS.fullmatch(address)
    if address and (found is None or int(found[2] or 1) not in range(1, 65536)):
        raise BadRequest(f'invalid {field} "{_shown(address)}": use <ip|interface>[:port]')


def remotes(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return the managers to join through as host:port; raise `BadRequest` for none, and for what names none."""
    if not addresses:
        raise BadRequest("at least 1 RemoteAddr is required to join")
    if len(addresses) > MAX_REMOTES:
        raise BadRequest(f"too many RemoteAddrs: send at most {MAX_REMOTES}")
    found = []
    for address in addresses:
        parts = _ADDRESS.fullmatch(address)
        if parts is None or int(parts[2] or 1) not in range(1, 65536):
            raise BadRequest(f'invalid remote address "{_shown(address)}": use HOST:PORT of a manager')
        found.append(f"{parts[1]}:{parts[2] or PORT}")
    return tuple(found)


def _check_pool(pool: str, subnet_size: int) -> None:
    try:
        network = ipaddress.IPv4Network(pool)
    except ValueError:
        raise InvalidArgument(f'invalid default address pool "{_shown(pool)}": use IPv4 CIDR, as 10.0.0.0/8') from None
    if subnet_size and not network.prefixlen <= subnet_size <= MAX_SUBNET_SIZE:
        raise InvalidArgument(
            f"invalid SubnetSize {subnet_size}: use {network.prefixlen} to {MAX_SUBNET_SIZE} for the pool {network}"
        )


def _shown(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text[:64])

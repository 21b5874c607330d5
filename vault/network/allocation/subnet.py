"""The addresses of one range of a network: which are handed out, and which comes next.

Pure.  Used by `allocation.pools` only.  Nothing here walks a range: an IPv6 subnet has more addresses than there is
time.
"""

import hashlib
import ipaddress
from collections import Counter
from collections.abc import Iterable

from vault.model.network import IPAMConfig, Network

Range = ipaddress.IPv4Network | ipaddress.IPv6Network


class Subnet:
    """One range.  Addresses are offsets into it.

    The next address is the one after the last that was handed out, and around again: what was given back rests for as
    long as it can, since somebody may still know whose it was.
    """

    def __init__(self, config: IPAMConfig) -> None:
        self.range = range_in(config.subnet)
        self.shown = config.ip_range or str(self.range)
        self._first, self._last = self._bounds(config)
        self._reserved = self._kept_back(config)
        self.used: Counter[int] = Counter()
        self.left = self._last - self._first + 1 - sum(map(self._inside, self._reserved))
        self._next = self._first

    def take(self) -> str | None:
        """Return a free address, with prefix length, and count it as used; None when there is none."""
        if self.left <= 0:
            return None
        while self._next in self._reserved or self._next in self.used:
            self._step()
        offset = self._next
        self._step()
        self._count(offset, 1)
        return f"{self.range[offset]}/{self.range.prefixlen}"

    def count(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, by: int) -> None:
        """Count an address of this range as held once more (`by` 1) or once less (-1)."""
        self._count(int(address) - int(self.range.network_address), by)

    def _count(self, offset: int, by: int) -> None:
        before = self.used[offset] > 0
        self.used[offset] += by
        after = self.used[offset] > 0
        if not after:
            del self.used[offset]
        if self._inside(offset) and offset not in self._reserved:
            self.left += before - after

    def _step(self) -> None:
        self._next = self._next + 1 if self._next < self._last else self._first

    def _inside(self, offset: int) -> bool:
        return self._first <= offset <= self._last

    def _bounds(self, config: IPAMConfig) -> tuple[int, int]:
        if not config.ip_range:
            return 0, self.range.num_addresses - 1
        part, start = range_in(config.ip_range), int(self.range.network_address)
        return int(part.network_address) - start, int(part.broadcast_address) - start

    def _kept_back(self, config: IPAMConfig) -> frozenset[int]:
        """Return what nobody gets: the range's own address, in IPv4 the broadcast address, the gateway, and those that
        were set aside (in the range or not).
        """
        aside = (config.gateway or default_gateway(config.subnet), *config.aux_addresses.values())
        kept = {0, *(int(ipaddress.ip_address(one)) - int(self.range.network_address) for one in aside)}
        return frozenset(kept | {self.range.num_addresses - 1} if self.range.version == 4 else kept)


def range_in(text: str) -> Range:
    """Return a range as it was written."""
    return ipaddress.ip_network(text, strict=False)


def default_gateway(subnet: str) -> str:
    """Return the address that is a network's gateway unless its maker chose another."""
    return str(range_in(subnet)[1])


def ranges_of(network: Network | None) -> tuple[IPAMConfig, ...]:
    """Return the ranges that a network's addresses come from; () until it is allocated, or when it has none."""
    if network is None or not network.allocated or network.ipam_options is None or not wants_addresses(network):
        return ()
    return network.ipam_options.configs


def wants_addresses(network: Network) -> bool:
    """Whether tasks on the network have addresses that the cluster hands out."""
    return network.driver == "overlay" or network.of_each_node


def versions_of(addresses: Iterable[str]) -> set[int]:
    """Return of which versions of IP some addresses are."""
    return {6 if ":" in addr else 4 for addr in addresses}


def local_range(network_id: str) -> IPAMConfig:
    """Return the IPv6 range of a network whose maker chose none: unique local, made of its id (RFC 4193, section 3)."""
    digest = hashlib.sha256(f"vault/ipv6/{network_id}".encode()).digest()
    subnet = ipaddress.IPv6Network((b"\xfd" + digest[:7] + bytes(8), 64))
    return IPAMConfig(subnet=str(subnet), gateway=str(subnet[1]))

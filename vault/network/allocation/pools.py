"""What is in use of the addresses, ports, subnets and overlay ids that a cluster hands out.

A cache: every figure can be rebuilt from a snapshot, and nothing is freed but by no object holding it any more.  Used
by `allocation.allocator` only.
"""

import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

from vault.model.cluster import Cluster
from vault.model.ids import Kind
from vault.model.network import VXLAN_OPTION, IPAMConfig, Network
from vault.model.node import Node
from vault.model.service import Service
from vault.model.task import State, Task
from vault.network.allocation.subnet import Subnet, ranges_of, versions_of
from vault.store.changes import AnyObject
from vault.store.snapshot import Key, Snapshot

DEFAULT_POOL = ("10.0.0.0/8",)
DEFAULT_SUBNET_SIZE = 24
FIRST_VXLAN_ID, LAST_VXLAN_ID = 4096, (1 << 24) - 1
DYNAMIC_PORTS = range(30_000, 32_768)
PortKey = tuple[str, int]  # Protocol and published port.
Held = TypeVar("Held")


class Exhausted(Exception):
    """There is nothing left to hand out; the text goes into a task's `status.err`."""


class NotYet(Exhausted):
    """What it needs was chosen, or is given up, in this very decision: it gets its own in the next."""


class Pools:
    """Everything the allocator hands out, and which object holds what."""

    def __init__(self) -> None:
        self.subnets: dict[str, tuple[Subnet, ...]] = {}
        self.vxlan_ids: dict[str, int] = {}
        self.ports: Counter[PortKey] = Counter()
        self._ranges: dict[str, tuple[IPAMConfig, ...]] = {}
        self._names: dict[str, str] = {}  # Of networks.
        self._addresses: dict[Key, tuple[tuple[str, str], ...]] = {}  # Holder -> (network, address).
        self._ports: dict[Key, tuple[PortKey, ...]] = {}
        self._loose_addresses: list[tuple[str, str]] = []  # Taken, and nobody's yet.
        self._loose_ports: list[PortKey] = []
        self._leaving: set[str] = set()  # Networks of which this decision gives up an address: free once it is stored.

    def sync(self, snap: Snapshot, keys: Collection[Key]) -> bool:
        """Bring the books up to a snapshot for the objects named; return whether something was freed.

        What is only proposed to be given up is its holder's yet: the store may refuse that, and take what else is
        proposed.  It is named again once that is known.
        """
        freed = False
        self._leaving.clear()
        for kind, object_id in keys:  # First: others point at them.
            if kind is Kind.NETWORK:
                freed |= self._sync_network(object_id, snap.networks.get(object_id))
        for key in keys:
            obj = snap.get(*key)
            old = obj if snap.stored is None else snap.stored.get(*key)
            if key[0] is Kind.TASK:  # Most hold nothing.
                if key in self._addresses or attached(obj) or attached(old):
                    freed |= self._follow(key, old, obj)
            elif key[0] is Kind.NODE or key[0] is Kind.SERVICE:
                freed |= self._follow(key, old, obj)
        return freed

    def _follow(self, key: Key, old: AnyObject | None, new: AnyObject | None) -> bool:
        """Record what an object holds, as it is stored and as it would become; return whether it held more."""
        if old is new:
            return self.hold(key, tuple(addresses_of(new)), tuple(ports_of(new)))
        addresses = either(addresses_of(old), addresses_of(new))
        self._note_leaving(addresses, new)
        return self.hold(key, addresses, either(ports_of(old), ports_of(new)))

    def hold_more(self, key: Key, new: AnyObject) -> None:
        """Record what an object got; what it had before is nobody else's yet: the store may refuse the change."""
        addresses = either(self._addresses.get(key, ()), addresses_of(new))
        self._note_leaving(addresses, new)
        self.hold(key, addresses, either(self._ports.get(key, ()), ports_of(new)))

    def _note_leaving(self, addresses: Collection[tuple[str, str]], new: AnyObject | None) -> None:
        self._leaving.update(network_id for network_id, _ in set(addresses) - set(addresses_of(new)))

    def hold(self, key: Key, addresses: tuple[tuple[str, str], ...], ports: tuple[PortKey, ...]) -> bool:
        """Record what an object holds now; return whether it held something else before."""
        before, ports_before = self._addresses.get(key, ()), self._ports.get(key, ())
        if before == addresses and ports_before == ports:
            return False
        self._addresses.pop(key, None)
        self._ports.pop(key, None)
        if before != addresses:
            self._count(before, -1)
            self._count(addresses, 1)
        if addresses:
            self._addresses[key] = addresses
        if ports != ports_before:
            self.ports.subtract(ports_before)
            self.ports.update(ports)
        if ports:
            self._ports[key] = ports
        return bool(set(before) - set(addresses) or set(ports_before) - set(ports))

    def take(self, network_id: str, *, held: Iterable[str] = ()) -> tuple[str, ...]:
        """Return a free address of each version of IP that a network has, with prefix length.

        held: what its taker has already; no more of that version.  Raises `Exhausted`; `NotYet` while one is given up.
        """
        subnets, have = self.subnets[network_id], versions_of(held)
        wanted = [version for version in (4, 6) if version not in have]
        return tuple(
            self._take(network_id, among)
            for version in wanted
            if (among := [subnet for subnet in subnets if subnet.range.version == version])
        )

    def _take(self, network_id: str, among: list[Subnet]) -> str:
        for subnet in among:
            if (addr := subnet.take()) is not None:
                self._loose_addresses.append((network_id, addr))
                return addr
        if network_id in self._leaving:
            raise NotYet
        place = f"network {self._names[network_id]} ({', '.join(subnet.shown for subnet in among)})"
        raise Exhausted(f"no free address in {place}: remove tasks from it, or use a larger subnet")

    def take_port(self, protocol: str) -> int:
        """Return the lowest free dynamic port of a protocol.  Raises `Exhausted`."""
        for port in DYNAMIC_PORTS:
            if self.ports[protocol, port] <= 0:
                self.ports[protocol, port] = 1
                self._loose_ports.append((protocol, port))
                return port
        raise Exhausted(f"no free {protocol} port from 30000 to 32767: publish a port of your choice")

    def take_vxlan_id(self, asked: int = 0) -> int:
        """Return the overlay id that was asked for, else the lowest free one.  Raises `Exhausted`."""
        used = set(self.vxlan_ids.values())
        if asked:
            if asked in used:
                raise Exhausted(f"overlay network id {asked} is in use: remove this network and choose another")
            return asked
        for vxlan_id in range(FIRST_VXLAN_ID, LAST_VXLAN_ID + 1):
            if vxlan_id not in used:
                return vxlan_id
        raise Exhausted("no free overlay network id: remove a network")

    def take_subnet(self, cluster: Cluster | None) -> IPAMConfig:
        """Return the lowest subnet of the cluster's pools that overlaps no network's.  Raises `Exhausted`."""
        pools = (cluster and cluster.default_addr_pool) or DEFAULT_POOL
        size = (cluster and cluster.subnet_size) or DEFAULT_SUBNET_SIZE
        taken = sorted(
            (int(subnet.range.network_address), int(subnet.range.broadcast_address))
            for subnets in self.subnets.values()
            for subnet in subnets
            if subnet.range.version == 4
        )
        for pool in map(ipaddress.IPv4Network, pools):
            step = 1 << (32 - max(size, pool.prefixlen))
            start = int(pool.network_address)
            for first, last in taken:  # In order of address: step over each that is in the way.
                if first < start + step and last >= start:
                    start = (last // step + 1) * step
            if start + step - 1 <= int(pool.broadcast_address):
                found = ipaddress.IPv4Network((start, max(size, pool.prefixlen)))
                return IPAMConfig(subnet=str(found), gateway=str(found[1]))
        raise Exhausted(f"no free subnet in {', '.join(pools)}: remove a network, or give this one a subnet of its own")

    def settle(self) -> None:
        """Give back what was taken and is nobody's; what an object got is counted by `hold`."""
        if self._loose_addresses or self._loose_ports:
            self._count(tuple(self._loose_addresses), -1)
            self.ports.subtract(self._loose_ports)
            self._loose_addresses, self._loose_ports = [], []

    def add_network(self, network: Network) -> None:
        """Begin the books of a network that has got its ranges and its overlay id; nobody holds anything of it yet."""
        ranges = ranges_of(network)
        if not ranges or network.driver_state is None:
            return
        if (vxlan_id := network.driver_state.options.get(VXLAN_OPTION)) is not None:
            self.vxlan_ids[network.id] = int(vxlan_id)
        self.subnets[network.id] = tuple(map(Subnet, ranges))
        self._ranges[network.id], self._names[network.id] = ranges, network.spec.name

    def _sync_network(self, network_id: str, network: Network | None) -> bool:
        wanted = ranges_of(network)
        if self._ranges.get(network_id, ()) == wanted:
            return False
        for book in (self.subnets, self.vxlan_ids, self._ranges, self._names):
            book.pop(network_id, None)
        if network is not None:
            self.add_network(network)
        return True

    def _count(self, addresses: tuple[tuple[str, str], ...], by: int) -> None:
        for network_id, addr in addresses:
            address = ipaddress.ip_address(addr.partition("/")[0])
            for subnet in self.subnets.get(network_id, ()):
                if address in subnet.range:
                    subnet.count(address, by)
                    break


def either(some: Iterable[Held], more: Iterable[Held]) -> tuple[Held, ...]:
    """Return what is in one or the other, once each and in order."""
    return tuple(dict.fromkeys((*some, *more)))


def attached(obj: AnyObject | None) -> bool:
    """Whether an object is a task that is, or was, on a network."""
    return isinstance(obj, Task) and bool(obj.networks_attachments)


def addresses_of(obj: AnyObject | None) -> Iterator[tuple[str, str]]:
    """Yield the (network, address) pairs an object holds; a task that has ended, or never will start, holds none."""
    match obj:
        case Service(endpoint=endpoint):
            yield from ((vip.network_id, vip.addr) for vip in endpoint.virtual_ips)
        case Node(attachments=places):
            yield from ((place.network_id, addr) for place in places for addr in place.addresses)
        case Task() if not (obj.state.terminal or (obj.state < State.ASSIGNED and not obj.wanted)):
            for attachment in obj.networks_attachments:
                yield from ((attachment.network.id, addr) for addr in attachment.addresses)


def ports_of(obj: AnyObject | None) -> Iterator[PortKey]:
    """Yield the ingress ports a service holds."""
    if isinstance(obj, Service):
        ports = (*obj.endpoint.ports, *(obj.spec.endpoint_spec.ports if obj.spec.endpoint_spec else ()))
        held = {(port.protocol, port.published_port) for port in ports if port.published_port}
        yield from sorted(held)

"""What is in use of the addresses, ports, subnets and overlay ids that a cluster hands out.

A cache: every figure can be rebuilt from a snapshot, and nothing is freed but by no object holding it any more.  Used
by `allocate` only.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from vault.model.cluster import Cluster
from vault.model.ids import Kind
from vault.model.network import VXLAN_OPTION, IPAMConfig, Network
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.changes import AnyObject
from vault.store.snapshot import Key, Snapshot

DEFAULT_POOL = ("10.0.0.0/8",)
DEFAULT_SUBNET_SIZE = 24
FIRST_VXLAN_ID, LAST_VXLAN_ID = 4096, (1 << 24) - 1
DYNAMIC_PORTS = range(30_000, 32_768)
PortKey = tuple[str, int]  # Protocol and published port.


class Exhausted(Exception):
    """There is nothing left to hand out; the text goes into a task's `status.err`."""


@dataclass(slots=True)
class Subnet:
    """The addresses of one network."""

    name: str
    range: ipaddress.IPv4Network
    reserved: frozenset[int]  # Offsets into the range: its own address, the gateway, the broadcast address.
    used: Counter[int] = field(default_factory=Counter)
    lowest: int = 1  # No offset below it is free.

    def take(self) -> str:
        """Return the lowest free address, with prefix length, and count it as used.  Raises `Exhausted`."""
        for offset in range(self.lowest, self.range.num_addresses):
            if offset not in self.reserved and offset not in self.used:
                self.used[offset], self.lowest = 1, offset + 1
                return f"{self.range[offset]}/{self.range.prefixlen}"
        self.lowest = self.range.num_addresses
        raise Exhausted(
            f"no free address in network {self.name} ({self.range}): remove tasks from it, or use a larger subnet"
        )

    def count(self, addr: str, by: int) -> None:
        """Count an address as held once more (`by` 1) or once less (-1)."""
        offset = int(ipaddress.IPv4Address(addr.partition("/")[0])) - int(self.range.network_address)
        self.used[offset] += by
        if self.used[offset] <= 0:
            del self.used[offset]
            self.lowest = min(self.lowest, max(offset, 1))


class Pools:
    """Everything the allocator hands out, and which object holds what."""

    def __init__(self) -> None:
        self.subnets: dict[str, Subnet] = {}
        self.vxlan_ids: dict[str, int] = {}
        self.ports: Counter[PortKey] = Counter()
        self._addresses: dict[Key, tuple[tuple[str, str], ...]] = {}  # Holder -> (network, address).
        self._ports: dict[Key, tuple[PortKey, ...]] = {}
        self._loose_addresses: list[tuple[str, str]] = []  # Taken, and nobody's yet.
        self._loose_ports: list[PortKey] = []

    def sync(self, snap: Snapshot, keys: Iterable[Key]) -> bool:
        """Bring the books up to a snapshot for the objects named; return whether something was freed."""
        freed = False
        for key in sorted(keys, key=lambda key: key[0] is not Kind.NETWORK):  # Networks first: others point at them.
            obj = snap.get(*key)
            if key[0] is Kind.NETWORK:
                freed |= self._sync_network(key[1], obj if isinstance(obj, Network) else None)
            elif key[0] in (Kind.SERVICE, Kind.TASK):
                freed |= self.hold(key, tuple(addresses_of(obj)), tuple(ports_of(obj)))
        return freed

    def hold(self, key: Key, addresses: tuple[tuple[str, str], ...], ports: tuple[PortKey, ...]) -> bool:
        """Record what an object holds now; return whether it held something else before."""
        before, ports_before = self._addresses.pop(key, ()), self._ports.pop(key, ())
        if before != addresses:
            self._count(before, -1)
            self._count(addresses, 1)
        if addresses:
            self._addresses[key] = addresses
        self.ports.subtract(ports_before)
        self.ports.update(ports)
        if ports:
            self._ports[key] = ports
        return bool(set(before) - set(addresses) or set(ports_before) - set(ports))

    def take(self, network_id: str) -> str:
        """Return a free address of a network, with prefix length.  Raises `Exhausted`."""
        addr = self.subnets[network_id].take()
        self._loose_addresses.append((network_id, addr))
        return addr

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
            (int(subnet.range.network_address), int(subnet.range.broadcast_address)) for subnet in self.subnets.values()
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
        self._count(tuple(self._loose_addresses), -1)
        self.ports.subtract(self._loose_ports)
        self._loose_addresses, self._loose_ports = [], []

    def _sync_network(self, network_id: str, network: Network | None) -> bool:
        known = self.subnets.get(network_id)
        wanted = range_of(network)
        if known is not None and known.range == wanted:
            return False
        self.subnets.pop(network_id, None)
        self.vxlan_ids.pop(network_id, None)
        if network is not None and wanted is not None:
            self.add_network(network)
        return True

    def add_network(self, network: Network) -> None:
        """Begin the books of a network that has got its subnet and its overlay id; nobody holds anything of it yet."""
        found = range_of(network)
        if found is None or network.ipam_options is None or network.driver_state is None:
            return
        self.vxlan_ids[network.id] = int(network.driver_state.options[VXLAN_OPTION])
        gateway = network.ipam_options.configs[0].gateway or default_gateway(str(found))
        reserved = {0, int(ipaddress.IPv4Address(gateway)) - int(found.network_address), found.num_addresses - 1}
        self.subnets[network.id] = Subnet(network.spec.name, found, frozenset(reserved))

    def _count(self, addresses: tuple[tuple[str, str], ...], by: int) -> None:
        for network_id, addr in addresses:
            if network_id in self.subnets:
                self.subnets[network_id].count(addr, by)


def default_gateway(subnet: str) -> str:
    """Return the address that is a network's gateway unless its maker chose another."""
    return str(ipaddress.IPv4Network(subnet, strict=False)[1])


def range_of(network: Network | None) -> ipaddress.IPv4Network | None:
    """Return the range that a network's addresses come from; None until it is allocated, or when it has none."""
    if network is None or not network.allocated or network.ipam_options is None or not wants_addresses(network):
        return None
    return ipaddress.IPv4Network(network.ipam_options.configs[0].subnet, strict=False)


def wants_addresses(network: Network) -> bool:
    """Whether tasks on the network have addresses that the cluster hands out."""
    return network.driver == "overlay"


def addresses_of(obj: AnyObject | None) -> Iterator[tuple[str, str]]:
    """Yield the (network, address) pairs an object holds; a task that has ended, or never will start, holds none."""
    match obj:
        case Service(endpoint=endpoint):
            yield from ((vip.network_id, vip.addr) for vip in endpoint.virtual_ips)
        case Task() if not (obj.state.terminal or (obj.state < State.ASSIGNED and obj.desired_state > State.RUNNING)):
            for attachment in obj.networks_attachments:
                yield from ((attachment.network.id, addr) for addr in attachment.addresses)


def ports_of(obj: AnyObject | None) -> Iterator[PortKey]:
    """Yield the ingress ports a service holds."""
    if isinstance(obj, Service):
        ports = (*obj.endpoint.ports, *(obj.spec.endpoint_spec.ports if obj.spec.endpoint_spec else ()))
        held = {(port.protocol, port.published_port) for port in ports if port.published_port}
        yield from sorted(held)

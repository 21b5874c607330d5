"""Network allocation: subnets for networks, addresses and ports for services, attachments for nodes and tasks.

Pure but for a cache of what is in use, which any snapshot can rebuild; nothing is ever freed by a message: what no
object holds is free.  Makes one step of a task's life, NEW -> PENDING.  Called by `vault.orchestrator.rounds` as a
stage.
"""

from collections.abc import Iterator
from itertools import chain

from msgspec.structs import replace

from vault.model.base import from_s
from vault.model.ids import Kind, NewID
from vault.model.network import VXLAN_OPTION, IPAMConfig, IPAMOptions, Network, NetworkAttachment
from vault.model.node import Node, NodeAttachment
from vault.model.secret import Driver
from vault.model.service import Endpoint, EndpointSpec, PortConfig, Service, VirtualIP
from vault.model.task import State, Task, TaskStatus
from vault.network.allocation.pools import Exhausted, NotYet, Pools
from vault.network.allocation.subnet import default_gateway, local_range, versions_of, wants_addresses
from vault.store.changes import Put
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot

Allocated = Network | Node | Service | Task
BUDGET = 1_000  # Tasks allocated in one decision; the rest follow in the next.
KINDS = (Kind.NETWORK, Kind.NODE, Kind.SERVICE, Kind.TASK)


class Allocator:
    """Gives networks, nodes, services, then tasks what they need, as they appear or as something is freed."""

    def __init__(self) -> None:
        self._pools = Pools()
        self._waiting: dict[Key, None] = {}  # To be looked at.
        self._stuck: dict[Key, str] = {}  # Looked at in vain, and why: they wait for something to be freed or stored.
        self._ingress: tuple[str, ...] = ()  # The ingress network, once nodes can be on it.

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        """Return what the objects still without an allocation get, or the reason why not."""
        if changed is None:
            self._pools, self._stuck, self._ingress = Pools(), {}, ()
            stored = snap.stored or snap
            changed = {(kind, at) for kind in KINDS for at in chain(snap.objects[kind], stored.objects[kind])}
        freed = self._pools.sync(snap, changed)
        if freed or any(kind not in (Kind.NODE, Kind.TASK) for kind, _ in changed):
            self._waiting.update(dict.fromkeys(self._stuck))
        if any(kind is Kind.NETWORK for kind, _ in changed) and (ingress := ready_ingress(snap)) != self._ingress:
            self._ingress = ingress
            self._waiting.update(dict.fromkeys((Kind.NODE, node_id) for node_id in sorted(snap.nodes)))
        self._waiting.update(dict.fromkeys(sorted(key for key in changed if may_need(snap, key))))
        for key in changed:
            self._stuck.pop(key, None)
        self._stuck = {key: reason for key, reason in self._stuck.items() if key not in self._waiting}
        draft = Draft(snap, self._pools, self._stuck, self._ingress, now_s)
        budget = BUDGET
        for kind in KINDS:
            for key in [key for key in self._waiting if key[0] is kind]:
                if not budget:
                    return Decision(changes=draft.changes(), ask_again_s=now_s)
                del self._waiting[key]
                budget -= draft.allocate(key)
        self._waiting = {}
        return Decision(changes=draft.changes())


def may_need(snap: Snapshot, key: Key) -> bool:
    """Whether an object that changed may be without an allocation: most are tasks that have theirs."""
    if key[0] is not Kind.TASK:
        return key[0] in KINDS
    task = snap.tasks.get(key[1])
    return task is not None and task.state is State.NEW


class Draft:
    """The allocations of one decision; what gets none is noted in `stuck`."""

    def __init__(
        self, snap: Snapshot, pools: Pools, stuck: dict[Key, str], ingress: tuple[str, ...], now_s: float
    ) -> None:
        self._snap = snap
        self._ingress = ingress
        self._pools = pools
        self._stuck = stuck
        self._now = from_s(now_s)
        self._done: dict[Key, Allocated] = {}

    def changes(self) -> tuple[Put, ...]:
        """Return what was allocated, and the reasons where nothing was."""
        return tuple(map(Put, self._done.values()))

    def allocate(self, key: Key) -> bool:
        """Look at one object; return whether it is changed."""
        obj = self._snap.get(*key)
        try:
            match obj:
                case Network():
                    new: Allocated = self._network(obj)
                case Node():
                    new = self._node(obj)
                case Service():
                    new = self._service(obj)
                case Task() if obj.state is State.NEW and obj.wanted:
                    new = self._task(obj)
                case _:
                    return False
        except Exhausted as reason:
            self._stuck[key] = str(reason)
            if isinstance(obj, Task) and not isinstance(reason, NotYet) and obj.status.err != str(reason):
                self._done[key] = replace(obj, status=replace(obj.status, err=str(reason)))
            return False
        finally:
            self._pools.settle()
        if new is obj or new == obj:
            return False
        self._done[key] = new
        self._pools.hold_more(key, new)
        return True

    def _network(self, network: Network) -> Network:
        if network.driver_state is not None:
            return network
        if not wants_addresses(network):
            return replace(network, driver_state=Driver(name=network.driver))
        configs = self._ranges(network)
        options = dict(network.options)
        if not network.of_each_node:
            options[VXLAN_OPTION] = str(self._pools.take_vxlan_id(network.vxlan_id))
        new = replace(
            network,
            driver_state=Driver(name=network.driver, options=options),
            ipam_options=IPAMOptions(driver=_ipam_driver(network), configs=configs),
        )
        self._pools.add_network(new)
        return new

    def _ranges(self, network: Network) -> tuple[IPAMConfig, ...]:
        """Return the ranges that were asked for, and one where none was: of IPv4, and of IPv6 when it is enabled."""
        spec = network.spec
        asked = [config for config in (spec.ipam_options.configs if spec.ipam_options else ()) if config.subnet]
        have = versions_of(config.subnet for config in asked)
        if 4 not in have:
            asked.insert(0, self._pools.take_subnet(self._snap.cluster))
        if spec.ipv6_enabled and 6 not in have:
            asked.append(local_range(network.id))
        return tuple(
            replace(config, gateway=config.gateway or default_gateway(config.subnet))
            for config in asked
            if spec.ipv6_enabled or ":" not in config.subnet
        )

    def _node(self, node: Node) -> Node:
        """Give a node its place on the ingress network, from where it forwards what comes to published ports."""
        held = {place.network_id: place for place in node.attachments}
        places = tuple(
            held.get(network_id) or NodeAttachment(network_id=network_id, addresses=self._pools.take(network_id))
            for network_id in self._ingress
        )
        return node if places == node.attachments else replace(node, attachments=places)

    def _service(self, service: Service) -> Service:
        spec = service.spec.endpoint_spec or EndpointSpec()
        networks = [network for network in self._networks_of(service) if wants_addresses(network)]
        if not networks and not spec.ports:
            return service if service.endpoint == Endpoint() else replace(service, endpoint=Endpoint())
        taken: list[PortConfig] = []
        for port in spec.ports:
            taken.append(self._published(service, port))
        if spec.mode == "dnsrr":
            networks = []
        networks = [network for network in networks if not network.of_each_node]  # No address leads to tasks elsewhere.
        endpoint = Endpoint(
            spec=replace(spec, mode=spec.mode or "vip"),
            ports=tuple(taken),
            virtual_ips=tuple(vip for network in networks for vip in self._vips(service, network.id)),
        )
        return service if endpoint == service.endpoint else replace(service, endpoint=endpoint)

    def _vips(self, service: Service, network_id: str) -> tuple[VirtualIP, ...]:
        """Return the addresses of a service on a network, one for each version of IP there; it keeps what it has."""
        held = tuple(vip for vip in service.endpoint.virtual_ips if vip.network_id == network_id)
        more = self._pools.take(network_id, held=(vip.addr for vip in held))
        return held + tuple(VirtualIP(network_id=network_id, addr=addr) for addr in more)

    def _published(self, service: Service, port: PortConfig) -> PortConfig:
        """Return a port with the number it is published at; one that was chosen before is kept."""
        if port.published_port or port.publish_mode != "ingress":
            return port
        for old in service.endpoint.ports:
            if old.published_port and replace(old, published_port=0) == port:
                return old
        return replace(port, published_port=self._pools.take_port(port.protocol))

    def _task(self, task: Task) -> Task:
        service = self._service_of(task)
        if service is None:
            return task
        aliases = {attachment.target: attachment.aliases for attachment in task.spec.networks}
        attachments = tuple(
            NetworkAttachment(
                network=network,
                addresses=self._pools.take(network.id) if wants_addresses(network) else (),
                aliases=aliases.get(network.id, ()),
            )
            for network in self._networks_of(service, task)
        )
        status = TaskStatus(timestamp=self._now, state=State.PENDING, message="pending task scheduling")
        return replace(task, networks_attachments=attachments, status=status)

    def _service_of(self, task: Task) -> Service | None:
        key = (Kind.SERVICE, task.service_id)
        if key in self._stuck:
            raise Exhausted(self._stuck[key]) if self._stuck[key] else NotYet
        done = self._done.get(key)
        return done if isinstance(done, Service) else self._snap.services.get(task.service_id)

    def _networks_of(self, service: Service, task: Task | None = None) -> Iterator[Network]:
        """Yield the networks a service's tasks are on, ingress first.  Raises `Exhausted` when one is not ready."""
        ports = service.spec.endpoint_spec.ports if service.spec.endpoint_spec else ()
        if any(port.publish_mode == "ingress" for port in ports):
            yield from (self._ready(network) for network in self._snap.networks.values() if network.spec.ingress)
        for attachment in (task.spec if task else service.spec.task_template).networks:
            network = self._snap.networks.get(attachment.target)
            if network is None:
                raise Exhausted(f"network {attachment.target} not found: create it, or update the service without it")
            yield self._ready(network)

    def _ready(self, network: Network) -> Network:
        """Return a network whose subnet is stored; one chosen just now may yet be refused.  Raises `Exhausted`."""
        if network.allocated:
            return network
        reason = self._stuck.get((Kind.NETWORK, network.id))
        raise Exhausted(reason) if reason else NotYet


def _ipam_driver(network: Network) -> Driver:
    """Return who manages a network's addresses, with the options that its maker gave."""
    asked = network.spec.ipam_options.driver if network.spec.ipam_options else None
    return Driver(name="default", options=asked.options if asked is not None else {})


def ready_ingress(snap: Snapshot) -> tuple[str, ...]:
    """Return the id of the ingress network once it has its addresses; () before."""
    return tuple(
        network.id
        for network in snap.networks.values()
        if network.spec.ingress and network.allocated and wants_addresses(network)
    )

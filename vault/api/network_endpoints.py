"""Who is on a network, on all nodes, in the Engine's shape: containers, peers, and services with their tasks.  Pure.

Called by `vault.api.network_shapes`.  The Engine asks its gossip, and knows the tasks of its own node best; a manager
reads all of it in the store.
"""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from vault.model.base import Shape, always
from vault.model.ids import Kind
from vault.model.network import Network
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

NODE_NAME_DIGITS = 12  # As the Engine shortens the names of peers.


class Attached(Shape, frozen=True, kw_only=True):
    """A container on a network."""

    name: str = always("")
    endpoint_id: str = msgspec.field(name="EndpointID", default_factory=lambda: "")
    mac_address: str = always("")
    ipv4_address: str = msgspec.field(name="IPv4Address", default_factory=lambda: "")
    ipv6_address: str = msgspec.field(name="IPv6Address", default_factory=lambda: "")


class Peer(Shape, frozen=True, kw_only=True):
    """A node that takes part in a network, and where its overlay traffic goes."""

    name: str = always("")
    ip: str = msgspec.field(name="IP", default_factory=lambda: "")


class EndpointTask(Shape, frozen=True, kw_only=True):
    """A task on a network; `info` says on which node."""

    name: str = always("")
    endpoint_id: str = msgspec.field(name="EndpointID", default_factory=lambda: "")
    endpoint_ip: str = msgspec.field(name="EndpointIP", default_factory=lambda: "")
    info: dict[str, str] = msgspec.field(default_factory=dict)


class EndpointService(Shape, frozen=True, kw_only=True, omit_defaults=False):
    """A service on a network."""

    vip: str = msgspec.field(name="VIP", default="")
    ports: tuple[str, ...] = ()
    local_lb_index: int = msgspec.field(name="LocalLBIndex", default=0)  # Of IPVS, which is not used here.
    tasks: tuple[EndpointTask, ...] = ()


def attached(snapshot: Snapshot, network: Network) -> dict[str, Attached]:
    """Return the running containers on a network, by container id."""
    found = {}
    for task in _tasks_on(snapshot, network):
        status = task.status.container_status
        if task.state is not State.RUNNING or status is None:
            continue
        addresses = _addresses(task, network)
        own = _of_version(addresses, 4)
        found[status.container_id] = Attached(
            name=task.name,
            endpoint_id=_endpoint_id(task, network),
            mac_address=_mac_address(own),
            ipv4_address=own,
            ipv6_address=_of_version(addresses, 6),
        )
    return found


def peers(snapshot: Snapshot, network: Network) -> list[Peer]:
    """Return the nodes with a task on a network; of the ingress network, every node that is up."""
    node_ids = {task.node_id for task in _tasks_on(snapshot, network)}
    if network.spec.ingress and any(_services_on(snapshot, network, set())):
        node_ids |= {node.id for node in snapshot.nodes.values() if node.status.state == "ready"}
    return [Peer(name=node_id[:NODE_NAME_DIGITS], ip=_host_ip(snapshot, node_id)) for node_id in sorted(node_ids)]


def services(snapshot: Snapshot, network: Network) -> dict[str, EndpointService]:
    """Return the services on a network, by name, each with the tasks that have a place there."""
    tasks: dict[str, list[Task]] = {}
    for task in _tasks_on(snapshot, network):
        tasks.setdefault(task.service_id, []).append(task)
    return {
        service.spec.name: EndpointService(
            vip=next((_bare(vip.addr) for vip in service.endpoint.virtual_ips if vip.network_id == network.id), ""),
            ports=_ports(service, network),
            tasks=tuple(
                EndpointTask(
                    name=task.name,
                    endpoint_id=_endpoint_id(task, network),
                    endpoint_ip=_bare(next(iter(_addresses(task, network)), "")),
                    info={"Host IP": _host_ip(snapshot, task.node_id)},
                )
                for task in tasks.get(service.id, ())
            ),
        )
        for service in _services_on(snapshot, network, set(tasks))
    }


def _services_on(snapshot: Snapshot, network: Network, with_tasks: set[str]) -> Iterator[Service]:
    """Yield the services with a place on a network, by name; on ingress are those that publish a port there.

    with_tasks: ids of services that still have tasks there, though their spec may have left it.
    """
    for service in sorted(_candidates(snapshot, network), key=lambda service: service.spec.name):
        targets = {attachment.target for attachment in service.spec.task_template.networks}
        if network.id in targets or service.id in with_tasks or _ports(service, network):
            yield service


def _candidates(snapshot: Snapshot, network: Network) -> Iterable[Service]:
    if network.spec.ingress:
        return snapshot.services.values()
    return snapshot.services_using(Kind.NETWORK, network.id)


def _tasks_on(snapshot: Snapshot, network: Network) -> Iterator[Task]:
    """Yield the tasks that have a place on a network: from when a node has them until they end."""
    for service in _candidates(snapshot, network):
        for task in sorted(snapshot.tasks_of(service.id), key=lambda task: (task.slot, task.id)):
            placed = task.state >= State.ASSIGNED and not task.state.terminal
            if placed and any(place.network.id == network.id for place in task.networks_attachments):
                yield task


def _ports(service: Service, network: Network) -> tuple[str, ...]:
    """Return what a service publishes through a network, in the Engine's words."""
    ports = service.endpoint.ports if network.spec.ingress else ()
    return tuple(
        f"Target: {port.target_port}, Publish: {port.published_port}"
        for port in ports
        if port.publish_mode == "ingress"
    )


def _addresses(task: Task, network: Network) -> tuple[str, ...]:
    return next((place.addresses for place in task.networks_attachments if place.network.id == network.id), ())


def _of_version(addresses: tuple[str, ...], version: int) -> str:
    return next((addr for addr in addresses if (":" in addr) == (version == 6)), "")


def _bare(addr: str) -> str:
    return addr.partition("/")[0]


def _mac_address(addr: str) -> str:
    """Return the hardware address that goes with an IPv4 address: the Engine's rule, and ours."""
    return ":".join(["02", "42", *(f"{int(part):02x}" for part in _bare(addr).split("."))]) if addr else ""


def _endpoint_id(task: Task, network: Network) -> str:
    """Return 64 digits that stand for a task's place on a network, always the same ones."""
    return hashlib.sha256(f"{network.id}/{task.id}".encode()).hexdigest()


def _host_ip(snapshot: Snapshot, node_id: str) -> str:
    node = snapshot.nodes.get(node_id)
    return node.status.addr if node is not None else ""

"""Networks, services and tasks on them in one line; and what a node has to know, found the slow way."""

from msgspec.structs import replace

from vault.model.container import ContainerSpec
from vault.model.network import (
    VXLAN_OPTION,
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkAttachment,
    NetworkSpec,
)
from vault.model.node import EncryptionKey, Node, NodeAttachment, NodeEncryption, NodeStatus
from vault.model.overlay import (
    EncryptionPeer,
    OverlayChange,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayService,
)
from vault.model.secret import Driver
from vault.model.service import (
    Endpoint,
    EndpointSpec,
    NetworkAttachmentConfig,
    PortConfig,
    Service,
    ServiceSpec,
    TaskSpec,
    VirtualIP,
)
from vault.model.task import ContainerStatus, State, Task, TaskStatus
from vault.network.overlay.state import OverlayState
from vault.store.snapshot import Snapshot

INGRESS = "ingress"


def network(network_id: str, number: int = 1, *, encrypted: bool = False, **spec: object) -> Network:
    """Return a network that has its addresses: 10.0.<number>.0/24."""
    options = {"encrypted": ""} if encrypted else {}
    return Network(
        id=network_id,
        spec=NetworkSpec(
            name=f"name-of-{network_id}",
            driver_configuration=Driver(name="overlay", options=options),
            ingress=network_id == INGRESS,
            **spec,  # type: ignore[arg-type]
        ),
        driver_state=Driver(name="overlay", options={VXLAN_OPTION: str(4096 + number)}),
        ipam_options=IPAMOptions(configs=(IPAMConfig(subnet=f"10.0.{number}.0/24", gateway=f"10.0.{number}.1"),)),
    )


def service(service_id: str, *networks: Network, ports: tuple[int, ...] = (), vip: int = 2) -> Service:
    """Return a service on networks, and on the ingress network when it publishes a port; `vip` 0 gives it none."""
    published = tuple(PortConfig(target_port=80, published_port=port) for port in ports)
    targets = tuple(NetworkAttachmentConfig(target=one.id, aliases=("alias",)) for one in networks if one.id != INGRESS)
    vips = [VirtualIP(network_id=one.id, addr=f"{prefix_of(one)}.{vip}/24") for one in networks if vip]
    return Service(
        id=service_id,
        spec=ServiceSpec(
            name=f"name-of-{service_id}",
            task_template=TaskSpec(networks=targets),
            endpoint_spec=EndpointSpec(mode="vip" if vip else "dnsrr", ports=published),
        ),
        endpoint=Endpoint(ports=published, virtual_ips=tuple(vips)),
    )


def attached(task_id: str, node_id: str, *networks: Network, of: str = "web", host: int = 7, slot: int = 1,
             state: State = State.ASSIGNED, desired: State = State.RUNNING, hostname: str = "") -> Task:  # fmt: skip
    """Return a task on networks, with the same last part of its address on each."""
    return Task(
        id=task_id,
        spec=TaskSpec(container_spec=ContainerSpec(image="busybox", hostname=hostname)),
        service_id=of,
        service_name=f"name-of-{of}",
        slot=slot,
        node_id=node_id,
        status=TaskStatus(state=state, container_status=ContainerStatus(container_id=task_id.ljust(64, "f"))),
        desired_state=desired,
        networks_attachments=tuple(
            NetworkAttachment(network=one, addresses=(f"{prefix_of(one)}.{host}/24",)) for one in networks
        ),
    )


def member(node_id: str, number: int, *, ingress: bool = True, state: str = "ready", encrypts: bool = False) -> Node:
    """Return a node at 192.0.2.<number>, with a place on the ingress network, 10.0.0.<number>."""
    place = NodeAttachment(network_id=INGRESS, addresses=(f"10.0.0.{number}/24",))
    key = EncryptionKey(epoch=1, public=bytes([number]) * 32, sealed=b"sealed")
    return Node(
        id=node_id,
        status=NodeStatus(state=state, addr=f"192.0.2.{number}"),
        seal_key=bytes(32),
        attachments=(place,) if ingress else (),
        encryption=NodeEncryption(address=f"100.64.0.{number}", keys=(key,), sealed_to=b"") if encrypts else None,
    )


def prefix_of(of: Network) -> str:
    assert of.ipam_options is not None
    return of.ipam_options.configs[0].subnet.rpartition(".")[0]


def expected(snap: Snapshot, node_id: str) -> OverlayState:
    """Return what a node has to know, found by looking at everything."""
    live = [one for one in snap.tasks.values() if one.node_id and State.ASSIGNED <= one.state <= State.RUNNING]
    known = {place.network.id: place.network for one in live for place in one.networks_attachments}
    known |= {one.id: one for one in snap.networks.values() if one.allocated}
    mine = {place.network.id for one in live if one.node_id == node_id for place in one.networks_attachments}
    here = snap.nodes.get(node_id)
    places = {one.network_id: one.addresses[0] for one in here.attachments} if here else {}
    if any(
        vip.network_id == INGRESS and INGRESS in snap.networks
        for one in snap.services.values()
        for vip in one.endpoint.virtual_ips
    ):
        mine |= places.keys() & known.keys()
    up = {one.id: one for one in snap.nodes.values() if one.status.state != "down"}
    endpoints = [
        endpoint(one, place, up[one.node_id]) for one in live if one.node_id in up for place in one.networks_attachments
    ] + [
        OverlayEndpoint(
            network_id=place.network_id, node_id=one.id, node_addr=one.status.addr, addresses=bare(place.addresses)
        )
        for one in up.values()
        for place in one.attachments
    ]
    return OverlayState().applied(
        OverlayChange(
            full=True,
            put_networks=tuple(shown(known[network_id], places.get(network_id, "")) for network_id in mine),
            put_endpoints=tuple(one for one in endpoints if one.network_id in mine),
            put_services=tuple(
                one for of in snap.services.values() for one in reached(of, snap) if one.network_id in mine
            ),
        )
    )


def endpoint(one: Task, place: NetworkAttachment, node: Node) -> OverlayEndpoint:
    running = one.state is State.RUNNING
    container = one.status.container_status
    hostname = one.spec.container_spec.hostname or (container.container_id[:12] if running and container else "")
    return OverlayEndpoint(
        network_id=place.network.id,
        task_id=one.id,
        service_id=one.service_id,
        node_id=one.node_id,
        node_addr=node.status.addr,
        addresses=bare(place.addresses),
        names=(f"{one.service_name}.{one.slot or one.node_id}.{one.id}", *([hostname] if hostname else [])),
        serving=running and one.desired_state is State.RUNNING,
    )


def reached(of: Service, snap: Snapshot) -> list[OverlayService]:
    found = []
    aliases = {one.target: one.aliases for one in of.spec.task_template.networks}
    vips = {one.network_id: one.addr for one in of.endpoint.virtual_ips}
    for network_id in aliases.keys() | vips.keys():
        if network_id in snap.networks:
            found.append(
                OverlayService(
                    network_id=network_id,
                    service_id=of.id,
                    name=of.spec.name,
                    aliases=aliases.get(network_id, ()),
                    vips=bare((vips[network_id],)) if network_id in vips else (),
                    ports=of.endpoint.ports if network_id == INGRESS else (),
                )
            )
    return found


def shown(of: Network, node_address: str) -> OverlayNetwork:
    assert of.ipam_options is not None
    return OverlayNetwork(
        id=of.id,
        name=of.spec.name,
        vxlan_id=of.vxlan_id,
        configs=of.ipam_options.configs,
        internal=of.spec.internal,
        ingress=of.id == INGRESS,
        encrypted=of.spec.encrypted,
        node_address=node_address,
    )


def peers(snap: Snapshot, node_id: str) -> dict[str, EncryptionPeer]:
    """Return who else encrypts, as a node has to know it; nobody when it does not."""
    if (here := snap.nodes.get(node_id)) is None or here.encryption is None:
        return {}
    return {
        one.id: EncryptionPeer(
            node_id=one.id,
            node_addr=one.status.addr,
            address=one.encryption.address,
            keys=tuple(replace(key, sealed=b"") for key in one.encryption.keys),
        )
        for one in snap.nodes.values()
        if one.encryption is not None and one.id != node_id and one.status.state != "down"
    }


def bare(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one.split("/")[0] for one in addresses)

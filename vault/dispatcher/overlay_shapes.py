"""What nodes are told of one network, task, service or node, made of the stored object.

Pure.  Called by `vault.dispatcher.overlays`.  Names are Docker's: a task's is its container's, `service.slot.id`, and
the host name beside it; a service's name and aliases belong to the service.
"""

from collections.abc import Iterator

import msgspec

from vault.model.network import Network
from vault.model.node import Node, NodeAttachment, NodeEncryption
from vault.model.overlay import EncryptionPeer, OverlayEndpoint, OverlayNetwork, OverlayService
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.expand import expanded_hostname
from vault.store.snapshot import Snapshot
from vault.store.template import TemplateFailed

SHORT_ID = 12  # Characters of a container's id that are its host name, unless the service says another.


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What of a node concerns others."""

    addr: str  # Its advertised IP address.
    up: bool
    places: tuple[NodeAttachment, ...]
    encryption: NodeEncryption | None
    about: dict[str, str] = msgspec.field(default_factory=dict)  # What templates of its tasks' host names may name.


def is_overlay(network: Network) -> bool:
    """Whether nodes have to be told of a network: it spans them, and has what it needs."""
    return network.driver == "overlay" and network.allocated


def is_there(task: Task) -> bool:
    """Whether a task has, or is about to have, its place on the networks of its node."""
    return bool(task.node_id) and State.ASSIGNED <= task.state <= State.RUNNING


def network_of(network: Network) -> OverlayNetwork:
    """Return a network as nodes are told of it."""
    return OverlayNetwork(
        id=network.id,
        name=network.spec.name,
        vxlan_id=network.vxlan_id,
        configs=network.ipam_options.configs if network.ipam_options else (),
        mtu=network.asked_mtu,
        internal=network.spec.internal,
        ingress=network.spec.ingress,
        encrypted=network.spec.encrypted,
    )


def host_of(node: Node) -> Host:
    """Return what of a node concerns others."""
    return Host(
        addr=node.status.addr,
        up=node.status.state != "down",
        places=node.attachments,
        encryption=node.encryption,
        about={
            "id": node.id,
            "hostname": node.description.hostname,
            "architecture": node.description.platform.architecture,
            "os": node.description.platform.os,
        },
    )


def endpoints_of(task: Task, host: Host) -> Iterator[OverlayEndpoint]:
    """Yield the endpoints of a task that is there: one for each overlay network."""
    names = _names(task, host)
    for place in task.networks_attachments:
        if is_overlay(place.network):
            yield OverlayEndpoint(
                network_id=place.network.id,
                task_id=task.id,
                service_id=task.service_id,
                node_id=task.node_id,
                node_addr=host.addr,
                addresses=_bare(place.addresses),
                names=names,
                serving=task.status.serves and task.released,
            )


def places_of(node_id: str, host: Host) -> Iterator[OverlayEndpoint]:
    """Yield a node's own endpoints."""
    for place in host.places:
        yield OverlayEndpoint(
            network_id=place.network_id,
            node_id=node_id,
            node_addr=host.addr,
            addresses=_bare(place.addresses),
        )


def peer_of(node_id: str, host: Host) -> EncryptionPeer | None:
    """Return a node as others are told of it that encrypt what they send there; None when nobody does."""
    if host.encryption is None or not host.up:
        return None
    keys = tuple(msgspec.structs.replace(key, sealed=b"") for key in host.encryption.keys)
    return EncryptionPeer(node_id=node_id, node_addr=host.addr, address=host.encryption.address, keys=keys)


def services_of(service: Service, snap: Snapshot) -> Iterator[OverlayService]:
    """Yield a service as it is reached, for each overlay network it is on; by its published ports on the ingress."""
    aliases = {place.target: place.aliases for place in service.spec.task_template.networks}
    vips: dict[str, list[str]] = {network_id: [] for network_id in aliases}
    for vip in service.endpoint.virtual_ips:
        vips.setdefault(vip.network_id, []).append(vip.addr)
    ports = tuple(port for port in service.endpoint.ports if port.publish_mode == "ingress" and port.published_port)
    for network_id, addresses in vips.items():
        network = snap.networks.get(network_id)
        if network is not None and network.driver == "overlay":
            yield OverlayService(
                network_id=network_id,
                service_id=service.id,
                name=service.spec.name,
                aliases=aliases.get(network_id, ()),
                vips=_bare(tuple(addresses)),
                ports=ports if network.spec.ingress else (),
            )


def _names(task: Task, host: Host) -> tuple[str, ...]:
    """Return the names of a task by itself: its container's, and its host name once that is known."""
    status = task.status.container_status
    try:
        hostname = expanded_hostname(task, host.about)
    except TemplateFailed:
        return (task.name,)  # Its node rejects it.
    if not hostname and task.state is State.RUNNING and status is not None:
        hostname = status.container_id[:SHORT_ID]
    return (task.name, hostname) if hostname else (task.name,)


def _bare(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(address.partition("/")[0] for address in addresses)

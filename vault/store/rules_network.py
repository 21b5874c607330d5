"""Rules for networks: creating and removing them, and those every swarm begins with.  Pure.

Called by `vault.api` inside `Store.submit`; `predefined` by `vault.daemon` at `swarm init`.
"""

import ipaddress
from http import HTTPStatus
from typing import Final

import msgspec

from vault.model.base import EPOCH
from vault.model.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    VaultError,
)
from vault.model.ids import Kind, NewID
from vault.model.names import check_service_name
from vault.model.network import Network, NetworkSpec
from vault.model.secret import Driver
from vault.store import rules_network_config as configuration
from vault.store.changes import Change, Delete, Put
from vault.store.rules_network_spec import check_network_spec, check_ranges, overlap
from vault.store.snapshot import Snapshot

PREDEFINED_LABEL = "com.docker.swarm.predefined"
PREDEFINED = ("bridge", "host", "none")  # Names of every node's own networks.
INGRESS = "ingress"
DEFAULT_DRIVER: Final = "overlay"
OF_EACH_NODE: Final = "bridge"  # Driver of networks that each node makes for its own tasks.
NAMED: Final = 8  # Nodes, in a sentence.
_OF_NODES: Final = ("ipvlan", "macvlan")  # Drivers of the Engine whose networks are a single node's.
_ONE_OF_EACH: Final = ("host", "null")  # Drivers of networks that every node has already.


class Predefined(VaultError):
    """A network that every node has, and that nobody makes or removes."""

    status = HTTPStatus.FORBIDDEN


class NoSuchDriver(VaultError):
    """Nobody has a network driver of that name."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str) -> None:
        super().__init__(f'plugin "{name}" not found')
        self.name = name


class PoolOverlaps(VaultError):
    """The subnet asked for overlaps another network's; the text begins with Docker's."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self, subnet: str, other: str, name: str) -> None:
        super().__init__(
            f"Pool overlaps with other one on this address space: {subnet} and {other} of network {name}, "
            "choose another subnet"
        )


def new_network(snapshot: Snapshot, network_id: str, spec: NetworkSpec) -> Put:
    """Return the change that creates a network; raise `Conflict` when the name is taken."""
    check_service_name(spec.name)
    if spec.name in PREDEFINED:
        raise Predefined(f"operation is not permitted on predefined {spec.name} network")
    if PREDEFINED_LABEL in spec.labels:
        raise PermissionDenied(
            f"label {PREDEFINED_LABEL} is for internally created predefined networks and cannot be applied by users"
        )
    if spec.ingress and spec.attachable:
        raise InvalidArgument("ingress network cannot be attachable")
    if snapshot.by_name(Kind.NETWORK, spec.name) is not None:
        raise Conflict(f"network with name {spec.name} already exists")
    if spec.config_only:
        check_ranges(spec)
        return Put(Network(id=network_id, spec=configuration.held(spec)))
    driver = (spec.driver_configuration.name if spec.driver_configuration else "") or DEFAULT_DRIVER
    _check_driver(driver, spec)
    spec = configuration.filled_in(snapshot, spec)
    check_network_spec(spec)
    _check_overlap(snapshot, spec)
    _check_vxlan_id(snapshot, spec)
    present = next((network for network in snapshot.networks.values() if network.spec.ingress), None)
    if spec.ingress and present is not None:
        raise AlreadyExists(f"ingress network ({present.id}) is already present")
    _check_encryption(snapshot, spec)
    options = spec.driver_configuration.options if spec.driver_configuration else {}
    stored = msgspec.structs.replace(spec, driver_configuration=Driver(name=driver, options=options), scope="swarm")
    return Put(Network(id=network_id, spec=stored))


def _check_driver(name: str, spec: NetworkSpec) -> None:
    """Raise `InvalidArgument`, `Predefined` or `NoSuchDriver` for a driver that makes no such network here."""
    if name == OF_EACH_NODE:
        if spec.scope != "swarm":
            raise InvalidArgument(
                f'a network of driver "{name}" is for services only with the scope swarm: '
                "add --scope swarm, or use overlay"
            )
        if spec.ingress:
            raise Predefined("Ingress network can only be global scope network")
        return
    if name in _OF_NODES:
        raise InvalidArgument(f'network driver "{name}" is not supported: use overlay')
    if name in _ONE_OF_EACH:
        raise Predefined(f'only one instance of "{name}" network is allowed')
    if name != DEFAULT_DRIVER:
        raise NoSuchDriver(name)


def _check_encryption(snapshot: Snapshot, spec: NetworkSpec) -> None:
    """Raise `FailedPrecondition` when no node could run a task on the network; one that can is enough."""
    if spec.encrypted and not any(node.description.encryption for node in snapshot.nodes.values()):
        raise FailedPrecondition(
            f"network {spec.name} cannot be encrypted: no node has WireGuard. Load the kernel module wireguard on the "
            "nodes, or install the package wireguard-go there"
        )


def keys_to_rotate(snapshot: Snapshot) -> tuple[Change, ...]:
    """Return the change by which the keys of encrypted networks are due for rotation now.

    Raises `FailedPrecondition` while there are none, or while they are being rotated.
    """
    cluster = snapshot.cluster
    if cluster is None or cluster.encryption is None or not any(node.encryption for node in snapshot.nodes.values()):
        raise FailedPrecondition("there are no keys to rotate: no node has a task on an encrypted network")
    if cluster.encryption.rotating:
        raise FailedPrecondition(
            f"the keys are being rotated already: wait until every node uses epoch {cluster.encryption.newest}, "
            f"as node inspect shows it{_behind(snapshot, cluster.encryption.newest)}"
        )
    due = msgspec.structs.replace(cluster.encryption, begun_at=EPOCH)
    return (Put(msgspec.structs.replace(cluster, encryption=due)),)


def _behind(snapshot: Snapshot, epoch: int) -> str:
    """Return which nodes do not use an epoch of keys yet, for the end of a sentence."""
    names = sorted(
        node.description.hostname or node.id
        for node in snapshot.nodes.values()
        if node.encryption is not None
        and node.status.state != "down"
        and (node.description.encryption is None or node.description.encryption.epoch < epoch)
    )
    if not names:
        return ""
    some = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return f". Not yet: {some} (is UDP 7946 or 7947 blocked there?)"


def removed_network(snapshot: Snapshot, network_id: str) -> tuple[Change, ...]:
    """Return the change that removes a network; raise `FailedPrecondition` while a service or task is on it."""
    network = snapshot.networks.get(network_id)
    if network is None:
        raise NotFound(Kind.NETWORK, network_id)
    if is_predefined(network):
        raise Predefined(f"{network.spec.name} is a pre-defined network and cannot be removed")
    if network.spec.config_only:
        configuration.check_unused(snapshot, network)
    for service in snapshot.services_using(Kind.NETWORK, network_id):
        raise FailedPrecondition(f"network {network.spec.name} is in use by service {service.spec.name}")
    for service in snapshot.services.values():
        ports = service.spec.endpoint_spec.ports if service.spec.endpoint_spec else ()
        if network.spec.ingress and any(port.publish_mode == "ingress" for port in ports):
            raise FailedPrecondition(f"ingress network cannot be removed because service {service.id} depends on it")
    for task in snapshot.tasks.values():
        orphaned = bool(task.service_id) and task.service_id not in snapshot.services  # It is about to be asked to go.
        if (
            task.live
            and not orphaned
            and any(attached.network.id == network_id for attached in task.networks_attachments)
        ):
            raise FailedPrecondition(f"network {network.spec.name} is in use by task {task.id}")
    return (Delete(Kind.NETWORK, network_id, network.version.index),)


def predefined(new_id: NewID) -> tuple[Put, ...]:
    """Return the changes that give a new swarm its networks: ingress, and one for each network every node has."""
    drivers = {"bridge": "bridge", "host": "host", "none": "null"}
    ingress = NetworkSpec(name=INGRESS, driver_configuration=Driver(name="overlay"), ingress=True, scope="swarm")
    specs = [ingress] + [
        NetworkSpec(
            name=name, labels={PREDEFINED_LABEL: "true"}, driver_configuration=Driver(name=driver), scope="local"
        )
        for name, driver in drivers.items()
    ]
    return tuple(Put(Network(id=new_id(), spec=spec)) for spec in specs)


def is_predefined(network: Network) -> bool:
    """Whether the network stands for one that every node has of its own."""
    return network.spec.labels.get(PREDEFINED_LABEL) == "true"


def _check_overlap(snapshot: Snapshot, spec: NetworkSpec) -> None:
    """Raise `PoolOverlaps` when a subnet that was asked for overlaps one that a network has or has asked for."""
    asked = [ipaddress.ip_network(one.subnet) for one in (spec.ipam_options.configs if spec.ipam_options else ())]
    for network in snapshot.networks.values() if asked else ():
        if network.spec.config_only:
            continue
        options = network.ipam_options or network.spec.ipam_options
        for config in options.configs if options else ():
            taken = ipaddress.ip_network(config.subnet, strict=False)
            for subnet in asked:
                if overlap(subnet, taken):
                    raise PoolOverlaps(str(subnet), str(taken), network.spec.name)


def _check_vxlan_id(snapshot: Snapshot, spec: NetworkSpec) -> None:
    """Raise `InvalidArgument` when the overlay number that was asked for is another network's."""
    asked = Network(id="", spec=spec).vxlan_id
    for network in snapshot.networks.values() if asked else ():
        if network.vxlan_id == asked and not network.spec.config_only:
            raise InvalidArgument(
                f"vxlan id '{asked}' is already in use by network '{network.spec.name}' ({network.id})"
            )

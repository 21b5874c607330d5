"""Rules for the swarm's settings and its nodes.  Pure.

Called by `vault.api` (nodes) and `vault.daemon` (`merged` at init, `updated` for the settings) inside `Store.submit`.
"""

from typing import TypeVar

import msgspec

from vault.model.base import SECOND_NS
from vault.model.cluster import Cluster, ClusterSpec
from vault.model.errors import BadRequest, FailedPrecondition, InvalidArgument, NotFound
from vault.model.ids import Kind
from vault.model.node import Node, NodeSpec
from vault.store.changes import Change, Delete, Put
from vault.store.rules import at_version
from vault.store.snapshot import Snapshot

PartT = TypeVar("PartT", bound=msgspec.Struct)
ROLES = ("worker", "manager")
AVAILABILITIES = ("active", "pause", "drain")
MIN_CERT_EXPIRY_NS = 3600 * SECOND_NS


def merged(spec: ClusterSpec, current: ClusterSpec) -> ClusterSpec:
    """Return `spec` with what it leaves out (zero or absent) taken from `current`; raise what is wrong with it.

    The name, if given, must be "default".
    """
    if spec.name not in ("", "default"):
        raise InvalidArgument('swarm spec must be named "default"')
    if 0 < spec.ca_config.node_cert_expiry < MIN_CERT_EXPIRY_NS or spec.ca_config.node_cert_expiry < 0:
        raise InvalidArgument("minimum certificate expiry time is: 1h0m0s")
    if spec.dispatcher.heartbeat_period < 0 or spec.raft.snapshot_interval < 0:
        raise InvalidArgument("a heartbeat or snapshot interval cannot be negative")
    _check_supported(spec)
    return ClusterSpec(
        name="default",
        labels=spec.labels,
        orchestration=_filled(spec.orchestration, current.orchestration),
        raft=_filled(spec.raft, current.raft),
        dispatcher=_filled(spec.dispatcher, current.dispatcher),
        ca_config=_filled(spec.ca_config, current.ca_config),
        task_defaults=_filled(spec.task_defaults, current.task_defaults),
        encryption_config=spec.encryption_config,
    )


def updated(snapshot: Snapshot, spec: ClusterSpec, *, version: int) -> Cluster:
    """Return the cluster object with other settings; the caller adds rotated tokens and keys and puts it."""
    found = snapshot.cluster
    cluster = at_version(found, Kind.CLUSTER, "" if found is None else found.id, version)
    if spec.name != "default":
        raise InvalidArgument('swarm spec must be named "default"')
    return msgspec.structs.replace(cluster, spec=merged(spec, cluster.spec))


def updated_node(snapshot: Snapshot, node_id: str, spec: NodeSpec, *, version: int) -> tuple[Change, ...]:
    """Return the change that gives a node another spec; a role changes only where a manager is left."""
    old = at_version(snapshot.nodes.get(node_id), Kind.NODE, node_id, version)
    if spec.role not in ROLES:
        raise BadRequest(f'invalid Role: "{spec.role}"')
    if spec.availability not in AVAILABILITIES:
        raise BadRequest(f'invalid Availability: "{spec.availability}"')
    if old.spec.role == "manager" and spec.role == "worker":
        managers = [node for node in snapshot.nodes.values() if node.spec.role == "manager"]
        if len(managers) < 2:
            raise FailedPrecondition("attempting to demote the last manager of the swarm")
    return (Put(msgspec.structs.replace(old, spec=spec)),)


def removed_node(snapshot: Snapshot, node_id: str, *, force: bool) -> tuple[Change, ...]:
    """Return the change that removes a node: a worker that is down, or any worker with `force`."""
    node = snapshot.nodes.get(node_id)
    if node is None:
        raise NotFound(Kind.NODE, node_id)
    if node.spec.role == "manager":
        raise FailedPrecondition(
            f"node {node.id} is a cluster manager and is a member of the raft cluster. "
            "It must be demoted to worker before removal"
        )
    if not force and not _is_gone(node):
        raise FailedPrecondition(f"node {node.id} is not down and can't be removed")
    return (Delete(Kind.NODE, node_id, node.version.index),)


def _is_gone(node: Node) -> bool:
    return node.status.state in ("down", "disconnected")


def _filled(part: PartT, current: PartT) -> PartT:
    """Return `part` with its zero fields taken from `current`."""
    taken = {name: getattr(current, name) for name in part.__struct_fields__ if not _is_set(getattr(part, name))}
    return msgspec.structs.replace(part, **taken)


def _is_set(value: object) -> bool:
    return value is not None and value not in ("", (), {}) and (isinstance(value, bool) or value != 0)


def _check_supported(spec: ClusterSpec) -> None:
    """Raise `InvalidArgument` for settings that have no effect here."""
    if spec.ca_config.external_cas:
        raise InvalidArgument("external CAs are not supported yet")
    if spec.ca_config.signing_ca_cert or spec.ca_config.force_rotate:
        raise InvalidArgument("rotating the root CA is not supported yet")

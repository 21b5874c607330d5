"""Rules for the swarm's settings and its nodes.  Pure.

Called by `vault.api` (nodes) and `vault.daemon` (`merged` at init) inside `Store.submit`; `rules_swarm` has what an
update of the settings brings with it.
"""

from typing import TypeVar

import msgspec

from vault.model.base import SECOND_NS, from_s
from vault.model.cluster import CAConfig, Cluster, ClusterSpec
from vault.model.errors import (
    AlreadyExists,
    BadRequest,
    FailedPrecondition,
    InvalidArgument,
    LastManagerLeaving,
    ManagerLeaving,
    NotFound,
)
from vault.model.ids import Kind
from vault.model.node import Node, NodeSpec
from vault.store.changes import Change, Delete, Put
from vault.store.rules import at_version, with_spec_of
from vault.store.snapshot import Snapshot

PartT = TypeVar("PartT", bound=msgspec.Struct)
ROLES = ("worker", "manager")
AVAILABILITIES = ("active", "pause", "drain")
MIN_CERT_EXPIRY_NS = 3600 * SECOND_NS


def merged(spec: ClusterSpec, current: ClusterSpec) -> ClusterSpec:
    """Return `spec` with what it leaves out (zero or absent) taken from `current`; raise what is wrong with it.

    The name, if given, must be "default".  A root CA's key is left out: no spec that is kept has one.
    """
    if spec.name not in ("", "default"):
        raise BadRequest('swarm spec must be named "default"')
    if 0 < spec.ca_config.node_cert_expiry < MIN_CERT_EXPIRY_NS or spec.ca_config.node_cert_expiry < 0:
        raise InvalidArgument("minimum certificate expiry time is: 1h0m0s")
    if spec.dispatcher.heartbeat_period < 0:
        raise InvalidArgument("heartbeat time period cannot be a negative duration")
    if spec.raft.snapshot_interval < 0:
        raise InvalidArgument("a snapshot interval cannot be negative")
    if spec.ca_config.external_cas:
        raise InvalidArgument("external CAs are not supported")
    if spec.ca_config.signing_ca_key and not spec.ca_config.signing_ca_cert:
        raise InvalidArgument("if a signing CA key is provided, the signing CA cert must also be provided")
    return ClusterSpec(
        name="default",
        labels=spec.labels,
        orchestration=_filled(spec.orchestration, current.orchestration),
        raft=_filled(spec.raft, current.raft),
        dispatcher=_filled(spec.dispatcher, current.dispatcher),
        ca_config=_ca_config(spec.ca_config, current.ca_config),
        task_defaults=_filled(spec.task_defaults, current.task_defaults),
        encryption_config=spec.encryption_config,
    )


def updated(snapshot: Snapshot, spec: ClusterSpec, *, version: int) -> Cluster:
    """Return the cluster object with other settings; the caller adds rotated tokens and keys and puts it."""
    found = snapshot.cluster
    cluster = at_version(found, Kind.CLUSTER, "" if found is None else found.id, version)
    return msgspec.structs.replace(cluster, spec=merged(spec, cluster.spec))


def updated_node(snapshot: Snapshot, node_id: str, spec: NodeSpec, *, version: int, now_s: float) -> tuple[Change, ...]:
    """Return the change that gives a node another spec; a role changes only where enough managers are left.

    Raises `FailedPrecondition` for a demotion that would leave no manager, or too few that are to be reached.
    """
    old = with_spec_of(snapshot.nodes.get(node_id), Kind.NODE, node_id, version)
    if spec.role not in ROLES:
        raise BadRequest(f'invalid Role: "{spec.role}"')
    if spec.availability not in AVAILABILITIES:
        raise BadRequest(f'invalid Availability: "{spec.availability}"')
    if spec.name.lower() != old.spec.name.lower() and snapshot.by_name(Kind.NODE, spec.name) is not None:
        raise AlreadyExists(f"name conflicts with an existing object: node {spec.name} already exists")
    if old.is_manager and spec.role == "worker":
        _check_demotion(snapshot, old)
    drained_at = None
    if spec.availability == "drain":
        drained_at = old.drained_at if old.spec.availability == "drain" else from_s(now_s)
    return (Put(msgspec.structs.replace(old, spec=spec, drained_at=drained_at)),)


def removed_node(snapshot: Snapshot, node_id: str, *, force: bool) -> tuple[Change, ...]:
    """Return the change that removes a node: a worker that is down, or any worker with `force`.

    A manager is demoted first.  Its part in the engine, and its peer certificate, end on their own: whether the node
    is still there or not, `vault.dispatcher.roles` knows them by its id.
    """
    node = snapshot.nodes.get(node_id)
    if node is None:
        raise NotFound(Kind.NODE, node_id)
    if node.is_manager:
        raise FailedPrecondition(
            f"node {node.id} is a cluster manager and is a member of the raft cluster. "
            "It must be demoted to worker before removal"
        )
    if not force and not _is_gone(node):
        raise FailedPrecondition(f"node {node.id} is not down and can't be removed")
    return (Delete(Kind.NODE, node_id, node.version.index),)


def check_leaving(snapshot: Snapshot, node_id: str) -> None:
    """Raise what speaks against a manager's leaving without force: `LastManagerLeaving` or `ManagerLeaving`."""
    managers = managers_of(snapshot)
    if len(managers) <= 1:
        raise LastManagerLeaving
    reachable = sum(to_be_reached(node) or node.id == node_id for node in managers)
    raise ManagerLeaving(reachable=reachable, unreachable=len(managers) - reachable)


def managers_of(snapshot: Snapshot) -> list[Node]:
    """Return the nodes that are meant to be managers."""
    return [node for node in snapshot.nodes.values() if node.is_manager]


def to_be_reached(node: Node) -> bool:
    """Whether a manager counts for quorum, as far as its leader knows."""
    status = node.manager_status
    return status is not None and status.reachability == "reachable"


def _check_demotion(snapshot: Snapshot, demoted: Node) -> None:
    managers = managers_of(snapshot)
    if len(managers) < 2:
        raise FailedPrecondition("attempting to demote the last manager of the swarm")
    if demoted.manager_status is None:
        return
    # Those that are being prepared have no part in the engine yet, and do not count.
    left = [node for node in managers if node.id != demoted.id and node.manager_status is not None]
    if sum(map(to_be_reached, left)) <= len(left) // 2:
        raise FailedPrecondition("can't remove member from the raft: this would result in a loss of quorum")


def _is_gone(node: Node) -> bool:
    return node.status.state in ("down", "disconnected")


def _filled(part: PartT, current: PartT) -> PartT:
    """Return `part` with its zero fields taken from `current`."""
    taken = {name: getattr(current, name) for name in part.__struct_fields__ if not _is_set(getattr(part, name))}
    return msgspec.structs.replace(part, **taken)


def _is_set(value: object) -> bool:
    return value is not None and value not in ("", (), {}) and (isinstance(value, bool) or value != 0)


def _ca_config(posted: CAConfig, current: CAConfig) -> CAConfig:
    """Return the settings of the CA; a root that is drawn anew takes the place of one that was given."""
    config = _filled(posted, current)
    if not posted.signing_ca_cert and config.force_rotate != current.force_rotate:
        config = msgspec.structs.replace(config, signing_ca_cert="")
    return msgspec.structs.replace(config, signing_ca_key="")

"""Which managers take part in the engine: what their roles ask for, step by step, never against quorum.

Pure: nodes and members in, an action and changes out.  Called by the daemon on the leader, again and again; it carries
out the action, the only change of membership at that time, and proposes the changes.  All of it can be decided anew by
the next leader; only how long a member has been awaited is forgotten, and counted from the start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from vault.dispatcher.entering import peer_url
from vault.model.cluster import Cluster, PeerAuthority
from vault.model.node import ManagerStatus, Node
from vault.raftstore.engine import Member
from vault.store.changes import Put
from vault.store.snapshot import Snapshot

ALONE: Final = "self"  # How the engine of one manager names its member.
NEVER_STARTED_S: Final = 60.0
HANDS_OVER_S: Final = 10.0  # What a member that leads the engine is given to hand that over, before it is removed.
LOOK_AGAIN_S: Final = 5.0  # At what has to be tried again, or may have changed without a commit.


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteMember:
    """Let a learner vote; the engine refuses until it has caught up."""

    member_id: int
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMember:
    """End the part of a node that was demoted or removed."""

    member_id: int
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropNeverStarted:
    """End the part of a member that was added and has not come in 60 s."""

    member_id: int
    peer_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cede:
    """Give the lead away: this manager was demoted, and another one can take it."""


Action = PromoteMember | RemoveMember | DropNeverStarted | Cede


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDecision:
    """What is to be done, what is to be remembered until the next time, and when that is at the latest."""

    action: Action | None = None
    changes: tuple[Put, ...] = ()
    awaited_since: Mapping[int, float] = field(default_factory=dict)  # Member id -> seconds since 1970.
    ask_again_s: float | None = None


def may_lead(snapshot: Snapshot, node_id: str) -> bool:
    """Whether the store lets this node lead: one that was demoted or removed leaves it to the others."""
    node = snapshot.nodes.get(node_id)
    return node is not None and node.is_manager


def decide(
    snapshot: Snapshot,
    members: Sequence[Member],
    *,
    self_id: str,
    awaited_since: Mapping[int, float],
    now_s: float,
) -> RoleDecision:
    """Return the next step that brings the engine's members to what the nodes' roles say.

    members: as the engine names them, as of `snapshot` or later.  self_id: who leads, and decides this.
    awaited_since: of the decision before; empty at first.  For members that are to start, or to hand the lead over.
    """
    members = [replace(member, name=self_id) if member.name == ALONE else member for member in members]
    surplus = {member.id for member in _surplus(snapshot, members)}
    awaited = [member for member in members if not member.name or (member.leads and member.id in surplus)]
    since = {member.id: awaited_since.get(member.id, now_s) for member in awaited}
    action = _action(snapshot, members, self_id, since, now_s)
    waits = action is not None or bool(since) or any(member.learner for member in members)
    return RoleDecision(
        action=action,
        changes=(*_statuses(snapshot, members, self_id), *_revocations(snapshot, members)),
        awaited_since=since,
        ask_again_s=now_s + LOOK_AGAIN_S if waits or _surplus(snapshot, members) else None,
    )


def _action(
    snapshot: Snapshot, members: Sequence[Member], self_id: str, since: Mapping[int, float], now_s: float
) -> Action | None:
    if not may_lead(snapshot, self_id):
        return Cede() if any(_can_lead(snapshot, member) for member in members if member.name != self_id) else None
    # One that cannot be reached goes first: without it quorum is easier to have.
    for member in sorted(_surplus(snapshot, members), key=lambda member: _reached(snapshot, member, self_id)):
        if _hands_over(snapshot, member, self_id) and now_s - since[member.id] < HANDS_OVER_S:
            continue  # Removed before that, it would leave the engine without a leader for seconds.
        if member.learner or _quorum_without(snapshot, members, member, self_id):
            return RemoveMember(member_id=member.id, node_id=member.name)
    for member in members:
        if not member.name and now_s - since[member.id] >= NEVER_STARTED_S:
            return DropNeverStarted(member_id=member.id, peer_url=member.peer_url)
    for member in members:
        # etcd makes a new member's name known late; where it answers its peers is known before.
        known = member if member.name else replace(member, name=_at(snapshot, member.peer_url))
        if member.learner and _can_lead(snapshot, known, learner=True):
            return PromoteMember(member_id=member.id, node_id=known.name)
    return None


def _surplus(snapshot: Snapshot, members: Sequence[Member]) -> list[Member]:
    """Return the members whose nodes are not managers any more, or not there."""
    return [member for member in members if member.name and not may_lead(snapshot, member.name)]


def _can_lead(snapshot: Snapshot, member: Member, *, learner: bool = False) -> bool:
    """Whether a member is a manager that is up; a learner only where that is asked for."""
    node = snapshot.nodes.get(member.name)
    return node is not None and node.is_manager and node.status.state == "ready" and member.learner == learner


def _at(snapshot: Snapshot, url: str) -> str:
    """Return the id of the manager whose engine answers its peers at `url`; "" when there is none."""
    for node in snapshot.nodes.values():
        if node.is_manager and node.manager_status is not None:
            host = node.manager_status.addr.rpartition(":")[0].strip("[]")
            if host and peer_url(host) == url:
                return node.id
    return ""


def _reached(snapshot: Snapshot, member: Member, self_id: str) -> bool:
    node = snapshot.nodes.get(member.name)
    return member.name == self_id or (node is not None and node.status.state == "ready")


def _hands_over(snapshot: Snapshot, member: Member, self_id: str) -> bool:
    """Whether a member leads the engine's consensus, and its manager is there to hand that over to the leader's."""
    return member.leads and _reached(snapshot, member, self_id)


def _quorum_without(snapshot: Snapshot, members: Sequence[Member], gone: Member, self_id: str) -> bool:
    """Whether those that are left, and to be reached, are more than half of those that are left."""
    left = [member for member in members if not member.learner and member.id != gone.id]
    return sum(_reached(snapshot, member, self_id) for member in left) > len(left) // 2


def _statuses(snapshot: Snapshot, members: Sequence[Member], self_id: str) -> tuple[Put, ...]:
    """Return the changes that show, on nodes, who takes part, who leads and who is to be reached."""
    taking_part = {member.name for member in members if member.name}
    puts = []
    for node in snapshot.nodes.values():
        status = _status(node, takes_part=node.id in taking_part, leads=node.id == self_id)
        if status != node.manager_status:
            puts.append(Put(msgspec.structs.replace(node, manager_status=status)))
    return tuple(puts)


def _status(node: Node, *, takes_part: bool, leads: bool) -> ManagerStatus | None:
    """Return what a node shows of its part; an address that it gave when it entered stays with it until then."""
    known = node.manager_status
    if not takes_part:
        return known if node.is_manager and known is not None and known.reachability == "unknown" else None
    reachability = "reachable" if leads or node.status.state == "ready" else "unreachable"
    return ManagerStatus(leader=leads, reachability=reachability, addr=known.addr if known is not None else "")


def _revocations(snapshot: Snapshot, members: Sequence[Member]) -> tuple[Put, ...]:
    """Return the change that revokes the peer certificates of nodes that take part no more.

    Not before their part has ended: a member without a usable certificate would still count for quorum.
    """
    cluster = snapshot.cluster
    if cluster is None or cluster.peer_authority is None:
        return ()
    if any(not member.name for member in members):  # It has a certificate, and its name is not known yet.
        return ()
    taking_part = {member.name for member in members}
    kept = {node_id for node_id, _ in cluster.peer_authority.issued if node_id in taking_part}
    kept |= {node.id for node in snapshot.nodes.values() if node.is_manager}
    ended = tuple(serial for node_id, serial in cluster.peer_authority.issued if node_id not in kept)
    return (Put(_revoking(cluster, cluster.peer_authority, ended)),) if ended else ()


def _revoking(cluster: Cluster, peers: PeerAuthority, serials: tuple[str, ...]) -> Cluster:
    left = tuple((node_id, serial) for node_id, serial in peers.issued if serial not in serials)
    revoked = msgspec.structs.replace(peers, issued=left, revoked=(*peers.revoked, *serials))
    return msgspec.structs.replace(cluster, peer_authority=revoked)

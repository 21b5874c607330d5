"""Members of the engine follow the nodes' roles, and never against quorum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import msgspec
import pytest

from tests.dispatcher.swarm import NOW, after, cluster_in, ident, node, swarm
from vault.crypto.certificates import new_tls_key
from vault.crypto.peers import request_peer
from vault.dispatcher.entering import enter
from vault.dispatcher.roles import (
    HANDS_OVER_S,
    NEVER_STARTED_S,
    Action,
    Cede,
    DropNeverStarted,
    PromoteMember,
    RemoveMember,
    RoleDecision,
    decide,
    may_lead,
)
from vault.model.errors import VaultError
from vault.model.ids import Kind
from vault.model.node import ManagerStatus, Node, NodeSpec, NodeStatus
from vault.raftstore.engine import Member
from vault.rpc.messages_manager import Enter
from vault.store.changes import Delete, Put
from vault.store.rules_cluster import removed_node, updated_node
from vault.store.snapshot import Snapshot

NOW_S = NOW.timestamp()


def member(name: str, number: int, *, learner: bool = False) -> Member:
    return Member(
        id=number, name=ident(name) if name else "", peer_url=f"https://10.0.0.{number}:2380", learner=learner
    )


def voters(*names: str) -> list[Member]:
    return [member(name, number) for number, name in enumerate(names, 1)]


def decided(snapshot: Snapshot, members: Sequence[Member], self_id: str = "a", **more: object) -> RoleDecision:
    since = more.pop("since", {})
    return decide(snapshot, members, self_id=ident(self_id), awaited_since=since, now_s=NOW_S, **more)  # type: ignore[arg-type]


def managers(*names: str, down: str = "") -> Snapshot:
    return swarm(
        *(node(name, "manager", state="down" if name in down else "ready", leads=name == "a") for name in names)
    )


def demoted(snapshot: Snapshot, name: str) -> Snapshot:
    return after(snapshot, Put(msgspec.structs.replace(snapshot.nodes[ident(name)], spec=NodeSpec(role="worker"))))


def test_where_roles_and_members_agree_there_is_nothing_to_do() -> None:
    assert decided(managers("a", "b", "c"), voters("a", "b", "c")) == RoleDecision()


def test_a_learner_of_a_manager_that_is_up_becomes_a_voter() -> None:
    members = [*voters("a"), member("b", 2, learner=True)]
    assert decided(managers("a", "b"), members).action == PromoteMember(member_id=2, node_id=ident("b"))
    assert decided(managers("a", "b", down="b"), members).action is None


def test_a_demoted_manager_s_part_ends() -> None:
    snapshot = demoted(managers("a", "b", "c"), "b")
    assert decided(snapshot, voters("a", "b", "c")).action == RemoveMember(member_id=2, node_id=ident("b"))


def test_the_part_of_a_node_that_is_gone_ends() -> None:
    snapshot = managers("a", "c", "b", down="b")
    gone = after(snapshot, Delete(Kind.NODE, ident("b"), snapshot.nodes[ident("b")].version.index))
    assert decided(gone, voters("a", "b", "c")).action == RemoveMember(member_id=2, node_id=ident("b"))


def test_nobody_goes_where_the_rest_would_have_no_quorum_and_it_is_looked_at_again() -> None:
    snapshot = demoted(managers("a", "b", "c", down="c"), "b")
    waiting = decided(snapshot, voters("a", "b", "c"))
    assert waiting.action is None
    assert waiting.ask_again_s == NOW_S + 5


def test_of_two_that_go_the_one_that_is_down_goes_first() -> None:
    snapshot = demoted(demoted(managers("a", "b", "c", "d", down="c"), "b"), "c")
    assert decided(snapshot, voters("a", "b", "c", "d")).action == RemoveMember(member_id=3, node_id=ident("c"))


def test_a_leader_that_is_demoted_gives_the_lead_away_before_anything_else() -> None:
    snapshot = demoted(managers("a", "b", "c"), "a")
    assert decided(snapshot, voters("a", "b", "c")).action == Cede()
    assert not may_lead(snapshot, ident("a"))
    assert may_lead(snapshot, ident("b"))
    assert decided(snapshot, voters("a", "b", "c"), self_id="b").action == RemoveMember(member_id=1, node_id=ident("a"))


def test_a_demoted_leader_stays_while_nobody_can_take_the_lead() -> None:
    snapshot = demoted(managers("a", "b", "c", down="bc"), "a")
    waiting = decided(snapshot, [*voters("a", "b"), member("c", 3, learner=True)])
    assert waiting.action is None
    assert waiting.ask_again_s is not None


def test_a_member_that_never_starts_is_dropped_after_a_minute() -> None:
    snapshot, members = managers("a"), [*voters("a"), member("", 9)]
    first = decided(snapshot, members)
    assert (first.action, first.awaited_since) == (None, {9: NOW_S})
    for waited_s, action in (
        (NEVER_STARTED_S - 1, None),
        (NEVER_STARTED_S, DropNeverStarted(member_id=9, peer_url="https://10.0.0.9:2380")),
    ):
        later = decided(snapshot, members, since={9: NOW_S - waited_s})
        assert later.action == action
    assert decided(snapshot, voters("a"), since={9: NOW_S}).awaited_since == {}


def test_a_member_that_leads_the_engine_is_given_time_to_hand_that_over_before_it_goes() -> None:
    snapshot = demoted(managers("a", "b", "c"), "b")
    members = [replace(one, leads=one.name == ident("b")) for one in voters("a", "b", "c")]
    first = decided(snapshot, members)
    assert (first.action, first.awaited_since, first.ask_again_s) == (None, {2: NOW_S}, NOW_S + 5)
    removal = RemoveMember(member_id=2, node_id=ident("b"))
    assert decided(snapshot, members, since={2: NOW_S - HANDS_OVER_S}).action == removal
    handed_over = [replace(one, leads=one.name == ident("a")) for one in members]
    assert decided(snapshot, handed_over, since={2: NOW_S}).action == removal
    dead = demoted(managers("a", "b", "c", down="b"), "b")
    assert decided(dead, members, since={2: NOW_S}).action == removal


def test_a_leader_that_is_no_surplus_is_awaited_by_nobody() -> None:
    assert decided(managers("a", "b"), [replace(one, leads=True) for one in voters("a", "b")]) == RoleDecision()


def test_the_engine_of_one_manager_calls_its_member_something_else() -> None:
    assert decided(managers("a"), [Member(id=1, name="self", leads=True)]) == RoleDecision()


def test_nodes_show_who_leads_who_is_to_be_reached_and_who_has_no_part() -> None:
    snapshot = demoted(managers("a", "b", "c", "d", down="c"), "d")
    changes = decided(snapshot, voters("a", "b", "c"), self_id="b").changes
    shown = {one.obj.id: one.obj.manager_status for one in changes if isinstance(one.obj, Node)}
    addr = "10.0.0.1:2377"
    assert shown == {
        ident("a"): ManagerStatus(leader=False, reachability="reachable", addr=addr),
        ident("b"): ManagerStatus(leader=True, reachability="reachable", addr=addr),
        ident("d"): None,
    }


def entered(snapshot: Snapshot, name: str) -> Snapshot:
    wanted = Enter(
        peer_request=request_peer(new_tls_key()),
        peer_address=f"10.0.0.{ord(name)}",
        control_address=f"10.0.0.{ord(name)}:2377",
    )
    return after(snapshot, *enter(snapshot, ident(name), wanted, now=NOW).changes)


def issued(snapshot: Snapshot, name: str) -> list[str]:
    peers = cluster_in(snapshot).peer_authority
    assert peers is not None
    return [serial for node_id, serial in peers.issued if node_id == ident(name)]


def test_a_peer_certificate_is_revoked_when_its_node_s_part_has_ended_and_not_before() -> None:
    snapshot = entered(entered(entered(managers("a", "b", "c"), "a"), "b"), "b")
    serials = issued(snapshot, "b")
    assert len(serials) == 2
    snapshot = demoted(snapshot, "b")
    assert cluster_changes(decided(snapshot, voters("a", "b", "c"))) == []
    (change,) = cluster_changes(decided(snapshot, voters("a", "c")))
    snapshot = after(snapshot, change)
    peers = cluster_in(snapshot).peer_authority
    assert peers is not None
    assert list(peers.revoked) == serials
    assert issued(snapshot, "b") == []
    assert len(issued(snapshot, "a")) == 1
    assert cluster_changes(decided(snapshot, voters("a", "c"))) == []


def test_a_certificate_is_not_revoked_while_its_member_has_not_said_who_it_is() -> None:
    snapshot = demoted(entered(managers("a", "b"), "b"), "b")
    assert cluster_changes(decided(snapshot, [*voters("a"), member("", 2)])) == []
    assert len(cluster_changes(decided(snapshot, voters("a")))) == 1


def test_a_manager_that_has_its_certificate_and_not_its_part_yet_keeps_it() -> None:
    assert cluster_changes(decided(entered(managers("a", "b"), "b"), voters("a"))) == []


def cluster_changes(decision: RoleDecision) -> list[Put]:
    return [one for one in decision.changes if not isinstance(one.obj, Node)]


@dataclass
class Engine:
    """The engine's members, with its own idea of who is up."""

    members: list[Member]

    def apply(self, action: Action) -> None:
        match action:
            case PromoteMember(member_id=number):
                self.members = [replace(one, learner=one.learner and one.id != number) for one in self.members]
            case RemoveMember(member_id=number) | DropNeverStarted(member_id=number):
                self.members = [one for one in self.members if one.id != number]
            case Cede():
                pass


class World:
    """Managers that people promote, demote, remove, switch off and on, and leaders that carry out what is decided."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.names = "abcdef"
        self.snap = swarm(*(node(name, "manager" if name in "abc" else "worker") for name in self.names))
        self.engine = Engine(voters("a", "b", "c"))
        for name in "abc":
            self.snap = entered(self.snap, name)
        self.leader = ident("a")
        self.since: dict[int, float] = {}
        self.now_s = NOW_S
        self.numbers = iter(range(10, 10**6))

    def up(self, one: Member) -> bool:
        known = self.snap.nodes.get(one.name)
        return known is not None and known.status.state == "ready"

    def has_quorum(self) -> bool:
        able = [one for one in self.engine.members if not one.learner]
        return sum(map(self.up, able)) > len(able) // 2

    def people(self) -> None:
        name = self.random.choice(self.names)
        known = self.snap.nodes.get(ident(name))
        if known is None:
            self.snap = after(self.snap, Put(node(name)))
            return
        role = self.random.choice(("worker", "manager"))
        try:
            if self.random.random() < 0.2:
                changes = removed_node(self.snap, known.id, force=True)
            else:
                changes = updated_node(self.snap, known.id, NodeSpec(role=role), version=known.version.index, now_s=0.0)
        except VaultError:
            return
        self.snap = after(self.snap, *changes)

    def machines(self) -> None:
        name = self.random.choice(self.names)
        known = self.snap.nodes.get(ident(name))
        if known is not None:
            state = "down" if known.status.state == "ready" and self.random.random() < 0.4 else "ready"
            self.snap = after(self.snap, Put(msgspec.structs.replace(known, status=NodeStatus(state=state))))

    def newcomers(self) -> None:
        """A node that is to be a manager enters; its member may start at once, later or never."""
        taking_part = {one.name for one in self.engine.members}
        for known in self.snap.nodes.values():
            if known.is_manager and known.id not in taking_part and known.status.state == "ready":
                unstarted = any(not one.name for one in self.engine.members)
                if not unstarted and self.has_quorum() and may_lead(self.snap, self.leader):
                    self.snap = entered(self.snap, known.id.rstrip("0"))
                    number = next(self.numbers)
                    self.engine.members.append(Member(id=number, name="", peer_url=known.id, learner=True))
                return
        self.start()

    def start(self) -> None:
        self.engine.members = [
            replace(one, name=one.peer_url if one.peer_url in self.snap.nodes else "") if not one.name else one
            for one in self.engine.members
        ]

    def lead(self) -> None:
        """The leader decides; without quorum there is none that could."""
        self.now_s += self.random.choice((0.0, 5.0, 61.0))
        able = [one.name for one in self.engine.members if not one.learner and self.up(one)]
        if not self.has_quorum() or not able:
            return
        if self.leader not in able or self.random.random() < 0.1:
            self.leader, self.since = self.random.choice(able), {}
        made = decide(self.snap, self.engine.members, self_id=self.leader, awaited_since=self.since, now_s=self.now_s)
        self.since = dict(made.awaited_since)
        self.snap = after(self.snap, *made.changes)
        if isinstance(made.action, Cede):
            able = [name for name in able if may_lead(self.snap, name)]
            assert able, "somebody can take the lead"
            self.leader = self.random.choice(able)
        elif made.action is not None:
            self.engine.apply(made.action)
            assert self.has_quorum(), made.action
            assert self.leader in {one.name for one in self.engine.members}, "a leader never removes itself"
        self.check()

    def check(self) -> None:
        peers = cluster_in(self.snap).peer_authority
        assert peers is not None
        assert not {serial for _, serial in peers.issued} & set(peers.revoked)
        owners = {node_id for node_id, _ in peers.issued}
        assert {one.name for one in self.engine.members if one.name} <= owners, "no member is without its certificate"


@pytest.mark.parametrize("seed", range(40))
def test_members_come_to_what_roles_say_without_ever_losing_quorum_by_it(seed: int) -> None:
    world = World(seed)
    for _ in range(150):
        world.random.choice((world.people, world.machines, world.newcomers, world.lead, world.lead))()
    for known in list(world.snap.nodes.values()):
        world.snap = after(world.snap, Put(msgspec.structs.replace(known, status=NodeStatus(state="ready"))))
    for _ in range(60):
        world.newcomers()
        world.start()
        world.lead()
    wanted = {known.id for known in world.snap.nodes.values() if known.is_manager}
    assert {one.name for one in world.engine.members} == wanted
    assert not any(one.learner for one in world.engine.members)
    shown = {known.id for known in world.snap.nodes.values() if known.manager_status is not None}
    assert shown == wanted
    peers = cluster_in(world.snap).peer_authority
    assert peers is not None
    assert {node_id for node_id, _ in peers.issued} == wanted

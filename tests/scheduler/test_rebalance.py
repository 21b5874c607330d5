"""Plans of rebalances in any world: no filter broken, as even as can be, nothing moved twice or for nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.scheduler.test_properties import room
from tests.scheduler.world import NOW_S, node, on, pending, reserve, snapshot, spread
from vault.model.base import Version
from vault.model.generic import GenericResource, discrete, named
from vault.model.node import Node, NodeStatus
from vault.model.service import EndpointSpec, PortConfig, Resources, Service, ServiceSpec
from vault.model.task import State, Task, TaskStatus
from vault.orchestrator.rebalancing import Plan, plan
from vault.scheduler.needs import reserved_generic
from vault.scheduler.rebalance import Move
from vault.scheduler.tree import value_on
from vault.store.changes import Put
from vault.store.snapshot import Snapshot

T = TypeVar("T")


def running(tasks: Sequence[Task], on_nodes: Sequence[Node]) -> Snapshot:
    """Return nodes, tasks that run, each in a slot of its own, and their services."""
    placed = [
        replace(task, slot=slot, version=Version(), status=TaskStatus(state=State.RUNNING))
        for slot, task in enumerate(tasks, 1)
        if task.state is State.ASSIGNED and task.slot
    ]
    specs = {
        task.service_id: ServiceSpec(
            name=task.service_id, task_template=task.spec, endpoint_spec=EndpointSpec(ports=task.host_ports)
        )
        for task in placed
    }
    services = [Service(id=service_id, spec=spec) for service_id, spec in specs.items()]
    return Snapshot().apply([Put(one) for one in (*on_nodes, *placed, *services)], index=1, now_s=NOW_S)


def mostly(usual: T, *others: T) -> st.SearchStrategy[T]:
    """Return one value in most cases, and others now and then."""
    return st.sampled_from([usual] * 5 + list(others))


@st.composite
def hosts(draw: st.DrawFn, node_id: str) -> Node:
    """Return a node with room for most of a world."""
    labels = {"zone": draw(st.sampled_from(["a", "b"])), "rack": draw(st.sampled_from(["1", "2"]))}
    gpus = draw(st.sampled_from([(), (discrete("gpu", 6),), (named("gpu", "x"), named("gpu", "y"))]))
    made = node(node_id, cpus=draw(mostly(20, 3, 6)), generic=gpus, **draw(mostly(labels, {}, {"zone": "c"})))
    made = replace(made, spec=replace(made.spec, availability=draw(mostly("active", "pause"))))
    return replace(made, status=NodeStatus(state=draw(mostly("ready", "down"))))


@st.composite
def kinds(draw: st.DrawFn, service_id: str) -> Task:
    """Return a task of a service that most nodes will do for."""
    preferences = draw(st.sampled_from([(), (), ("node.labels.zone",), ("node.labels.zone", "node.labels.rack")]))
    constraints = draw(mostly((), ("node.labels.zone == a",), ("node.labels.zone != b",)))
    made = pending(
        "",
        service_id,
        resources=reserve(cpus=draw(st.sampled_from([0, 0, 1, 2])), gpu=draw(mostly(0, 1, 2))),
        placement=spread(*preferences, constraints=constraints, most=draw(mostly(0, 2, 4))),
    )
    return replace(made, host_ports=draw(mostly((), (PortConfig(published_port=80, publish_mode="host"),))))


@st.composite
def crowded(draw: st.DrawFn) -> Snapshot:
    """Return tasks on whatever nodes had room for them, and nodes that changed and came since."""
    services = [draw(kinds(service_id)) for service_id in ("s1", "s2", "s3")]
    before = [draw(hosts(f"n{number}")) for number in range(draw(st.integers(2, 4)))]
    snap = snapshot(*before)
    for number in range(draw(st.integers(0, 16))):
        task = replace(draw(st.sampled_from(services)), id=f"t{number:02}")
        able = [one for one in before if room(snap, task, one)]
        if able:
            chosen = draw(st.sampled_from([able[0], able[0], *able]))
            placed = replace(on(task, chosen.id, State.ASSIGNED), generic_resources=given_things(snap, task, chosen))
            snap = snap.apply([Put(placed)], index=snap.index + 1, now_s=NOW_S)
    after = [draw(mostly(one, draw(hosts(one.id)))) for one in before]
    after += [draw(hosts(f"z{number}")) for number in range(draw(st.integers(0, 2)))]
    return running(sorted(snap.tasks.values(), key=lambda task: task.id), after)


def given_things(snap: Snapshot, task: Task, chosen: Node) -> tuple[GenericResource, ...]:
    """Return what a task is given of a node: things that nobody has, or a number."""
    wants = dict(reserved_generic(task.spec)).get("gpu", 0)
    has = chosen.description.resources.generic_resources
    if not wants or not has or has[0].discrete_resource_spec is not None:
        return (discrete("gpu", wants),) if wants else ()
    taken = {one for other in snap.tasks_on(chosen.id) for one in other.generic_resources}
    return tuple(one for one in has if one not in taken)[:wants]


@st.composite
def roomy(draw: st.DrawFn) -> Snapshot:
    """Return such a world in which no task reserves anything or opens a port: what moves away frees nothing."""
    snap = draw(crowded())
    tasks = [
        replace(task, host_ports=(), spec=replace(task.spec, resources=Resources()), generic_resources=())
        for task in snap.tasks.values()
    ]
    as_placed = [replace(task, status=TaskStatus(state=State.ASSIGNED)) for task in tasks]
    return running(as_placed, [replace(one, version=Version()) for one in snap.nodes.values()])


def planned(snap: Snapshot, *, whole: bool = True, onto: frozenset[str] | None = None) -> Plan:
    return plan(snap, snap.services.values(), onto=onto, nodes=whole, now_s=NOW_S)


def begun(snap: Snapshot, move: Move) -> Snapshot:
    """Return the snapshot after a move has begun: the old task has its place still, the new one has its own."""
    old = snap.tasks[move.task.id]
    new = replace(old, id=f"{old.id}+", version=Version(), node_id=move.to, status=TaskStatus(state=State.ASSIGNED))
    stopping = replace(old, desired_state=State.SHUTDOWN)
    return snap.apply([Put(stopping), Put(new)], index=snap.index + 1, now_s=NOW_S)


def done(snap: Snapshot, moves: Sequence[Move]) -> Snapshot:
    """Return the snapshot after all moves: the old tasks have ended."""
    for move in moves:
        snap = begun(snap, move)
        ended = replace(snap.tasks[move.task.id], status=TaskStatus(state=State.SHUTDOWN))
        runs = replace(snap.tasks[f"{move.task.id}+"], status=TaskStatus(state=State.RUNNING))
        snap = snap.apply([Put(ended), Put(runs)], index=snap.index + 1, now_s=NOW_S)
    return snap


@dataclass(frozen=True, slots=True)
class Spread:
    """How a service is spread: wanted tasks by branch, the whole path of each node included."""

    paths: dict[str, tuple[str, ...]]
    total: Counter[tuple[str, ...]]

    def improves(self, source: str, target: str) -> bool:
        """Whether a task fewer on one node and one more on another would be more even."""
        for depth in range(1, len(self.paths[source]) + 1):
            one, other = self.paths[source][:depth], self.paths[target][:depth]
            if one != other:
                return self.total[one] - self.total[other] >= 2
        return False


def spread_of(snap: Snapshot, service: Service) -> Spread:
    placement = service.spec.task_template.placement
    levels = [one.spread.spread_descriptor for one in (placement.preferences if placement else ()) if one.spread]
    paths = {one.id: (*(value_on(one, level) for level in levels), one.id) for one in snap.nodes.values()}
    total: Counter[tuple[str, ...]] = Counter()
    for task in snap.tasks_of(service.id):
        if task.wanted and task.node_id in paths:
            total.update(paths[task.node_id][:depth] for depth in range(1, len(paths[task.node_id]) + 1))
    return Spread(paths, total)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(crowded(), st.booleans())
def test_every_move_is_to_a_node_that_will_do_while_the_old_task_is_still_there(snap: Snapshot, whole: bool) -> None:
    moves = planned(snap, whole=whole).moves
    assert len({move.task.id for move in moves}) == len(moves)
    for move in moves:
        assert move.to != move.task.node_id
        assert snap.nodes[move.task.node_id].ready
        assert room(snap, move.task, snap.nodes[move.to])
        snap = begun(snap, move)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(crowded(), st.booleans())
def test_no_task_is_left_that_had_better_be_elsewhere(snap: Snapshot, whole: bool) -> None:
    """Nor is there one that could have moved to a node that has two of its service less, or a branch that has."""
    moves = planned(snap, whole=whole).moves
    for move in moves:
        snap = begun(snap, move)
    for service in snap.services.values():
        seen = spread_of(snap, service)
        mine = [task for task in snap.tasks_of(service.id) if task.wanted and snap.nodes[task.node_id].ready]
        for target in snap.nodes.values():
            if mine and room(snap, mine[0], target):
                assert not any(seen.improves(task.node_id, target.id) for task in mine)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(roomy(), st.booleans())
def test_a_second_rebalance_moves_nothing(snap: Snapshot, whole: bool) -> None:
    after = done(snap, planned(snap, whole=whole).moves)
    assert planned(after, whole=whole).moves == ()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(crowded(), st.data())
def test_only_the_nodes_that_were_named_get_tasks(snap: Snapshot, data: st.DataObject) -> None:
    named = data.draw(st.frozensets(st.sampled_from(sorted(snap.nodes)))) if snap.nodes else frozenset()
    moves = planned(snap, onto=named).moves
    assert {move.to for move in moves} <= named
    for move in moves:
        assert room(snap, move.task, snap.nodes[move.to])
        snap = begun(snap, move)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(crowded())
def test_moves_between_nodes_make_no_service_less_even(snap: Snapshot) -> None:
    """What evens out nodes comes after what evens out services, and leaves that as it is."""
    alone = planned(snap, whole=False).moves
    both = planned(snap, whole=True).moves
    assert both[: len(alone)] == alone
    for move in alone:
        snap = begun(snap, move)
    for move in both[len(alone) :]:
        service = snap.services[move.task.service_id]
        before = spread_of(snap, service)
        carried = Counter(task.node_id for task in snap.tasks.values() if task.wanted)
        assert carried[move.task.node_id] - carried[move.to] >= 2
        snap = begun(snap, move)
        after = spread_of(snap, service)
        assert sum(count**2 for count in after.total.values()) <= sum(count**2 for count in before.total.values())


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6))
def test_services_of_one_task_move_as_few_tasks_as_levelling_needs(counts: list[int]) -> None:
    """From nodes that have more than their share as many as they have more, or to others as many as they have less."""
    tasks = [
        on(pending(f"t{n}-{m}", f"s{n}-{m}"), f"n{n}", State.ASSIGNED)
        for n, count in enumerate(counts)
        for m in range(count)
    ]
    snap = running(tasks, [node(f"n{n}") for n in range(len(counts))])
    moves = planned(snap).moves
    share, more = divmod(sum(counts), len(counts))
    too_many = sum(max(0, count - share - bool(more)) for count in counts)
    too_few = sum(max(0, share - count) for count in counts)
    assert len(moves) == max(too_many, too_few)
    after = Counter(task.node_id for task in done(snap, moves).tasks.values() if task.wanted)
    carried = [after[f"n{n}"] for n in range(len(counts))]
    assert max(carried) - min(carried) <= 1


def placed(service_id: str, counts: dict[str, int], **spec: object) -> list[Task]:
    """Return tasks of a service on nodes."""
    return [
        on(pending(f"{service_id}-{node_id}-{n}", service_id, **spec), node_id, State.ASSIGNED)
        for node_id, count in counts.items()
        for n in range(count)
    ]


def targets(snap: Snapshot, *, whole: bool = False) -> list[tuple[str, str, str]]:
    """Return service, source and target of each move."""
    moves = planned(snap, whole=whole).moves
    return sorted((move.task.service_id, move.task.node_id, move.to) for move in moves)


def test_a_node_where_the_service_keeps_failing_gets_none() -> None:
    tasks = placed("web", {"a": 4})
    failed = [on(pending(f"f{n}", "web"), "b", State.FAILED) for n in range(5)]
    snap = running(tasks, [node("a"), node("b"), node("c")])
    snap = snap.apply([Put(task) for task in failed], index=snap.index + 1, now_s=NOW_S)
    assert targets(snap) == [("web", "a", "c")] * 2
    assert targets(snap, whole=True) == [("web", "a", "c")] * 2


def test_levelling_leaves_out_a_node_where_a_service_keeps_failing() -> None:
    tasks = [task for number in range(4) for task in placed(f"s{number}", {"a": 1})]
    failed = [on(pending(f"f{s}-{n}", f"s{s}"), "b", State.FAILED) for s in range(4) for n in range(5)]
    snap = running(tasks, [node("a"), node("b")])
    assert len(targets(snap, whole=True)) == 2
    snap = snap.apply([Put(task) for task in failed], index=snap.index + 1, now_s=NOW_S)
    assert targets(snap, whole=True) == []


def test_what_a_service_is_spread_to_gives_way_to_what_levels_nodes() -> None:
    """One move, not two: the second would only be seen once the first is done."""
    tasks = [*placed("s0", {"a": 2}), *placed("s1", {"b": 2}, placement=spread("node.labels.zone"))]
    nodes = [node("a"), node("b"), node("c", zone="z"), node("d")]
    assert targets(running(tasks, nodes), whole=True) == [("s0", "a", "d"), ("s1", "b", "c")]


def test_nodes_are_looked_at_again_after_others_got_what_helps_them() -> None:
    zones = spread("node.labels.zone")
    tasks = [
        *placed("s0", {"d": 3}, placement=zones),
        *placed("s1", {"b": 3}),
        *placed("s2", {"d": 2}, placement=zones),
    ]
    snap = running(tasks, [node("a"), *(node(name, zone="a") for name in "bcd")])
    assert planned(done(snap, planned(snap).moves)).moves == ()


def test_a_limit_that_was_lowered_holds_as_far_as_there_is_room_elsewhere() -> None:
    tasks = placed("web", {"a": 3}, placement=spread(most=1))
    assert targets(running(tasks, [node("a"), node("b"), node("c")])) == [("web", "a", "b"), ("web", "a", "c")]
    assert targets(running(tasks, [node("a"), node("b")])) == [("web", "a", "b")]


def test_what_a_task_leaves_behind_is_given_to_nobody_before_it_has_ended() -> None:
    one_each = reserve(cpus=1)
    tasks = [*placed("s1", {"a": 4}, resources=one_each), *placed("s2", {"b": 4}, resources=one_each)]
    snap = running(tasks, [node("a", cpus=4), node("b", cpus=8)])
    assert targets(snap) == [("s1", "a", "b")] * 2
    assert targets(done(snap, planned(snap, whole=False).moves)) == [("s2", "b", "a")] * 2


def test_levelling_stays_within_a_branch_of_the_preferences() -> None:
    zones = spread("node.labels.zone")
    tasks = [task for number in range(4) for task in placed(f"s{number}", {"a": 1}, placement=zones)]
    assert targets(running(tasks, [node("a", zone="x"), node("b", zone="y")]), whole=True) == []
    assert len(targets(running(tasks, [node("a", zone="x"), node("b", zone="x")]), whole=True)) == 2


def test_a_snapshot_without_nodes_or_services_has_nothing_to_move() -> None:
    assert planned(snapshot()).moves == ()
    assert planned(snapshot(node("a"))).moves == ()

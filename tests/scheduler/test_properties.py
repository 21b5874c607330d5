"""What holds of the scheduler in any world: no filter broken, spread as evenly as can be, a reason for who waits."""

from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.scheduler.strategies import World, nodes, worlds
from tests.scheduler.world import NOW_S, node, on, pending, reserve, settle, snapshot
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.task import State, Task, TaskStatus
from vault.scheduler.constraint import node_matches, parse_stored
from vault.scheduler.needs import host_ports, reserved, reserved_generic
from vault.scheduler.schedule import Scheduler
from vault.scheduler.tree import value_on
from vault.store.changes import Change, Delete, Put
from vault.store.snapshot import Snapshot


def room(snap: Snapshot, task: Task, on_node: Node) -> bool:
    """Whether a node may take a task, counted anew from the snapshot and by hand."""
    tasks = [other for other in snap.tasks_on(on_node.id) if State.ASSIGNED <= other.state <= State.RUNNING]
    has = on_node.description.resources
    gpus = sum(one.discrete_resource_spec.value if one.discrete_resource_spec else 1 for one in has.generic_resources)
    placement = task.spec.placement
    assert placement is not None
    cpus = sum(reserved(other.spec)[0] for other in tasks)
    held = sum(dict(reserved_generic(other.spec)).get("gpu", 0) for other in tasks)
    wants = dict(reserved_generic(task.spec)).get("gpu", 0)
    same = sum(1 for other in tasks if other.service_id == task.service_id)
    return (
        on_node.ready
        and (not reserved(task.spec)[0] or cpus + reserved(task.spec)[0] <= has.nano_cpus)
        and (not wants or held + wants <= gpus)
        and node_matches(parse_stored(placement.constraints), on_node)
        and not any(host_ports(task) & host_ports(other) for other in tasks)
        and (not placement.max_replicas or same < placement.max_replicas)
    )


def placed_now(before: Snapshot, after: Snapshot) -> Iterator[Task]:
    """Yield the tasks that got their nodes in between."""
    for task in after.tasks.values():
        if task.state is State.ASSIGNED and before.tasks[task.id].state is State.PENDING:
            yield task


@given(worlds())
def test_nothing_is_given_twice_and_no_task_is_where_it_must_not_be(world: World) -> None:
    before = world.snapshot()
    after = settle(before)
    for task in placed_now(before, after):
        without = after.apply([gone(task)], index=after.index + 1, now_s=NOW_S)
        assert room(without, task, after.nodes[task.node_id])
        given = [
            one.discrete_resource_spec.value if one.discrete_resource_spec else 1 for one in task.generic_resources
        ]
        assert sum(given) == dict(reserved_generic(task.spec)).get("gpu", 0)
        named_here = [one for one in task.generic_resources if one.named_resource_spec]
        others = [other for other in without.tasks_on(task.node_id) if State.ASSIGNED <= other.state <= State.RUNNING]
        assert not any(one in other.generic_resources for one in named_here for other in others)


@given(worlds())
def test_who_waits_fits_nowhere_and_is_told_why(world: World) -> None:
    after = settle(world.snapshot())
    for task in after.tasks.values():
        if task.state is State.PENDING:
            may = [after.nodes[task.node_id]] if task.node_id in after.nodes else after.nodes.values()
            assert not any(room(after, task, on_node) for on_node in may)
            assert task.status.err.startswith("no suitable node")


@given(worlds())
def test_no_branch_has_two_tasks_more_than_one_that_could_have_had_one_of_them(world: World) -> None:
    """Evenness at every level: of labels first, of nodes last; what was there before cannot be helped."""
    before = world.snapshot()
    after = settle(before)
    for service_id in ("s1", "s2", "s3"):
        mine = [task for task in placed_now(before, after) if task.service_id == service_id]
        if not mine:
            continue
        placement = mine[0].spec.placement
        assert placement is not None
        levels = [one.spread.spread_descriptor for one in placement.preferences if one.spread]
        total: Counter[tuple[str, ...]] = Counter()
        gained: Counter[tuple[str, ...]] = Counter()
        free: set[tuple[str, ...]] = set()
        for on_node in after.nodes.values():
            path = (*(value_on(on_node, level) for level in levels), on_node.id)
            prefixes = [path[:depth] for depth in range(1, len(path) + 1)]
            wanted = [task for task in after.tasks_on(on_node.id) if task.service_id == service_id and task.live]
            for prefix in prefixes:
                total[prefix] += sum(1 for task in wanted if task.state >= State.ASSIGNED)
                gained[prefix] += sum(1 for task in mine if task.node_id == on_node.id)
            if room(after, mine[0], on_node):
                free.update(prefixes)
        for prefix, count in gained.items():
            if not count:
                continue
            siblings = [other for other in free if len(other) == len(prefix) and other[:-1] == prefix[:-1]]
            assert all(total[other] + 1 >= total[prefix] for other in siblings)


@given(worlds(), st.data())
def test_what_is_kept_between_decisions_is_what_anybody_would_count(world: World, data: st.DataObject) -> None:
    """One scheduler throughout a history of changes of nodes and tasks; at each rest a fresh one has nothing to say."""
    scheduler = Scheduler()
    snap = settle(world.snapshot(), scheduler)
    for _ in range(data.draw(st.integers(1, 5))):
        before = snap
        changes = data.draw(disturbances(snap))
        snap = snap.apply(changes, index=snap.index + 1, now_s=NOW_S)
        changed = snap.changed_since(before)
        while True:
            decision = scheduler(snap, changed, now_s=NOW_S + 100, new_id=str)
            if not decision.changes and decision.ask_again_s is None:
                break
            before, snap = snap, snap.apply(decision.changes, index=snap.index + 1, now_s=NOW_S)
            changed = snap.changed_since(before)
        fresh = Scheduler()
        assert fresh(snap, None, now_s=NOW_S + 100, new_id=str).changes == ()
        assert scheduler._fleet.figures() == fresh._fleet.figures()
        assert scheduler._waits_in == fresh._waits_in


def gone(task: Task) -> Delete:
    """Return what takes a task away."""
    return Delete(Kind.TASK, task.id, task.version.index)


@st.composite
def disturbances(draw: st.DrawFn, snap: Snapshot) -> list[Change]:
    """Return what operators and nodes may do to a snapshot."""
    changes: list[Change] = []
    for task_id in draw(st.sets(st.sampled_from(sorted(snap.tasks)), max_size=4)) if snap.tasks else ():
        task = snap.tasks[task_id]
        state = draw(st.sampled_from([State.RUNNING, State.FAILED, State.COMPLETE, State.REMOVE, None]))
        if state is None:
            changes.append(gone(task))
        elif state is State.REMOVE:  # As a desired state; it may go on running for a while.
            changes.append(Put(replace(task, desired_state=State.REMOVE)))
        elif task.node_id and task.state is not State.PENDING:
            changes.append(Put(replace(task, status=TaskStatus(state=state))))
        else:
            changes.append(Put(replace(task, desired_state=State.SHUTDOWN)))
    for node_id in draw(st.sets(st.sampled_from(sorted(snap.nodes)), max_size=2)) if snap.nodes else ():
        old = snap.nodes[node_id]
        if draw(st.integers(0, 3)) == 0:
            changes.append(Delete(Kind.NODE, node_id, old.version.index))
        else:
            changes.append(Put(replace(draw(nodes(node_id)), version=old.version)))
    return changes


def test_a_task_on_a_node_that_is_gone_is_counted_when_the_node_comes_back() -> None:
    scheduler = Scheduler()
    there = on(pending("t0", resources=reserve(cpus=3)), "a")
    snap = settle(snapshot(there, pending("t1", resources=reserve(cpus=3))), scheduler)
    assert snap.tasks["t1"].status.err == "no suitable node"
    after = snap.apply([Put(node("a"))], index=snap.index + 1, now_s=NOW_S)
    decision = scheduler(after, after.changed_since(snap), now_s=NOW_S, new_id=str)
    (change,) = decision.changes
    assert isinstance(change, Put)
    assert isinstance(change.obj, Task)
    assert change.obj.status.err == "no suitable node (insufficient resources on 1 node)"

"""A limit of replicas on a node counts a task and the one that takes over from it there as one."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.scheduler.world import node, on, pending, reserve, schedule, settle, snapshot
from vault.model.base import Version
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.service import Placement
from vault.model.task import State, Task, TaskStatus
from vault.scheduler.schedule import Scheduler
from vault.store.changes import Delete, Put
from vault.store.snapshot import Snapshot

FULL = "no suitable node (max replicas per node limit exceed)"


def old(slot: int, *, most: int = 1, cpus: int = 0) -> Task:
    """Return a task of a former spec."""
    spec = {"placement": Placement(max_replicas=most), "resources": reserve(cpus=cpus)}
    return replace(pending(f"old{slot}", **spec), slot=slot)


def new(slot: int, *, beside: str | None = None, most: int = 1, cpus: int = 0) -> Task:
    """Return the task that takes over from it, start-first."""
    made = replace(old(slot, most=most, cpus=cpus), id=f"new{slot}", spec_version=Version(index=2))
    return replace(made, beside=f"old{slot}" if beside is None else beside)


def test_a_task_runs_beside_the_one_that_it_takes_over_from_where_no_other_node_is_free() -> None:
    assert schedule(node("a"), on(old(1), "a"), new(1)) == {"new1": "a"}
    tasks = [on(old(1), "a"), on(old(2), "b"), new(1), new(2)]
    assert schedule(node("a"), node("b"), *tasks) == {"new1": "a", "new2": "b"}


def test_a_node_that_is_free_is_better() -> None:
    assert schedule(node("a"), node("b"), on(old(1), "a"), new(1)) == {"new1": "b"}


def test_the_limit_holds_for_all_others() -> None:
    assert schedule(node("a"), on(old(1), "a"), new(2, beside="")) == {"new2": FULL}
    assert schedule(node("a"), on(old(1), "a"), on(new(1), "a"), new(2, beside="")) == {"new2": FULL}
    assert schedule(node("a"), node("b"), on(old(1), "a"), on(old(2), "b"), on(new(1), "b"), new(2)) == {"new2": FULL}


def test_one_that_was_asked_to_stop_makes_way_to_another_and_is_nobody_s_company() -> None:
    stopping = replace(on(old(1), "a"), desired_state=State.SHUTDOWN)
    assert schedule(node("a"), stopping, on(old(2), "a"), new(1)) == {"new1": FULL}


def test_so_many_replicas_as_may_be_on_a_node_are_exchanged_there() -> None:
    both = [on(old(slot, most=2), "a") for slot in (1, 2)]
    assert schedule(node("a"), *both, new(1, most=2), new(2, most=2)) == {"new1": "a", "new2": "a"}
    assert schedule(node("a"), *both, on(new(1, most=2), "a"), new(2, most=2)) == {"new2": "a"}


def test_those_are_one_too_whose_own_spec_has_no_limit() -> None:
    """The limit came with the spec after theirs."""
    both = [on(old(slot, most=0), "a") for slot in (1, 2)]
    last = replace(new(1, most=2), id="z", spec_version=Version(index=3))
    assert schedule(node("a"), *both, on(new(2, most=0), "a"), last) == {"z": "a"}


def test_what_else_the_task_needs_it_waits_for() -> None:
    scheduler = Scheduler()
    other = on(pending("x", "other", resources=reserve(cpus=2)), "a")
    snap = settle(snapshot(node("a"), on(old(1, cpus=2), "a"), other, new(1, cpus=2)), scheduler)
    assert snap.tasks["new1"].status.err == "no suitable node (insufficient resources on 1 node)"
    change = Delete(Kind.TASK, "x", snap.tasks["x"].version.index)
    assert goes_on(scheduler, snap, change).tasks["new1"].node_id == "a"


def test_a_task_that_comes_while_others_of_its_group_wait_is_looked_at_too() -> None:
    scheduler = Scheduler()
    snap = settle(snapshot(node("a"), on(old(1), "a"), new(2, beside="")), scheduler)
    after = goes_on(scheduler, snap, Put(new(1)))
    assert after.tasks["new1"].node_id == "a"
    assert after.tasks["new2"].status.err == FULL


def test_both_may_be_placed_in_one_decision() -> None:
    later = replace(new(1), id="z", beside="old1")
    assert schedule(node("a"), old(1), later) == {"old1": "a", "z": "a"}


def test_what_waits_beside_a_task_that_has_no_node_yet_follows_it() -> None:
    scheduler = Scheduler()
    rest = on(old(9), "a")  # Of a slot that is being given up; until then nothing else has room.
    first = replace(old(1), status=TaskStatus(state=State.NEW))
    snap = settle(snapshot(node("a"), rest, first, new(1), new(2, beside="")), scheduler)
    assert snap.tasks["new1"].status.err == FULL
    placed = replace(snap.tasks["old1"], node_id="a", status=TaskStatus(state=State.ASSIGNED))
    gone = Delete(Kind.TASK, "old9", snap.tasks["old9"].version.index)
    assert goes_on(scheduler, snap, Put(placed), gone).tasks["new1"].node_id == "a"


def goes_on(scheduler: Scheduler, snap: Snapshot, *changes: Put | Delete) -> Snapshot:
    """Return the snapshot after changes, and what the scheduler makes of that."""
    after = snap.apply(changes, index=snap.index + 1, now_s=10_000.0)
    decision = scheduler(after, after.changed_since(snap), now_s=10_000.0, new_id=str)
    return after.apply(decision.changes, index=after.index + 1, now_s=10_000.0)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[int, list[Node | Task]]:
    """Return a limit, and nodes with no more replicas than that, some of them being replaced, and others that come."""
    most = draw(st.integers(1, 2))
    count = draw(st.integers(1, 3))
    objects: list[Node | Task] = [node(f"n{number}") for number in range(count)]
    slot = 0
    for number in range(count):
        for _ in range(draw(st.integers(0, most))):
            slot += 1
            objects.append(on(old(slot, most=most), f"n{number}"))
            match draw(st.sampled_from(["stays", "replaced", "replaced here already"])):
                case "replaced":
                    objects.append(new(slot, most=most))
                case "replaced here already":
                    objects.append(on(new(slot, most=most), f"n{number}", State.STARTING))
                case _:
                    pass
    objects += [new(slot + 1 + more, beside="", most=most) for more in range(draw(st.integers(0, 3)))]
    return most, objects


@given(exchanges())
def test_no_node_has_more_replicas_than_it_may_and_whoever_takes_over_has_a_place(
    drawn: tuple[int, list[Node | Task]],
) -> None:
    most, objects = drawn
    after = settle(snapshot(*objects))
    for node_id in after.nodes:
        assert len({task.slot for task in after.tasks_on(node_id)}) <= most
    for task in after.tasks.values():
        assert not task.beside or task.node_id, "its node has room for it, if no other has"

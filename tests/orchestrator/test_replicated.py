"""Replicated services have as many tasks as they should."""

from collections.abc import Iterator

import pytest

from tests.orchestrator.world import World, availability, spec
from vault.model.ids import Kind
from vault.model.service import Service, TaskSpec
from vault.model.task import State, Task
from vault.orchestrator import leaving, reaper
from vault.store import rules_service, snapshot
from vault.store.changes import Delete, Put
from vault.store.rules_service import removed_service
from vault.store.snapshot import Ids, Snapshot, members


def test_one_decision_takes_tasks_from_nothing_to_assigned() -> None:
    world = World(nodes=2)
    world.create(spec(3))
    assert world.shown() == ["1 assigned running", "2 assigned running", "3 assigned running"]
    assert world.snap.index == 3  # Nodes, service, and one commit for all the tasks.


def test_a_steady_service_is_left_alone() -> None:
    world = World()
    world.run(spec(3))
    assert world.decide().changes == ()
    assert world.again_s is None


def test_scaling_down_stops_the_highest_slots_and_creates_nothing() -> None:
    world = World()
    world.run(spec(3))
    world.update(spec(1))
    assert world.shown() == ["1 running running", "2 running remove", "3 running remove"]


def test_scaling_down_takes_slots_without_a_running_task_first() -> None:
    world = World()
    world.create(spec(3))
    for task in world.tasks()[1:]:
        world.observe(task, State.RUNNING)
    world.update(spec(2))
    assert [task.slot for task in world.wanted()] == [2, 3]


def test_scaling_down_takes_from_the_node_that_has_most() -> None:
    world = World(nodes=2)
    world.set_node("n2", availability("pause"))
    world.run(spec(2))
    world.set_node("n2", availability("active"))
    world.update(spec(3))
    world.observe(world.wanted()[2], State.RUNNING)
    assert [task.node_id for task in world.wanted()] == ["n1", "n1", "n2"]
    world.update(spec(2))
    assert [task.slot for task in world.wanted()] == [1, 3]


def test_removed_tasks_leave_the_store_when_they_have_ended() -> None:
    world = World()
    world.run(spec(2))
    world.update(spec(1))
    world.observe(world.tasks()[1], State.SHUTDOWN)
    assert world.shown() == ["1 running running"]


def test_a_slot_is_used_again_only_after_its_old_task_has_ended() -> None:
    world = World()
    world.run(spec(2))
    world.update(spec(1))
    world.update(spec(2))
    assert world.shown() == ["1 running running", "2 running remove", "2 assigned ready"]
    world.observe(world.tasks()[1], State.SHUTDOWN)
    assert world.shown() == ["1 running running", "2 assigned running"]


def test_removing_a_service_removes_its_tasks_as_they_end() -> None:
    world = World()
    world.run(spec(2))
    world.remove()
    assert world.shown() == ["1 running remove", "2 running remove"]
    for task in world.tasks():
        world.observe(task, State.SHUTDOWN)
    assert world.shown() == []


def test_tasks_whose_service_is_gone_are_removed_even_if_nobody_asked() -> None:
    """A task may be committed just after its service was removed by a former leader."""
    world = World()
    world.run(spec(1))
    service = world.snap.services["web"]
    world.write(Delete(Kind.SERVICE, service.id, service.version.index))
    world.settle()
    assert world.shown() == ["1 running remove"]


def test_many_tasks_come_in_several_decisions() -> None:
    world = World()
    world.create(spec(1200))
    assert sorted(task.slot for task in world.wanted()) == list(range(1, 1201))
    assert {task.state for task in world.wanted()} == {State.ASSIGNED}


def test_a_service_of_many_tasks_is_not_read_as_a_whole_for_each_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    tasks_of = Snapshot.tasks_of

    def counting(snap: Snapshot, service_id: str) -> Iterator[Task]:
        nonlocal read
        for task in tasks_of(snap, service_id):
            read += 1
            yield task

    monkeypatch.setattr(Snapshot, "tasks_of", counting)
    world = World()
    world.create(spec(2000))
    assert len(world.wanted()) == 2000
    assert read < 2 * 2000 + 200


@pytest.mark.parametrize("decisions", [1, 2, 5])
@pytest.mark.parametrize("replicas", [0, 3, 300, 1500])
def test_a_service_that_is_scaled_while_its_tasks_are_being_made_comes_to_the_new_number(
    decisions: int, replicas: int
) -> None:
    world = World()
    world.announce(spec(1000))
    for _ in range(decisions):
        world.decide()
    world.update(spec(replicas))
    assert sorted(task.slot for task in world.wanted()) == list(range(1, replicas + 1))


def test_a_service_that_is_removed_while_its_tasks_are_being_made_gets_no_more_of_them() -> None:
    world = World()
    world.announce(spec(1000))
    for _ in range(3):
        world.decide()
    world.remove()
    assert world.wanted() == []


def test_tasks_that_the_store_refused_are_made_all_the_same() -> None:
    world = World()
    world.announce(spec(1000))
    for decision in range(6):
        world.decide(refused=decision % 2 == 1)
    world.settle()
    assert sorted(task.slot for task in world.wanted()) == list(range(1, 1001))


def test_removing_a_service_of_many_tasks_asks_all_of_them_to_go_though_a_commit_holds_only_some() -> None:
    world = World()
    world.create(spec(2500))
    removed = removed_service(world.snap, "web", now_s=world.now_s)
    assert len(removed) < 2500
    world.write(*removed)
    world.decide()
    assert world.again_s == world.now_s
    world.settle()
    assert world.wanted() == []


def test_the_end_of_a_removed_service_s_task_costs_nothing_of_the_tasks_that_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, read = World(), 0
    world.run(spec(600))
    world.remove()

    def counting(ids: Ids) -> list[str]:
        nonlocal read
        read += len(ids)
        return members(ids)

    for module in (snapshot, reaper):
        monkeypatch.setattr(module, "members", counting)
    world.observe(world.tasks()[0], State.SHUTDOWN)
    assert len(world.tasks()) == 599
    assert read < 10


def test_as_many_tasks_as_a_commit_takes_are_asked_to_go_with_their_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_service, "STOPPED_WITH_IT", 2)
    states = (State.REMOVE, State.RUNNING, State.SHUTDOWN, State.RUNNING)
    tasks = [Task(id=f"t{n}", spec=TaskSpec(), service_id="web", desired_state=state) for n, state in enumerate(states)]
    snap = Snapshot().apply([Put(Service(id="web", spec=spec(4))), *map(Put, tasks)], index=1, now_s=0.0)
    asked = [change.obj for change in removed_service(snap, "web", now_s=0.0) if isinstance(change, Put)]
    assert [task.id for task in asked if isinstance(task, Task)] == ["t1", "t2"]


def test_tasks_of_a_removed_service_are_asked_to_go_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """So each node is told once, and reports once."""
    monkeypatch.setattr(leaving, "MAX_ASKED", 3)
    tasks = [Task(id=f"t{n}", spec=TaskSpec(), service_id="web", slot=n, node_id=f"n{n % 3}") for n in range(9)]
    snap = Snapshot().apply(list(map(Put, tasks)), index=1, now_s=0.0)
    queue = leaving.Leaving()
    queue.note(snap, "web", [None])
    for node_id in ("n0", "n1", "n2"):
        asked = [put.obj for put in queue.ask(snap, 0.0)]
        assert [task.node_id for task in asked if isinstance(task, Task)] == [node_id] * 3
    assert not queue.ask(snap, 0.0)


def test_many_tasks_that_end_at_once_are_deleted_in_several_decisions() -> None:
    world = World()
    world.run(spec(600))
    world.remove()
    for task in world.tasks():
        world.observe(task, State.SHUTDOWN, settle=False)
    deleted = [len(world.decide().changes)]
    while world.tasks():
        assert world.again_s == world.now_s  # Whatever becomes of what was decided.
        deleted.append(len(world.decide().changes))
    assert max(deleted) <= 256
    assert sum(deleted) == 600


def test_scaling_down_by_many_tasks_takes_the_highest_slots_in_several_decisions() -> None:
    world = World()
    world.run(spec(1600))
    world.update(spec(3))
    assert [task.slot for task in world.wanted()] == [1, 2, 3]

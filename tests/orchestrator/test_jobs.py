"""Jobs run their tasks to completion: so many at a time, each slot once, and anew at each update."""

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, job, labelled, node, state
from vault.model.cluster import DEFAULT_SPEC, Cluster, Orchestration
from vault.model.service import RestartPolicy, Service
from vault.model.task import State, Task
from vault.store.changes import Put
from vault.store.snapshot import Snapshot

AT_ONCE = RestartPolicy(condition="any", delay=0)
NEVER = RestartPolicy(condition="none")


def begin(world: World) -> list[Task]:
    """Let every task that may start run, and return them by slot."""
    for task in world.wanted():
        if task.released and State.ASSIGNED <= task.state < State.RUNNING:
            world.observe(task, State.RUNNING, settle=False)
    world.settle()
    return running(world)


def running(world: World) -> list[Task]:
    return [task for task in world.wanted() if task.state is State.RUNNING]


def completed(world: World) -> list[int | str]:
    """Return the slots, or nodes, that the present run has completed."""
    run = world.snap.services["web"].job_iteration
    return sorted({task.slot_key for task in world.tasks() if task.done and task.job_iteration == run}, key=str)


def finish(world: World, *, rounds: int = 50) -> None:
    """Let tasks run and complete until none is left."""
    for _ in range(rounds):
        if not begin(world):
            return
        for task in running(world):
            world.observe(task, State.COMPLETE)
    raise AssertionError("the job never ends")


def test_a_job_wants_its_tasks_to_complete_and_counts_slots_from_0() -> None:
    world = World()
    world.create(job(3, at_a_time=2))
    assert [(task.slot, task.desired_state, task.state) for task in world.wanted()] == [
        (0, State.COMPLETE, State.ASSIGNED),
        (1, State.COMPLETE, State.ASSIGNED),
    ]
    assert [task.name for task in world.wanted()] == [f"web.{n}.t{n + 1:024d}" for n in range(2)]


def test_a_completed_task_makes_room_for_the_next_and_stays() -> None:
    world = World()
    world.create(job(3, at_a_time=2))
    first, _ = begin(world)
    world.observe(first, State.COMPLETE)
    assert [(task.slot, task.state) for task in world.wanted()] == [
        (0, State.COMPLETE),
        (1, State.RUNNING),
        (2, State.ASSIGNED),
    ]
    finish(world)
    assert completed(world) == [0, 1, 2]
    assert len(world.tasks()) == 3


def test_a_job_of_none_makes_no_task() -> None:
    world = World()
    world.create(job(0))
    assert world.tasks() == []


def test_many_tasks_are_begun_over_several_decisions() -> None:
    world = World(nodes=2)
    world.create(job(400, at_a_time=300))
    assert len(world.tasks()) == 300


def test_a_failed_task_is_tried_again_in_its_slot_after_the_delay_and_holds_its_place() -> None:
    world = World()
    world.create(job(2))
    (task,) = begin(world)
    world.observe(task, State.FAILED)
    assert world.shown() == ["0 failed shutdown", "0 assigned ready"]
    world.wait(4.9)
    assert [task.desired_state for task in world.wanted()] == [State.READY]
    world.wait(0.2)
    assert [(task.slot, task.desired_state) for task in world.wanted()] == [(0, State.COMPLETE)]
    finish(world)
    assert completed(world) == [0, 1]


@pytest.mark.parametrize("condition", ["any", "on-failure", ""])
def test_any_means_on_failure(condition: str) -> None:
    world = World()
    world.create(job(1, restart=RestartPolicy(condition=condition, delay=0)))
    world.observe(begin(world)[0], State.FAILED)
    finish(world)
    assert world.shown() == ["0 failed shutdown", "0 complete complete"]


def test_attempts_are_counted_and_a_slot_that_has_none_left_stays_down_while_others_go_on() -> None:
    world = World()
    world.create(job(2, restart=RestartPolicy(condition="on-failure", delay=0, max_attempts=2)))
    for _ in range(3):
        (task,) = begin(world)
        assert task.slot == 0
        world.observe(task, State.FAILED)
    finish(world)
    assert completed(world) == [1]
    assert [task.slot for task in world.tasks()] == [0, 0, 0, 1]
    assert not world.decide().changes


def test_attempts_count_only_within_the_window() -> None:
    world = World()
    world.create(job(restart=RestartPolicy(condition="any", delay=0, max_attempts=1, window=10 * SECOND)))
    for _ in range(3):
        world.observe(begin(world)[0], State.FAILED)
        world.wait(11)
    assert len(begin(world)) == 1
    world.observe(begin(world)[0], State.FAILED)
    world.observe(begin(world)[0], State.FAILED)
    assert world.wanted() == []


def test_a_job_that_is_never_tried_again_keeps_its_failure() -> None:
    world = World()
    world.create(job(restart=NEVER))
    world.observe(begin(world)[0], State.FAILED)
    world.wait(3600)
    assert world.shown() == ["0 failed shutdown"]


def test_an_update_runs_the_job_anew_once_the_tasks_of_the_former_run_have_ended() -> None:
    world = World()
    world.create(job(3, at_a_time=2))
    first, second = begin(world)
    world.observe(first, State.COMPLETE)
    third = begin(world)[-1]
    world.update(job(3, at_a_time=2, force=1))
    assert world.snap.services["web"].job_iteration != first.job_iteration
    assert [task.slot for task in world.wanted()] == [1, 2]  # Held: at most two run together, whatever their run.
    assert {task.desired_state for task in world.wanted()} == {State.READY}
    world.observe(second, State.SHUTDOWN)
    world.observe(third, State.SHUTDOWN)
    assert {task.desired_state for task in world.wanted()} == {State.COMPLETE}
    finish(world)
    assert completed(world) == [0, 1, 2]
    assert "0 complete shutdown" in world.shown()  # History; what was running in the former run is gone.
    assert len(world.tasks()) == 4


def test_a_job_that_gave_up_runs_anew_at_an_update() -> None:
    world = World()
    world.create(job(restart=NEVER))
    world.observe(begin(world)[0], State.FAILED)
    world.update(job(restart=NEVER, force=1))
    finish(world)
    assert completed(world) == [0]


def test_a_task_that_completed_although_its_node_was_given_up_counts() -> None:
    world = World(nodes=2)
    world.create(job(2, restart=AT_ONCE))
    (task,) = begin(world)
    world.set_node(task.node_id, state("down"))
    (other,) = begin(world)
    assert (other.slot, other.node_id != task.node_id) == (0, True)
    world.set_node(task.node_id, state("ready"))
    world.observe(task, State.COMPLETE)
    assert world.wanted() == []  # The second try holds the place until it has ended.
    world.observe(other, State.SHUTDOWN)
    finish(world)
    assert completed(world) == [0, 1]


def test_a_drained_node_s_task_begins_anew_elsewhere_at_once() -> None:
    world = World(nodes=2)
    world.create(job())
    (task,) = begin(world)
    world.set_node(task.node_id, availability("drain"))
    world.observe(task, State.SHUTDOWN)
    (other,) = begin(world)
    assert other.node_id != task.node_id
    finish(world)
    assert completed(world) == [0]


def test_a_removed_node_s_task_begins_anew_and_what_it_completed_stays() -> None:
    world = World(nodes=2)
    world.create(job(3, at_a_time=2, restart=AT_ONCE))
    first, _ = begin(world)
    world.observe(first, State.COMPLETE)
    world.remove_node(first.node_id)
    finish(world)
    assert completed(world) == [0, 1, 2]
    assert sum(task.done for task in world.tasks()) == 3


def test_history_of_failures_is_cut_and_completions_are_kept() -> None:
    world = World()
    world.create(job(2, restart=AT_ONCE))
    for _ in range(9):
        world.observe(begin(world)[0], State.FAILED)
    finish(world)
    assert world.shown() == ["0 failed shutdown"] * 4 + ["0 complete complete", "1 complete complete"]
    for n in range(1, 9):
        world.update(job(2, restart=AT_ONCE, force=n))
        finish(world)
    assert len(world.tasks()) == 10
    assert completed(world) == [0, 1]


def test_a_removed_job_leaves_nothing() -> None:
    world = World()
    world.create(job(2))
    world.observe(begin(world)[0], State.COMPLETE)
    (task,) = begin(world)
    world.remove()
    assert [task.id for task in world.tasks()] == [task.id]
    world.observe(task, State.SHUTDOWN)
    assert world.tasks() == []


def test_a_job_stored_without_its_status_is_in_its_first_run() -> None:
    world = World()
    world.write(Put(Service(id="web", spec=job(1))))
    world.settle()
    finish(world)
    assert completed(world) == [0]


def test_a_global_job_completes_once_on_every_node_there_was() -> None:
    world = World(nodes=3)
    world.create(job(None))
    assert [task.node_id for task in world.wanted()] == ["n1", "n2", "n3"]
    world.now_s += 1
    world.write(Put(node("n4")))
    world.settle()
    finish(world)
    assert completed(world) == ["n1", "n2", "n3"]
    world.update(job(None, force=1))
    finish(world)
    assert completed(world) == ["n1", "n2", "n3", "n4"]


def test_a_global_job_keeps_to_its_constraints_and_to_active_nodes() -> None:
    world = World(nodes=3)
    world.set_node("n1", labelled(role="db"))
    world.set_node("n2", labelled(role="db"))
    world.set_node("n2", availability("pause"))
    world.create(job(None, constraints=("node.labels.role == db",)))
    finish(world)
    assert [task.node_id for task in world.tasks()] == ["n1"]
    world.set_node("n2", availability("active"))
    finish(world)
    assert completed(world) == ["n1", "n2"]


def test_a_global_job_s_task_goes_with_its_node_and_begins_anew_when_that_is_back() -> None:
    world = World(nodes=2)
    world.create(job(None))
    first, second = begin(world)
    world.observe(first, State.COMPLETE)
    world.set_node("n2", state("down"))
    assert [task.node_id for task in world.wanted()] == ["n1"]
    world.set_node("n2", state("ready"))
    assert [(task.node_id, task.desired_state) for task in world.wanted()][1:] == [("n2", State.READY)]
    world.observe(second, State.SHUTDOWN)
    finish(world)
    assert completed(world) == ["n1", "n2"]


def test_a_completed_task_of_a_global_job_stays_when_its_node_is_drained_or_removed() -> None:
    world = World(nodes=2)
    world.create(job(None))
    finish(world)
    world.set_node("n1", availability("drain"))
    world.remove_node("n2")
    assert completed(world) == ["n1", "n2"]
    assert [task.desired_state for task in world.tasks()] == [State.COMPLETE] * 2


def test_a_failed_task_of_a_global_job_is_tried_again_on_its_node() -> None:
    world = World(nodes=2)
    world.create(job(None, restart=RestartPolicy(condition="on-failure", delay=0, max_attempts=1)))
    for _ in range(2):
        world.observe(begin(world)[0], State.FAILED)
    finish(world)
    assert completed(world) == ["n2"]


def test_a_running_job_task_leaves_a_node_that_fits_no_more() -> None:
    world = World(nodes=2)
    for node_id in ("n1", "n2"):
        world.set_node(node_id, labelled(disk="ssd"))
    world.create(job(1, restart=AT_ONCE, constraints=("node.labels.disk == ssd",)))
    (task,) = begin(world)
    world.set_node(task.node_id, labelled())
    assert world.snap.tasks[task.id].state is State.REJECTED
    (other,) = begin(world)
    assert other.node_id != task.node_id


def test_a_task_of_a_global_job_that_completed_while_its_node_was_drained_is_not_run_again() -> None:
    world = World()
    world.create(job(None))
    (task,) = begin(world)
    world.set_node("n1", availability("drain"))
    world.observe(task, State.COMPLETE)
    world.set_node("n1", availability("active"))
    assert [one.id for one in world.tasks()] == [task.id]
    assert completed(world) == ["n1"]


def test_a_global_job_ends_with_a_node_that_is_removed() -> None:
    world = World(nodes=2)
    world.create(job(None, restart=AT_ONCE))
    begin(world)
    world.remove_node("n2")
    assert [task.node_id for task in world.wanted()] == ["n1"]
    finish(world)
    assert completed(world) == ["n1"]


def test_what_a_run_has_completed_is_kept_even_if_no_history_is() -> None:
    world = World(nodes=2)
    orchestration = Orchestration(task_history_retention_limit=0)
    world.write(Put(Cluster(id="c", spec=replace(DEFAULT_SPEC, orchestration=orchestration))))
    world.create(job(restart=AT_ONCE))
    (task,) = begin(world)
    world.set_node(task.node_id, availability("drain"))
    world.observe(task, State.COMPLETE)  # Before it could be stopped.
    world.settle()
    assert completed(world) == [0]
    assert not world.decide().changes


def test_a_task_of_a_former_run_that_was_given_up_is_asked_to_go_once() -> None:
    world = World(nodes=1)
    world.create(job(1, restart=NEVER))
    (lost,) = begin(world)
    world.set_node("n1", state("down"))
    assert world.snap.tasks[lost.id].stays_down
    world.update(job(1, restart=NEVER, force=1))
    asked, updated = world.snap.tasks[lost.id], world.snap.services["web"].spec_version
    assert updated is not None
    assert (asked.desired_state, asked.version.index) == (State.REMOVE, updated.index + 1)


def test_a_task_of_a_former_run_that_never_stops_is_waited_for_only_so_long() -> None:
    world = World()
    world.create(job(2))
    world.observe(begin(world)[0], State.COMPLETE)
    (stuck,) = begin(world)
    world.update(job(1, force=1))
    assert (stuck.slot, world.wanted()) == (1, [])
    world.wait(61)
    assert [task.slot for task in world.wanted()] == [0]


def test_tasks_that_the_store_refused_are_made_again() -> None:
    world = World()
    world.create(job(4, at_a_time=2))
    first, second = begin(world)
    world.observe(first, State.COMPLETE, settle=False)
    world.observe(second, State.COMPLETE, settle=False)
    world.decide(refused=True)
    world.settle()
    assert [task.slot for task in world.wanted() if not task.done] == [2, 3]
    finish(world)
    assert completed(world) == [0, 1, 2, 3]


def test_a_look_at_one_slot_of_a_large_job_reads_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.create(job(300, at_a_time=200))
    task = begin(world)[7]
    read: list[str] = []
    monkeypatch.setattr(Snapshot, "tasks_of", lambda _snap, service_id: read.append(service_id) or ())
    world.observe(task, State.COMPLETE)
    assert [one.slot for one in world.wanted() if one.state is State.ASSIGNED] == [200]
    assert read == []


def test_many_that_complete_at_once_make_room_for_as_many() -> None:
    world = World(nodes=4)
    world.create(job(600, at_a_time=200))
    for task in begin(world):
        world.observe(task, State.COMPLETE, settle=False)
    world.settle()
    assert [task.slot for task in world.wanted() if not task.done] == list(range(200, 400))


def test_a_run_with_fewer_at_a_time_begins_as_those_of_the_former_one_end() -> None:
    world = World()
    world.create(job(3, at_a_time=3))
    old = begin(world)
    world.update(job(3, at_a_time=1, force=1))
    assert world.wanted() == []
    world.observe(old[0], State.SHUTDOWN)
    assert world.wanted() == []
    world.observe(old[1], State.SHUTDOWN)
    assert [(task.slot, task.desired_state) for task in world.wanted()] == [(2, State.READY)]  # It waits for the last.
    world.observe(old[2], State.SHUTDOWN)
    assert [(task.slot, task.desired_state) for task in world.wanted()] == [(2, State.COMPLETE)]
    finish(world)
    assert completed(world) == [0, 1, 2]

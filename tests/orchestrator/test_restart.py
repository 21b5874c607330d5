"""Tasks that end are replaced as their restart policy says."""

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, spec, state
from vault.model.service import RestartPolicy
from vault.model.task import State, Task
from vault.store.changes import Put

AT_ONCE = RestartPolicy(delay=0)


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_task_that_ended_is_replaced_after_five_seconds(forgetful: bool) -> None:
    world = World(forgetful=forgetful)
    world.run(spec(1))
    world.observe(world.tasks()[0], State.FAILED)
    assert world.shown() == ["1 failed shutdown", "1 assigned ready"]
    world.wait(4.9)
    assert world.shown() == ["1 failed shutdown", "1 assigned ready"]
    world.wait(0.2)
    assert world.shown() == ["1 failed shutdown", "1 assigned running"]


def test_a_delay_of_nothing_restarts_in_the_same_decision() -> None:
    world = World()
    world.run(spec(1, restart=AT_ONCE))
    world.observe(world.tasks()[0], State.COMPLETE)
    assert world.shown() == ["1 complete shutdown", "1 assigned running"]


@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("ends", [State.FAILED, State.REJECTED])
def test_a_service_leaves_the_node_where_it_keeps_failing_though_history_is_short(forgetful: bool, ends: State) -> None:
    world = World(nodes=2, forgetful=forgetful)
    world.run(spec(1, restart=RestartPolicy(delay=SECOND)))
    (task,) = world.wanted()
    first = task.node_id
    world.create(replace(spec(4, constraints=(f"node.id!={first}",)), name="busy"), "busy")
    where = []
    for _ in range(7):
        (task,) = tasks_of_web(world)
        where.append(task.node_id)
        world.observe(task, ends)
        world.wait(1.1)
    assert where[:5] == [first] * 5
    assert first not in where[5:]
    assert len(list(world.snap.tasks_at("web", 1))) == 5
    world.wait(300.0)
    world.observe(tasks_of_web(world)[0], ends)
    (task,) = tasks_of_web(world)
    assert task.node_id == first  # After five minutes nobody holds it against the node any more,
    assert len(task.failed_before) == 1  # and nothing older is carried on.


def tasks_of_web(world: World) -> list[Task]:
    """Return those tasks of the first service that are to run."""
    return [task for task in world.wanted() if task.service_id == "web"]


def test_a_task_of_another_description_is_told_of_no_failures() -> None:
    world = World(nodes=2)
    world.run(spec(1, restart=AT_ONCE))
    world.observe(world.wanted()[0], State.FAILED)
    assert len(world.wanted()[0].failed_before) == 1
    world.update(spec(1, image="v2", restart=AT_ONCE))
    world.follow()
    assert [task.failed_before for task in world.wanted()] == [()]


@pytest.mark.parametrize(
    ("condition", "ended", "replaced"),
    [
        ("any", State.COMPLETE, True),
        ("any", State.FAILED, True),
        ("on-failure", State.COMPLETE, False),
        ("on-failure", State.FAILED, True),
        ("on-failure", State.REJECTED, True),
        ("none", State.COMPLETE, False),
        ("none", State.FAILED, False),
    ],
)
def test_the_condition_says_what_is_replaced(condition: str, ended: State, replaced: bool) -> None:
    world = World()
    world.run(spec(1, restart=RestartPolicy(condition=condition)))
    world.observe(world.tasks()[0], ended)
    assert len(world.wanted()) == replaced
    assert world.tasks()[0].desired_state is State.SHUTDOWN


def test_a_task_that_ended_for_good_fills_its_slot_until_the_next_update() -> None:
    world = World()
    world.run(spec(1, restart=RestartPolicy(condition="none")))
    world.observe(world.tasks()[0], State.COMPLETE)
    world.update(spec(2, restart=RestartPolicy(condition="none")))
    assert world.shown() == ["1 complete shutdown", "2 assigned running"]
    world.update(spec(2, image="v2", restart=RestartPolicy(condition="none")))
    assert "1 assigned running" in world.shown()


@pytest.mark.parametrize("forgetful", [False, True])
def test_attempts_are_counted_until_there_are_enough(forgetful: bool) -> None:
    world = World(forgetful=forgetful)
    world.run(spec(1, restart=RestartPolicy(delay=0, max_attempts=2)))
    for _ in range(3):
        world.observe(world.wanted()[0], State.FAILED)
    assert world.shown() == ["1 failed shutdown"] * 3


def test_a_new_spec_starts_counting_afresh() -> None:
    policy = RestartPolicy(delay=0, max_attempts=1)
    world = World()
    world.run(spec(1, restart=policy))
    for _ in range(2):
        world.observe(world.wanted()[0], State.FAILED)
    assert world.wanted() == []
    world.update(spec(1, image="v2", restart=policy))
    world.observe(world.wanted()[0], State.FAILED)
    assert len(world.wanted()) == 1


def test_attempts_under_an_older_spec_do_not_count_even_if_the_task_stayed() -> None:
    policy = RestartPolicy(delay=0, max_attempts=2)
    world = World()
    world.run(spec(1, restart=policy))
    world.observe(world.wanted()[0], State.FAILED)
    world.update(spec(2, restart=policy))
    for _ in range(2):
        world.observe(world.wanted()[0], State.FAILED)
    assert [task.slot for task in world.wanted()] == [1, 2]
    world.observe(world.wanted()[0], State.FAILED)
    assert [task.slot for task in world.wanted()] == [2]


def test_each_slot_has_a_delay_of_its_own() -> None:
    world = World()
    world.run(spec(2))
    first, second = world.wanted()
    world.observe(first, State.FAILED)
    world.wait(3)
    world.observe(second, State.FAILED)
    world.wait(2.1)
    assert [task.desired_state for task in world.wanted()] == [State.RUNNING, State.READY]
    world.wait(3)
    assert [task.desired_state for task in world.wanted()] == [State.RUNNING, State.RUNNING]


def test_a_task_that_was_never_placed_holds_nobody_up() -> None:
    world = World(nodes=1)
    world.create(spec(1, constraints=("node.labels.zone == a",)))
    assert world.shown() == ["1 pending running"]
    world.update(spec(1))
    assert world.shown() == ["1 pending shutdown", "1 assigned running"]


def test_a_slot_is_filled_again_whoever_emptied_it() -> None:
    world = World()
    world.run(spec(2))
    world.write(Put(replace(world.tasks()[1], desired_state=State.SHUTDOWN)))
    world.settle()
    assert world.shown() == ["1 running running", "2 running shutdown", "2 assigned ready"]


def test_attempts_before_the_window_do_not_count() -> None:
    world = World()
    world.run(spec(1, restart=RestartPolicy(delay=0, max_attempts=2, window=10 * SECOND)))
    for _ in range(5):
        world.wait(6)
        world.observe(world.wanted()[0], State.FAILED)
    assert len(world.wanted()) == 1  # Never more than two restarts within ten seconds.
    for _ in range(2):
        world.observe(world.wanted()[0], State.FAILED)
        if not world.wanted():
            break
    assert world.wanted() == []


def test_a_task_that_cannot_be_prepared_does_not_spin() -> None:
    world = World()
    world.run(spec(1))
    world.observe(world.wanted()[0], State.FAILED)
    world.observe(world.wanted()[0], State.REJECTED)  # While it waits for the delay.
    assert world.shown() == ["1 failed shutdown", "1 rejected ready"]
    world.wait(5.1)
    assert world.shown()[1:] == ["1 rejected shutdown", "1 assigned ready"]


def test_a_drained_node_gives_up_its_tasks_without_delay_but_not_before_they_ended() -> None:
    world = World(nodes=2)
    world.run(spec(1))
    home = world.wanted()[0].node_id
    world.set_node(home, availability("drain"))
    assert world.shown() == ["1 running shutdown", "1 assigned ready"]
    assert world.wanted()[0].node_id != home
    world.wait(1)
    world.observe(world.tasks()[0], State.SHUTDOWN)
    assert world.shown() == ["1 shutdown shutdown", "1 assigned running"]


def test_a_task_that_does_not_stop_is_waited_for_a_minute_at_most() -> None:
    world = World(nodes=2)
    world.run(spec(1))
    world.set_node(world.wanted()[0].node_id, availability("drain"))
    world.wait(59)
    assert world.wanted()[0].desired_state is State.READY
    world.wait(2)
    assert world.wanted()[0].desired_state is State.RUNNING


def test_tasks_of_a_node_that_is_down_start_elsewhere_after_the_delay() -> None:
    world = World(nodes=2)
    world.run(spec(1))
    home = world.wanted()[0].node_id
    world.set_node(home, state("down"))
    assert world.shown() == ["1 running shutdown", "1 assigned ready"]
    world.wait(5.1)
    assert world.shown() == ["1 running shutdown", "1 assigned running"]
    assert world.wanted()[0].node_id != home


def test_tasks_of_a_paused_node_stay() -> None:
    world = World(nodes=1)
    world.run(spec(1))
    world.set_node("n1", availability("pause"))
    assert world.shown() == ["1 running running"]

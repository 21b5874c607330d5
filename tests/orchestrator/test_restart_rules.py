"""What SwarmKit's restart supervisor promises, line by line, whoever leads: delays, attempts, windows, lost nodes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, spec, state
from vault.model.cluster import DEFAULT_SPEC, Cluster, Orchestration
from vault.model.service import RestartPolicy
from vault.model.task import State, Task
from vault.store.changes import Put

FORGETFUL = pytest.mark.parametrize("forgetful", [False, True])  # True: another leader makes each decision.


def policy(condition: str = "any", **fields: float) -> RestartPolicy:
    """Return a policy; `delay` and `window` in seconds."""
    units = {name: int(value * (SECOND if name in ("delay", "window") else 1)) for name, value in fields.items()}
    return RestartPolicy(condition=condition, **units)


def fail(world: World, task: Task | None = None, state_: State = State.FAILED) -> None:
    world.observe(task or world.wanted()[0], state_)


@FORGETFUL
def test_a_task_that_cannot_be_prepared_is_replaced_after_the_delay_too(forgetful: bool) -> None:
    world = World(forgetful=forgetful)
    world.create(spec(1))
    fail(world, state_=State.REJECTED)
    assert world.shown() == ["1 rejected shutdown", "1 assigned ready"]
    world.wait(4.9)
    assert world.wanted()[0].desired_state is State.READY
    world.wait(0.2)
    assert world.wanted()[0].desired_state is State.RUNNING


@FORGETFUL
def test_what_is_rejected_again_and_again_while_it_waits_makes_one_task_a_delay(forgetful: bool) -> None:
    world = World(forgetful=forgetful)
    world.create(spec(1))
    made = set()
    for _ in range(4):
        for _ in range(3):
            made |= {task.id for task in world.tasks()}
            if world.wanted()[0].state is not State.REJECTED:
                fail(world, state_=State.REJECTED)  # As soon as it is there: its image is missing.
        world.wait(5.0)
    assert len(made) == 5


@FORGETFUL
@pytest.mark.parametrize("end", ["down", "removed"])
def test_a_task_that_is_stopping_is_waited_for_no_longer_once_its_node_is_lost(forgetful: bool, end: str) -> None:
    world = World(nodes=2, forgetful=forgetful)
    world.run(spec(1))
    home = world.wanted()[0].node_id
    world.set_node(home, availability("drain"))
    assert world.wanted()[0].desired_state is State.READY
    world.wait(10)
    assert world.wanted()[0].desired_state is State.READY
    if end == "down":
        world.set_node(home, state("down"))
    else:
        world.remove_node(home)
    assert world.wanted()[0].desired_state is State.RUNNING


@FORGETFUL
def test_the_tasks_of_a_removed_node_start_elsewhere_after_the_delay(forgetful: bool) -> None:
    world = World(nodes=2, forgetful=forgetful)
    world.run(spec(1))
    world.remove_node(world.wanted()[0].node_id)
    assert world.shown() == ["1 orphaned shutdown", "1 assigned ready"]
    world.wait(5.1)
    assert world.shown() == ["1 orphaned shutdown", "1 assigned running"]


@pytest.mark.parametrize("lost", [availability("drain"), state("down")])
@pytest.mark.parametrize(("condition", "replaced"), [("none", 0), ("on-failure", 1), ("any", 1)])
def test_a_task_whose_node_is_lost_is_replaced_unless_it_is_to_run_once_at_most(
    condition: str, replaced: int, lost: object
) -> None:
    world = World(nodes=2)
    world.run(spec(1, restart=policy(condition)))
    world.set_node(world.wanted()[0].node_id, lost)  # type: ignore[arg-type]
    assert len(world.wanted()) == replaced
    world.wait(100)
    assert len(world.wanted()) == replaced


def test_moves_to_other_nodes_count_as_attempts() -> None:
    world = World(nodes=3)
    world.run(spec(1, restart=policy(max_attempts=2)))
    for _ in range(2):
        world.set_node(world.wanted()[0].node_id, availability("drain"))
        world.follow()
    assert len(world.wanted()) == 1
    fail(world)
    assert world.wanted() == []


@FORGETFUL
def test_attempts_are_counted_for_each_slot_by_itself(forgetful: bool) -> None:
    world = World(forgetful=forgetful)
    world.run(spec(2, restart=policy(delay=0, max_attempts=1)))
    for _ in range(2):
        fail(world, world.wanted()[0])
    assert [task.slot for task in world.wanted()] == [2]
    fail(world, world.wanted()[0])
    assert [task.slot for task in world.wanted()] == [2]


@FORGETFUL
def test_a_global_services_task_is_replaced_on_its_node_and_counts_there(forgetful: bool) -> None:
    world = World(nodes=2, forgetful=forgetful)
    world.run(spec(None, restart=policy(delay=2, max_attempts=1)))
    first = next(task for task in world.wanted() if task.node_id == "n1")
    fail(world, first)
    (held,) = [task for task in world.wanted() if task.node_id == "n1"]
    assert held.desired_state is State.READY
    world.wait(2.1)
    (again,) = [task for task in world.wanted() if task.node_id == "n1"]
    assert (again.id, again.desired_state) == (held.id, State.RUNNING)
    fail(world, again)
    world.wait(10)
    assert [task.node_id for task in world.wanted()] == ["n2"]


@FORGETFUL
def test_restarts_within_the_window_count_whoever_leads(forgetful: bool) -> None:
    world = World(forgetful=forgetful)
    world.run(spec(1, restart=policy(delay=0, max_attempts=2, window=10)))
    for pause_s in (0, 6, 6, 6):
        world.wait(pause_s)
        fail(world)
        assert len(world.wanted()) == 1
    fail(world)
    assert world.wanted() == []


def test_a_slot_whose_attempts_are_used_up_stays_empty_when_the_window_has_passed() -> None:
    world = World()
    world.run(spec(1, restart=policy(delay=0, max_attempts=1, window=10)))
    fail(world)
    fail(world)
    world.wait(1000)
    assert world.wanted() == []


def test_a_restart_that_waits_is_given_up_with_its_service_and_with_its_slot() -> None:
    world = World()
    world.run(spec(2))
    fail(world, world.wanted()[1])
    held = world.wanted()[1]
    assert held.desired_state is State.READY
    world.update(spec(1))
    world.observe(held, State.SHUTDOWN)
    world.wait(10)
    assert [task.slot for task in world.wanted()] == [1]
    assert held.id not in world.snap.tasks
    fail(world)
    world.remove()
    assert world.wanted() == []


def test_a_node_that_was_restarted_tells_that_its_tasks_failed_and_they_start_again() -> None:
    world = World(nodes=1)
    world.run(spec(2))
    for task in world.wanted():
        fail(world, task)  # As the agent says of containers that a reboot took.
    world.wait(5.1)
    assert [task.desired_state for task in world.wanted()] == [State.RUNNING, State.RUNNING]
    assert {task.node_id for task in world.wanted()} == {"n1"}


def test_a_task_that_never_became_healthy_is_a_failure_like_any_other() -> None:
    world = World()
    world.create(spec(1, restart=policy("on-failure", delay=0, max_attempts=1)))
    for _ in range(2):
        world.observe(world.wanted()[0], State.STARTING)
        fail(world)
    assert world.wanted() == []
    assert world.shown() == ["1 failed shutdown"] * 2


@pytest.mark.parametrize(("attempts", "limit", "kept"), [(1, 5, 2), (7, 5, 8), (0, 5, 5), (2, -1, 3)])
def test_as_many_tasks_of_a_slot_are_kept_as_show_every_attempt(attempts: int, limit: int, kept: int) -> None:
    world = World()
    orchestration = Orchestration(task_history_retention_limit=limit)
    world.write(Put(Cluster(id="c", spec=replace(DEFAULT_SPEC, orchestration=orchestration))))
    world.run(spec(1, restart=policy(delay=0, max_attempts=attempts)))
    for _ in range(9):
        if world.wanted():
            fail(world)
    assert len(world.tasks()) == kept


class Model:
    """The restart policy told again, with the times of all restarts at hand."""

    def __init__(self, wanted: RestartPolicy) -> None:
        self.policy = wanted
        self.restarts_s: list[float] = []

    def restarts(self, ended: State, now_s: float) -> bool:
        condition, attempts, window = self.policy.condition, self.policy.max_attempts, self.policy.window
        if condition == "none" or (condition == "on-failure" and ended is State.COMPLETE):
            return False
        since_s = now_s - window / SECOND if window else -1.0
        if attempts and len([at for at in self.restarts_s if at > since_s]) >= attempts:
            return False
        self.restarts_s.append(now_s)
        return True


policies = st.builds(
    policy,
    st.sampled_from(["any", "any", "on-failure", "none"]),
    delay=st.sampled_from([0.0, 1.0, 5.0]),
    max_attempts=st.integers(0, 3),
    window=st.sampled_from([0.0, 0.0, 8.0, 20.0]),
)
endings = st.lists(
    st.tuples(st.sampled_from([0.5, 3.0, 9.0, 30.0]), st.sampled_from([State.FAILED, State.COMPLETE])), max_size=12
)


@settings(max_examples=60)
@given(policies, endings, st.booleans())
def test_a_slot_is_restarted_as_often_and_as_late_as_its_policy_says(
    wanted: RestartPolicy, history: list[tuple[float, State]], forgetful: bool
) -> None:
    world, model = World(forgetful=forgetful), Model(wanted)
    world.run(spec(1, restart=wanted))
    delay_s = (wanted.delay or 0) / SECOND
    for ran_s, ended in history:
        world.wait(ran_s)
        (task,) = world.wanted()
        assert task.desired_state is State.RUNNING
        world.observe(task, State.RUNNING)
        fail(world, task, ended)
        if not model.restarts(ended, world.now_s):
            world.wait(1000)
            assert world.wanted() == []
            return
        (held,) = world.wanted()
        assert held.desired_state is (State.READY if delay_s else State.RUNNING)
        if delay_s:
            world.wait(delay_s - 0.01)
            assert world.wanted()[0].desired_state is State.READY
            world.wait(0.02)
        assert world.wanted()[0].id == held.id

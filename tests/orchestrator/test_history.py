"""Tasks that are not wanted any more leave the store; some history stays."""

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import World, spec
from vault.model.cluster import DEFAULT_SPEC, Cluster, Orchestration
from vault.model.service import RestartPolicy, UpdateConfig
from vault.model.task import State
from vault.store.changes import Put

AT_ONCE = RestartPolicy(delay=0)


def crash(world: World, times: int) -> None:
    """Let the task of slot 1 fail again and again."""
    for _ in range(times):
        world.observe(world.wanted()[0], State.FAILED)


def test_five_tasks_of_a_slot_are_kept_the_running_one_among_them() -> None:
    world = World()
    world.run(spec(1, restart=AT_ONCE))
    crash(world, 8)
    assert world.shown() == ["1 failed shutdown"] * 4 + ["1 assigned running"]
    assert world.tasks()[-1].id == "t000000000000000000000009"  # The oldest went.


@pytest.mark.parametrize(("limit", "kept"), [(0, 1), (2, 2), (-1, 9)])
def test_the_cluster_says_how_many_are_kept(limit: int, kept: int) -> None:
    world = World()
    orchestration = Orchestration(task_history_retention_limit=limit)
    world.write(Put(Cluster(id="c", spec=replace(DEFAULT_SPEC, orchestration=orchestration))))
    world.run(spec(1, restart=AT_ONCE))
    crash(world, 8)
    assert len(world.tasks()) == kept


def test_every_attempt_that_the_policy_allows_is_kept() -> None:
    world = World()
    world.run(spec(1, restart=RestartPolicy(delay=0, max_attempts=7)))
    crash(world, 8)
    assert world.shown() == ["1 failed shutdown"] * 8


def test_the_last_task_of_a_slot_that_stays_down_is_kept_whatever_the_limit() -> None:
    world = World()
    orchestration = Orchestration(task_history_retention_limit=0)
    world.write(Put(Cluster(id="c", spec=replace(DEFAULT_SPEC, orchestration=orchestration))))
    world.run(spec(1, restart=RestartPolicy(condition="none")))
    crash(world, 1)
    assert world.shown() == ["1 failed shutdown"]
    assert world.decide().changes == ()


def test_failures_by_which_an_update_is_judged_are_kept_while_it_lasts() -> None:
    config = UpdateConfig(parallelism=1, failure_action="pause", max_failure_ratio=0.5)
    world = World()
    world.run(spec(2, restart=AT_ONCE, update=config))
    world.update(spec(2, image="v2", restart=AT_ONCE, update=config))
    world.observe(world.tasks()[0], State.SHUTDOWN)
    judged = world.wanted()[0]
    crash(world, 8)
    assert judged.id in world.snap.tasks
    assert world.status == ("updating", "update in progress")


def test_the_task_that_a_paused_update_names_is_kept() -> None:
    config = UpdateConfig(parallelism=1, failure_action="pause")
    world = World()
    world.run(spec(1, restart=AT_ONCE, update=config))
    world.update(spec(1, image="v2", restart=AT_ONCE, update=config))
    world.observe(world.tasks()[0], State.SHUTDOWN)
    failed = world.wanted()[0]
    crash(world, 8)
    assert world.status == ("paused", f"update paused due to failure or early termination of task {failed.id}")
    assert failed.id in world.snap.tasks
    assert len(world.tasks()) == 5


def test_a_service_that_is_to_keep_less_history_keeps_less_at_once() -> None:
    world = World()
    world.run(spec(2, restart=AT_ONCE))
    for _ in range(4):
        world.observe(world.wanted()[1], State.FAILED)
    world.update(spec(2, restart=RestartPolicy(delay=0, max_attempts=1), update=UpdateConfig(parallelism=1)))
    assert sum(task.slot == 2 for task in world.tasks()) == 2  # Though it is slot 1 that is exchanged.


def test_a_task_that_was_never_placed_goes_at_once_when_removed() -> None:
    world = World(nodes=0)
    world.create(spec(1))
    assert world.shown() == ["1 pending running"]
    world.remove()
    assert world.shown() == []


def test_tasks_that_stayed_down_become_history_with_the_next_update() -> None:
    none = RestartPolicy(condition="none")
    world = World()
    world.run(spec(1, restart=none))
    for number in range(8):
        world.observe(world.tasks()[-1], State.COMPLETE)
        world.update(spec(1, image=f"v{number + 2}", restart=none))
    assert len(world.tasks()) == 5

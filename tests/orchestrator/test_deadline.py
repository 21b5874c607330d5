"""An update that is not complete in time has failed, and says which tasks do not run and why."""

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, spec
from vault.model.service import Reservation, Resources, RestartPolicy, ServiceSpec, UpdateConfig
from vault.model.task import State, TaskStatus
from vault.store.changes import Put

TIMED = UpdateConfig(parallelism=1, monitor=SECOND, deadline=60 * SECOND)
LATE = "because it was not completed within 1m0s"


def heavy(wanted: ServiceSpec, cpus: int) -> ServiceSpec:
    """Return the spec with CPUs reserved."""
    resources = Resources(reservations=Reservation(nano_cpus=cpus * SECOND))
    return replace(wanted, task_template=replace(wanted.task_template, resources=resources))


@pytest.mark.parametrize("forgetful", [False, True])
def test_an_update_that_waits_for_a_node_is_paused_with_the_reason(forgetful: bool) -> None:
    world = World(forgetful=forgetful)
    world.run(spec(3, update=TIMED))
    world.update(heavy(spec(3, image="v2", update=TIMED), 99))
    world.follow()
    world.wait(59.9)
    assert world.status == ("updating", "update in progress")
    world.wait(0.2)
    reason = (
        "web.1 is pending (no suitable node (insufficient resources on 1 node)); 2 of 3 tasks were not exchanged yet"
    )
    assert world.status == ("paused", f"update paused {LATE}: {reason}")
    world.wait(3600)
    assert world.images() == ["v2", "v1", "v1"]


def test_an_update_that_is_complete_in_time_is_left_alone() -> None:
    world = World()
    world.run(spec(2, update=TIMED))
    world.update(spec(2, image="v2", update=TIMED))
    for _ in range(2):
        world.follow()
    world.wait(3600)
    assert world.status == ("completed", "update completed")


def test_going_on_in_spite_of_failures_ends_with_the_deadline() -> None:
    config = replace(TIMED, failure_action="continue")
    world = World()
    world.run(spec(1, update=config))
    world.update(spec(1, image="v2", update=config))
    world.observe(world.tasks()[0], State.SHUTDOWN)
    world.observe(world.tasks()[1], State.PREPARING)
    world.wait(61)
    assert world.status == ("paused", f"update paused {LATE}: web.1 is preparing")


def test_a_late_update_goes_back_and_its_rollback_has_as_much_time() -> None:
    config = replace(TIMED, failure_action="rollback")
    world = World()
    world.run(spec(1))
    world.update(heavy(spec(1, image="v2", update=config), 99))
    world.follow()
    world.wait(60.1)
    late = f"{LATE}: web.1 is pending (no suitable node (insufficient resources on 1 node))"
    assert world.status == ("rollback_started", f"update rolled back {late}")
    world.wait(60.1)
    assert world.status == ("rollback_paused", f"rollback paused {LATE}: web.1 is assigned")


def test_a_rollback_with_time_of_its_own_keeps_to_that() -> None:
    config = replace(TIMED, failure_action="rollback")
    rollback = UpdateConfig(parallelism=1, deadline=10 * SECOND)
    world = World()
    world.run(spec(1, rollback=rollback))
    world.update(heavy(spec(1, image="v2", update=config, rollback=rollback), 99))
    world.follow()
    world.wait(60.1)
    world.wait(10.1)
    assert world.status == (
        "rollback_paused",
        "rollback paused because it was not completed within 10s: web.1 is assigned",
    )


def test_of_many_tasks_some_are_named_and_the_others_counted() -> None:
    config = replace(TIMED, parallelism=0)
    world = World()
    world.run(spec(8, update=config))
    world.update(heavy(spec(8, image="v2", update=config), 99))
    world.follow()
    world.wait(61)
    assert world.status is not None
    assert world.status[1].count("is pending") == 3
    assert world.status[1].endswith("; 5 more tasks do not run")


def test_a_task_between_two_attempts_is_named_with_the_words_of_the_last() -> None:
    config = replace(TIMED, failure_action="continue")
    slow = RestartPolicy(delay=600 * SECOND)
    world = World()
    world.run(spec(2, update=config, restart=slow))
    world.update(spec(2, image="v2", update=config, restart=slow))
    world.follow()
    new = world.wanted()[0]
    stored = world.snap.tasks[new.id]
    world.write(Put(replace(stored, status=TaskStatus(state=State.FAILED, err="task: non-zero exit (7)" + "!" * 300))))
    world.settle()
    world.follow(State.PREPARING)
    world.wait(61)
    assert world.status is not None
    assert "web.1 is assigned (task: non-zero exit (7)!!!" in world.status[1]
    assert "…)" in world.status[1]


def test_tasks_that_have_not_run_long_enough_are_the_reason_when_there_is_no_other() -> None:
    world = World()
    world.run(spec(1, update=TIMED))
    world.update(spec(1, image="v2", update=TIMED))
    world.wait(59.5)
    world.follow()
    world.wait(0.6)
    words = f"update paused {LATE}: its tasks run, the last of them for less than the 1s it is watched"
    assert world.status == ("paused", words)


def test_no_deadline_waits_for_ever() -> None:
    world = World()
    world.run(spec(1, update=replace(TIMED, deadline=None)))
    world.update(heavy(spec(1, image="v2", update=replace(TIMED, deadline=None)), 99))
    world.wait(10**7)
    assert world.status == ("updating", "update in progress")


def test_slots_are_filled_in_several_decisions_before_the_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.orchestrator.replicated.MAX_NEW", 2)
    monkeypatch.setattr("vault.orchestrator.services.MAX_CHANGES", 2)
    world = World()
    world.run(spec(2, update=TIMED))
    world.update(spec(9, image="v2", update=TIMED))
    assert len(world.wanted()) == 9
    world.wait(0)
    assert world.decide().ask_again_s == pytest.approx(world.now_s + 60)

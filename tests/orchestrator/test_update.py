"""Rolling updates exchange tasks a few at a time, and stop when the new ones fail."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, labelled, spec, state
from vault.model.node import Node
from vault.model.service import RestartPolicy, UpdateConfig
from vault.model.task import State
from vault.store.changes import Put

ONE = UpdateConfig(parallelism=1, monitor=5 * SECOND)


def test_the_new_task_is_placed_while_the_old_one_stops_and_starts_when_it_has() -> None:
    world = World()
    world.run(spec(2, update=ONE))
    world.update(spec(2, image="v2", update=ONE))
    assert world.shown() == ["1 running shutdown", "2 running running", "1 assigned ready"]
    assert world.status == ("updating", "update in progress")
    new = world.tasks()[2]
    world.observe(new, State.READY)
    assert world.tasks()[2].desired_state is State.READY
    world.observe(world.tasks()[0], State.SHUTDOWN)
    assert world.shown() == ["1 shutdown shutdown", "2 running running", "1 ready running"]


def test_each_slot_costs_two_decisions() -> None:
    world = World()
    world.run(spec(10, update=ONE))
    world.update(spec(10, image="v2", update=ONE))
    for _ in range(10):
        old = next(task for task in world.tasks() if task.desired_state > State.RUNNING and not task.state.terminal)
        world.observe(old, State.SHUTDOWN, settle=False)
        assert len(world.decide().changes) == 1  # The new one may start.
        new = next(task for task in world.wanted() if task.state < State.RUNNING)
        world.observe(new, State.RUNNING, settle=False)
        world.decide()  # The next slot.
    assert [task.spec.container_spec.image for task in world.wanted()] == ["v2"] * 10


@pytest.mark.parametrize("forgetful", [False, True])
def test_one_slot_after_the_other_until_all_are_done(forgetful: bool) -> None:
    world = World(forgetful=forgetful)
    world.run(spec(3, update=ONE))
    world.update(spec(3, image="v2", update=ONE))
    for done in range(1, 4):
        world.follow()
        assert (
            sum(task.spec.container_spec.image == "v2" and task.state is State.RUNNING for task in world.wanted())
            == done
        )
    assert world.status == ("updating", "update in progress")
    world.wait(5.1)
    assert world.status == ("completed", "update completed")
    status = world.snap.services["web"].update_status
    assert status is not None
    assert status.completed_at is not None


def test_no_parallelism_exchanges_all_at_once() -> None:
    world = World()
    world.run(spec(4, update=UpdateConfig(parallelism=0)))
    world.update(spec(4, image="v2", update=UpdateConfig(parallelism=0)))
    assert world.shown()[:4] == [f"{slot} running shutdown" for slot in range(1, 5)]


def test_the_next_slots_wait_for_the_delay() -> None:
    config = UpdateConfig(parallelism=2, delay=3 * SECOND)
    world = World()
    world.run(spec(4, update=config))
    world.update(spec(4, image="v2", update=config))
    world.follow()
    world.wait(2.9)
    assert len([task for task in world.tasks() if task.desired_state is State.SHUTDOWN]) == 2
    world.wait(0.2)
    assert len([task for task in world.tasks() if task.desired_state is State.SHUTDOWN]) == 4


def test_a_failure_pauses_the_update() -> None:
    world = World()
    world.run(spec(3, update=ONE))
    world.update(spec(3, image="bad", update=ONE))
    bad = world.tasks()[3]
    world.follow(State.FAILED)
    assert world.status == ("paused", f"update paused due to failure or early termination of task {bad.id}")
    world.wait(60)
    images = [task.spec.container_spec.image for task in world.wanted()]
    assert images == ["bad", "v1", "v1"]  # The failed one is restarted; the others are left alone.


def test_a_failure_soon_after_the_start_counts_and_a_late_one_does_not() -> None:
    for after_s, outcome in ((4.0, "paused"), (5.5, "completed")):
        world = World()
        world.run(spec(1, update=ONE))
        world.update(spec(1, image="v2", update=ONE))
        world.follow()
        world.wait(after_s)
        world.observe(world.wanted()[0], State.FAILED)
        assert world.status is not None
        assert world.status[0] == outcome


def test_failures_up_to_the_ratio_are_tolerated() -> None:
    config = UpdateConfig(parallelism=1, max_failure_ratio=0.3, monitor=SECOND)
    world = World()
    world.run(spec(4, update=config))
    world.update(spec(4, image="v2", update=config))
    world.follow(State.FAILED)  # One of four.
    assert world.status == ("updating", "update in progress")
    world.follow(State.FAILED)
    assert world.status is not None
    assert world.status[0] == "paused"


def test_failures_of_just_the_ratio_are_tolerated() -> None:
    config = UpdateConfig(parallelism=1, max_failure_ratio=0.5, monitor=SECOND)
    world = World()
    world.run(spec(4, update=config))
    world.update(spec(4, image="v2", update=config))
    for _ in range(2):
        world.follow(State.FAILED)
    assert world.status == ("updating", "update in progress")


def test_failures_do_not_stop_an_update_that_is_to_continue() -> None:
    config = UpdateConfig(parallelism=1, failure_action="continue", monitor=SECOND)
    none = RestartPolicy(condition="none")
    world = World()
    world.run(spec(3, update=config))
    world.update(spec(3, image="bad", update=config, restart=none))
    for _ in range(3):
        world.follow(State.FAILED)
    world.wait(2)
    assert world.status == ("completed", "update completed")
    assert world.wanted() == []


def test_a_newer_update_takes_over() -> None:
    world = World()
    world.run(spec(3, update=ONE))
    world.update(spec(3, image="v2", update=ONE))
    world.follow()
    world.update(spec(3, image="v3", update=ONE))
    for _ in range(4):
        world.follow()
    world.wait(6)
    assert [task.spec.container_spec.image for task in world.wanted()] == ["v3"] * 3
    assert world.status == ("completed", "update completed")


def test_a_status_about_an_older_spec_counts_for_nothing() -> None:
    world = World()
    world.run(spec(2, update=ONE))
    world.update(spec(2, image="v2", update=ONE))
    world.follow(State.FAILED)
    assert world.status is not None
    assert world.status[0] == "paused"
    world.write(Put(replace(world.snap.services["web"], spec=spec(2, image="v3", update=ONE))))  # Status left as it is.
    world.settle()
    assert world.status == ("updating", "update in progress")


def test_a_paused_update_goes_on_when_the_service_is_updated_again() -> None:
    world = World()
    world.run(spec(2, update=ONE))
    world.update(spec(2, image="v2", update=ONE))
    world.follow(State.FAILED)
    world.update(spec(2, image="v2", update=replace(ONE, failure_action="continue")))
    world.wait(5)
    for _ in range(3):
        world.follow()
    world.wait(6)
    assert world.status == ("completed", "update completed")
    assert [task.spec.container_spec.image for task in world.wanted()] == ["v2"] * 2


@pytest.mark.parametrize("change", [availability("drain"), state("down")])
def test_an_update_is_not_complete_because_its_task_moves_to_another_node(change: Callable[[Node], Node]) -> None:
    world = World(nodes=2)
    world.run(spec(1, update=ONE, restart=RestartPolicy(delay=0)))
    world.update(spec(1, image="v2", update=ONE, restart=RestartPolicy(delay=0)))
    world.observe(world.tasks()[0], State.SHUTDOWN)
    world.set_node(world.wanted()[0].node_id, change)
    world.wait(100)
    assert world.status == ("updating", "update in progress")
    world.follow()
    world.wait(6)
    assert world.status == ("completed", "update completed")


def test_scaling_or_labels_alone_update_nothing() -> None:
    world = World()
    world.run(spec(2))
    world.update(replace(spec(3), labels={"a": "b"}))
    assert world.status is None
    assert len(world.tasks()) == 3


def test_only_tasks_whose_node_no_longer_fits_are_exchanged_when_placement_changes() -> None:
    world = World(nodes=2)
    world.set_node("n1", labelled(zone="a"))
    world.run(spec(2))
    world.update(spec(2, constraints=("node.labels.zone == a",)))
    moved = [task for task in world.tasks() if task.desired_state is State.SHUTDOWN]
    assert [task.node_id for task in moved] == ["n2"]
    assert {task.node_id for task in world.wanted()} == {"n1"}


def test_global_services_are_updated_node_by_node() -> None:
    world = World(nodes=3)
    world.run(spec(None, update=ONE))
    world.update(spec(None, image="v2", update=ONE))
    for done in range(1, 4):
        assert sum(task.state is State.SHUTDOWN for task in world.tasks()) == done - 1
        world.follow()
    world.wait(6)
    assert world.status == ("completed", "update completed")
    assert sorted(task.node_id for task in world.wanted()) == ["n1", "n2", "n3"]


@pytest.mark.parametrize("change", [availability("drain"), labelled(zone="b")])
def test_what_ended_for_good_on_a_node_that_takes_no_more_is_left_alone(change: Callable[[Node], Node]) -> None:
    never, where = RestartPolicy(condition="none"), ("node.labels.zone == a",)
    world = World(nodes=1)
    world.set_node("n1", labelled(zone="a"))
    world.run(spec(None, constraints=where, restart=never, update=ONE))
    world.observe(world.tasks()[0], State.FAILED)
    world.set_node("n1", change)
    world.update(spec(None, image="v2", constraints=where, restart=never, update=ONE))
    assert world.shown() == ["0 failed shutdown"]


def test_a_paused_node_is_updated_when_it_serves_again() -> None:
    world = World(nodes=2)
    world.run(spec(None, update=ONE))
    world.set_node("n1", availability("pause"))
    world.update(spec(None, image="v2", update=ONE))
    for _ in range(2):
        world.follow()
    world.wait(6)
    assert world.status == ("completed", "update completed")
    assert [task.spec.container_spec.image for task in world.wanted()] == ["v1", "v2"]
    world.set_node("n1", availability("active"))
    world.follow()
    world.wait(6)
    assert [task.spec.container_spec.image for task in world.wanted()] == ["v2", "v2"]
    assert world.status == ("completed", "update completed")


def test_a_rollback_somebody_asked_for_keeps_its_words() -> None:
    world = World()
    world.run(spec(1))
    world.update(spec(1, image="v2"))
    world.follow()
    world.wait(6)
    world.roll_back()
    assert world.status == ("rollback_started", "manually requested rollback")
    world.follow()
    world.wait(6)
    assert world.status == ("rollback_completed", "rollback completed")
    assert [task.spec.container_spec.image for task in world.wanted()] == ["v1"]


def test_a_task_that_finishes_its_work_has_not_failed() -> None:
    for condition, ended in (("on-failure", "completed"), ("none", "completed"), ("any", "paused")):
        once = RestartPolicy(condition=condition)
        world = World()
        world.create(spec(2, update=ONE, restart=once))
        world.follow(State.COMPLETE)
        world.update(spec(2, image="v2", update=ONE, restart=once))
        for _ in range(2):
            world.follow(State.COMPLETE)
        world.wait(6)
        assert world.status is not None
        assert world.status[0] == ended, condition


def test_many_slots_at_once_take_several_decisions() -> None:
    config = UpdateConfig(parallelism=0)
    world = World()
    world.run(spec(300, update=config))
    service = world.snap.services["web"]
    new = spec(300, image="v2", update=config)
    world.write(Put(replace(service, spec=new, previous_spec=service.spec, update_status=None)))
    world.decide()
    assert world.images().count("v2") == 128
    world.settle()
    assert world.images() == ["v2"] * 300

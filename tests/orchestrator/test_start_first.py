"""Start-first, the new task runs before the old one stops; a slot never has more than these two."""

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, node, spec, state
from vault.model.service import EndpointSpec, Placement, PortConfig, RestartPolicy, ServiceSpec, UpdateConfig
from vault.model.task import State
from vault.store.changes import Put

ONE = UpdateConfig(parallelism=1, monitor=SECOND, order="start-first")
NEVER = RestartPolicy(condition="none")


def updating(world: World, replicas: int | None = 1, config: UpdateConfig = ONE) -> World:
    """Return the world with a service that runs as v1 and is being updated to v2."""
    world.run(spec(replicas, update=config))
    world.update(spec(replicas, image="v2", update=config))
    return world


def test_the_old_task_stops_when_the_new_one_runs() -> None:
    world = updating(World(), 2)
    assert world.shown() == ["1 running running", "2 running running", "1 assigned running"]
    world.observe(world.tasks()[2], State.STARTING)
    assert world.tasks()[0].desired_state is State.RUNNING
    world.observe(world.tasks()[2], State.RUNNING)
    assert world.shown() == [
        "1 running shutdown",
        "2 running running",
        "1 running running",
        "2 assigned running",
    ]


@pytest.mark.parametrize("forgetful", [False, True])
def test_one_slot_after_the_other_until_all_are_done(forgetful: bool) -> None:
    world = updating(World(forgetful=forgetful), 3)
    for _ in range(3):
        world.follow()
    world.wait(2)
    world.follow()
    assert world.status == ("completed", "update completed")
    assert world.images() == ["v2"] * 3
    assert [task.state for task in world.tasks()] == [State.SHUTDOWN] * 3 + [State.RUNNING] * 3


def test_global_services_start_first_too() -> None:
    world = updating(World(nodes=2), None)
    assert sorted(task.node_id for task in world.wanted()) == ["n1", "n1", "n2"]
    for _ in range(2):
        world.follow()
    world.wait(2)
    assert world.status == ("completed", "update completed")
    assert world.images() == ["v2", "v2"]


def test_a_new_task_that_fails_leaves_the_old_one_alone_and_is_tried_again_beside_it() -> None:
    world = updating(World())
    world.follow(State.FAILED)
    assert world.status is not None
    assert world.status[0] == "paused"
    world.wait(6)
    world.follow()  # The next attempt runs.
    world.follow()
    assert world.images() == ["v2"]
    assert [task.state for task in world.tasks()] == [State.SHUTDOWN, State.FAILED, State.RUNNING]


def test_a_new_task_that_is_not_tried_again_leaves_the_old_one_in_its_place() -> None:
    config = replace(ONE, failure_action="continue")
    world = World()
    world.run(spec(2, update=config))
    world.update(spec(2, image="bad", update=config, restart=NEVER))
    for _ in range(3):
        world.follow(State.FAILED)
    world.wait(60)
    assert world.status == ("completed", "update completed")
    assert world.images() == ["v1", "v1"]
    assert len(world.tasks()) == 4, "each slot is tried once"
    world.update(spec(2, image="good", update=config, restart=NEVER))
    for _ in range(3):
        world.follow()
    assert world.images() == ["good", "good"]


def test_an_old_task_that_ends_leaves_the_slot_to_the_new_one() -> None:
    world = updating(World())
    old, new = world.tasks()
    world.observe(old, State.FAILED)
    assert [task.id for task in world.wanted()] == [new.id]
    world.follow()
    assert world.images() == ["v2"]
    assert len(world.tasks()) == 2


def test_both_ended_at_once_are_as_if_the_new_one_had_been_first() -> None:
    world = World()
    world.run(spec(1, update=ONE))
    world.update(spec(1, image="v2", update=ONE, restart=NEVER))
    old, new = world.tasks()
    world.observe(new, State.FAILED, settle=False)
    world.observe(old, State.FAILED, settle=False)
    world.settle()
    world.wait(6)
    assert world.images() == ["v2"], "the policy of the old one asks for a successor"


def test_both_ended_at_once_though_the_old_one_had_taken_over_itself() -> None:
    world = updating(World())
    world.follow()
    world.follow()
    world.wait(2)
    world.update(spec(1, image="v3", update=ONE, restart=NEVER))
    _, old, new = world.tasks()
    assert (old.beside != "", new.beside) == (True, old.id)
    world.observe(old, State.FAILED, settle=False)
    world.observe(new, State.FAILED, settle=False)
    world.settle()
    world.wait(6)
    assert world.images() == ["v3"], "the policy of the old one asks for a successor"


def test_both_lost_with_their_node_leave_one_successor() -> None:
    world = World(nodes=1)
    updating(world)
    world.write(Put(node("n2")))
    world.set_node("n1", state("down"))
    world.wait(6)
    assert [task.node_id for task in world.wanted()] == ["n2"]
    assert world.images() == ["v2"]


def test_a_drained_node_gives_up_both() -> None:
    world = World(nodes=1)
    updating(world)
    world.write(Put(node("n2")))
    world.set_node("n1", availability("drain"))
    world.follow()
    assert [(task.node_id, task.state) for task in world.wanted()] == [("n2", State.RUNNING)]


def test_a_newer_update_drops_the_one_in_hand_and_keeps_what_runs() -> None:
    world = updating(World())
    middle = world.tasks()[1]
    world.observe(middle, State.PREPARING)
    world.update(spec(1, image="v3", update=ONE))
    assert world.shown() == ["1 running running", "1 preparing shutdown", "1 assigned ready"]
    world.observe(middle, State.SHUTDOWN)
    assert world.images() == ["v1", "v3"]
    for _ in range(2):
        world.follow()
    world.wait(2)
    assert world.images() == ["v3"]
    assert world.status == ("completed", "update completed")


def test_a_newer_update_back_to_what_still_runs_needs_no_new_task() -> None:
    world = updating(World())
    world.update(spec(1, update=ONE))
    assert world.shown() == ["1 running running", "1 assigned shutdown"]


@pytest.mark.parametrize("ends", [None, State.FAILED])
def test_what_still_ran_and_ends_for_good_is_not_begun_again_because_its_successor_was_dropped(
    ends: State | None,
) -> None:
    world = World()
    world.run(spec(1, update=ONE, restart=NEVER))
    world.update(spec(1, image="v2", update=ONE, restart=NEVER))
    if ends is not None:
        world.observe(world.tasks()[1], ends, settle=False)
    world.update(spec(1, update=ONE, restart=NEVER))
    assert world.images() == ["v1"]
    world.observe(world.wanted()[0], State.COMPLETE)
    assert world.images() == []


def test_a_newer_update_stop_first_stops_both() -> None:
    world = updating(World())
    world.observe(world.tasks()[1], State.STARTING)
    world.update(spec(1, image="v3", update=replace(ONE, order="stop-first")))
    assert world.shown() == ["1 running shutdown", "1 starting shutdown", "1 assigned ready"]


def test_a_new_task_waits_for_room_beside_the_old_one_and_says_so() -> None:
    world = World(nodes=1)

    def published(image: str) -> ServiceSpec:
        ports = (PortConfig(target_port=80, published_port=80, publish_mode="host"),)
        return replace(spec(1, image=image, update=ONE), endpoint_spec=EndpointSpec(ports=ports))

    world.run(published("v1"))
    world.update(published("v2"))
    assert world.tasks()[1].status.err == "no suitable node (host-mode port already in use on 1 node)"
    world.write(Put(node("n2")))
    world.settle()
    world.follow()
    world.follow()
    assert [task.node_id for task in world.wanted()] == ["n2"]


def test_scaling_down_takes_old_and_new() -> None:
    world = updating(World(), 2)
    world.update(spec(0, image="v2", update=ONE))
    world.follow()
    assert world.tasks() == []


def test_work_that_is_done_takes_over_as_well_as_work_that_goes_on() -> None:
    once = RestartPolicy(condition="on-failure")
    world = World()
    world.run(spec(1, update=ONE, restart=once))
    world.update(spec(1, image="v2", update=ONE, restart=once))
    world.observe(world.tasks()[1], State.COMPLETE)
    assert world.tasks()[0].desired_state is State.SHUTDOWN
    world.wait(2)
    assert world.status == ("completed", "update completed")


@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("parallelism", [0, 1])
def test_a_limit_of_replicas_on_a_node_does_not_bar_the_exchange_there(forgetful: bool, parallelism: int) -> None:
    world = World(nodes=2, forgetful=forgetful)
    update = UpdateConfig(parallelism=parallelism, monitor=SECOND, order="start-first")
    world.run(limited(spec(2, update=update)))
    world.update(limited(spec(2, image="v2", update=update)))
    for _ in range(4):
        world.follow()
        world.wait(2)
    assert world.status == ("completed", "update completed")
    assert world.images() == ["v2", "v2"]
    assert {task.node_id for task in world.wanted()} == {"n1", "n2"}


def test_nor_does_it_bar_that_of_a_global_service() -> None:
    world = World(nodes=2)
    update = UpdateConfig(parallelism=0, monitor=SECOND, order="start-first")
    world.run(limited(spec(None, update=update)))
    world.update(limited(spec(None, image="v2", update=update)))
    for _ in range(2):
        world.follow()
        world.wait(2)
    assert world.status == ("completed", "update completed")
    assert world.images() == ["v2", "v2"]


def limited(wanted: ServiceSpec) -> ServiceSpec:
    """Return the spec with one replica on a node at most."""
    return replace(wanted, task_template=replace(wanted.task_template, placement=Placement(max_replicas=1)))

"""An update that fails goes back to the spec before it, if it is told to; a rollback that fails pauses."""

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, labelled, spec
from vault.model.service import EndpointSpec, PortConfig, Service, ServiceSpec, UpdateConfig
from vault.model.task import State
from vault.store.changes import Put

BACK = UpdateConfig(parallelism=1, monitor=SECOND, failure_action="rollback")


def failing(world: World, replicas: int = 3, config: UpdateConfig = BACK, ends: State = State.FAILED) -> World:
    """Return the world with a service that ran as v1, and whose update to v2 has failed with its first task."""
    world.run(spec(replicas, update=config))
    world.update(spec(replicas, image="v2", update=config))
    world.follow(ends)
    return world


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
@pytest.mark.parametrize("forgetful", [False, True])
def test_the_former_spec_is_put_in_force_again_and_has_none_before_it(order: str, forgetful: bool) -> None:
    world = failing(World(forgetful=forgetful), config=replace(BACK, order=order))
    service = world.snap.services["web"]
    bad = next(task for task in world.tasks() if task.state is State.FAILED)
    assert service.spec.task_template.container_spec.image == "v1"
    assert service.previous_spec is None
    assert [task.spec.container_spec.image for task in world.tasks()].count("v2") == 1, "nobody tried again"
    if order == "stop-first":
        words = f"update rolled back due to failure or early termination of task {bad.id}"
        assert world.status == ("rollback_started", words)
    world.follow()
    world.wait(6)  # A rollback's own monitor time.
    assert world.status == ("rollback_completed", "rollback completed")
    status = world.snap.services["web"].update_status
    assert status is not None
    assert status.reason == f"update rolled back due to failure or early termination of task {bad.id}"
    assert world.images() == ["v1"] * 3
    assert all(task.state is State.RUNNING for task in world.wanted())


def test_the_rollback_goes_by_its_own_settings() -> None:
    world = World()
    back = UpdateConfig(parallelism=0, monitor=2 * SECOND)
    world.run(spec(4, update=replace(BACK, parallelism=2, max_failure_ratio=0.5), rollback=back))
    world.update(spec(4, image="v2", update=replace(BACK, parallelism=2, max_failure_ratio=0.5), rollback=back))
    world.follow()
    assert world.images() == ["v2", "v2", "v2", "v2"]
    world.follow()
    for task in world.wanted()[:3]:
        world.observe(task, State.FAILED)
    assert world.images() == ["v1"] * 4, "all at once"
    world.follow()
    world.wait(1.9)
    assert world.status is not None
    assert world.status[0] == "rollback_started"
    world.wait(0.2)
    assert world.status == ("rollback_completed", "rollback completed")


@pytest.mark.parametrize("action", ["pause", "rollback"])
def test_a_rollback_that_fails_pauses(action: str) -> None:
    world = World()
    rollback = UpdateConfig(parallelism=1, failure_action=action)
    world.run(spec(2, update=BACK, rollback=rollback))
    world.update(spec(2, image="v2", update=BACK, rollback=rollback))
    for _ in range(2):
        world.follow()
    world.observe(world.wanted()[1], State.FAILED)
    world.follow(State.FAILED)
    bad = next(task for task in reversed(world.tasks()) if task.state is State.FAILED)
    words = f"rollback paused due to failure or early termination of task {bad.id}"
    assert world.status == ("rollback_paused", words)
    assert bad.spec.container_spec.image == "v1"


def test_a_rollback_that_pauses_leaves_no_slot_without_the_task_that_its_policy_wants() -> None:
    config = UpdateConfig(parallelism=0, monitor=SECOND, failure_action="rollback", deadline=60 * SECOND)
    back = UpdateConfig(parallelism=1, monitor=SECOND)
    world = World()
    world.run(spec(3, update=config, rollback=back))
    world.update(spec(3, image="v2", update=config, rollback=back))
    world.follow(State.READY)
    for task in world.wanted():
        world.observe(task, State.FAILED, settle=False)
    world.settle()
    world.wait(61)
    assert world.status is not None
    assert world.status[0] == "rollback_paused"
    assert world.images() == ["v1"] * 3


def test_a_task_that_its_node_no_longer_fits_does_not_run_on_until_the_rollback_comes_to_it() -> None:
    world = World(nodes=2)
    world.set_node("n1", labelled(zone="a"))
    here = {"constraints": ("node.labels.zone == a",), "update": UpdateConfig(parallelism=1)}
    world.run(spec(2, **here))
    world.update(spec(2, image="v2", **here))
    for _ in range(2):
        world.follow()
        world.wait(6)
    assert world.images() == ["v2", "v2"]
    world.roll_back()
    assert world.images() == ["v1", "v2"]
    second = world.wanted()[1]
    world.set_node("n1", labelled())
    gone = world.snap.tasks[second.id]
    assert (gone.state, gone.desired_state) == (State.REJECTED, State.SHUTDOWN)
    assert world.images() == ["v1", "v1"]


def test_a_rollback_that_is_to_continue_goes_on_in_spite_of_failures() -> None:
    world = World()
    rollback = UpdateConfig(parallelism=0, failure_action="continue", monitor=SECOND)
    world.run(spec(2, update=BACK, rollback=rollback))
    world.update(spec(2, image="v2", update=BACK, rollback=rollback))
    world.follow(State.FAILED)
    world.follow(State.FAILED)
    world.wait(2)
    assert world.status == ("rollback_completed", "rollback completed")


def test_a_newer_update_takes_over_from_a_rollback_and_from_a_paused_one() -> None:
    for paused in (False, True):
        world = failing(World())
        if paused:
            world.follow(State.FAILED)
        assert world.status is not None
        assert world.status[0] == ("rollback_paused" if paused else "rollback_started")
        world.update(spec(3, image="v3", update=BACK))
        assert world.status == ("updating", "update in progress")
        for _ in range(4):
            world.follow()
        world.wait(6)
        assert world.status == ("completed", "update completed")
        assert world.images() == ["v3"] * 3


def test_a_rollback_somebody_asks_for_during_an_update_takes_over_from_it() -> None:
    world = World()
    world.run(spec(2, update=BACK))
    world.update(spec(2, image="v2", update=BACK))
    world.follow()
    world.roll_back()
    assert world.status == ("rollback_started", "manually requested rollback")
    for _ in range(2):
        world.follow()
    world.wait(6)
    assert world.status == ("rollback_completed", "rollback completed")
    assert world.images() == ["v1", "v1"]
    world.roll_back()  # It swapped the specs, so it goes forward again.
    for _ in range(3):
        world.follow()
    world.wait(6)
    assert world.images() == ["v2", "v2"]


def test_without_a_former_spec_an_update_is_paused_and_says_why() -> None:
    world = failing(World())
    world.follow()
    world.wait(6)
    service = world.snap.services["web"]
    assert service.previous_spec is None
    world.write(Put(replace(service, spec=spec(3, image="v3", update=BACK), update_status=None)))
    world.settle()
    world.follow(State.FAILED)
    assert world.status is not None
    assert world.status[0] == "paused"
    assert world.status[1].endswith("; it cannot be rolled back: service web does not have a previous spec")


def test_a_port_that_another_service_took_meanwhile_keeps_an_update_from_going_back() -> None:
    def published(wanted: ServiceSpec, port: int) -> ServiceSpec:
        return replace(wanted, endpoint_spec=EndpointSpec(ports=(PortConfig(target_port=80, published_port=port),)))

    world = World()
    world.run(published(spec(1, update=BACK), 80))
    world.update(published(spec(1, image="v2", update=BACK), 81))
    world.write(Put(Service(id="other", spec=replace(published(spec(0), 80), name="other"))))
    world.settle()
    world.follow(State.FAILED)
    assert world.status is not None
    assert world.status[0] == "paused"
    assert world.status[1].endswith("port '80' is already in use by service 'other' (other) as an ingress port")

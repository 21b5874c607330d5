"""What becomes of tasks whose node changes or goes."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, labelled, spec, state
from vault.model.node import Node
from vault.model.service import Reservation, Resources, RestartPolicy, Service, UpdateConfig, UpdateState
from vault.model.task import State
from vault.store.changes import Put
from vault.store.snapshot import Stale

AT_ONCE = RestartPolicy(delay=0)
DAY_S = 24 * 3600


def pause(service: Service) -> Service:
    """Return a service whose update was paused."""
    status = service.update_status
    assert status is not None
    return replace(service, update_status=replace(status, state=UpdateState.PAUSED))


def smaller(*, cpus: int) -> Callable[[Node], Node]:
    """Return what gives a node another number of CPUs."""

    def shrink(old: Node) -> Node:
        resources = replace(old.description.resources, nano_cpus=cpus * SECOND)
        return replace(old, description=replace(old.description, resources=resources))

    return shrink


def test_a_task_whose_node_no_longer_fits_is_rejected_and_moves() -> None:
    world = World(nodes=2)
    world.set_node("n1", labelled(zone="a"))
    world.run(spec(1, constraints=("node.labels.zone == a",), restart=AT_ONCE))
    world.set_node("n1", labelled())
    assert world.shown() == ["1 rejected shutdown", "1 pending running"]
    rejected, waiting = world.tasks()
    assert rejected.status.err == "assigned node no longer meets constraints"
    assert waiting.status.err == "no suitable node (scheduling constraints not satisfied on 2 nodes)"
    world.set_node("n2", labelled(zone="a"))
    assert world.wanted()[0].node_id == "n2"
    assert world.wanted()[0].status.err == ""


def test_a_paused_update_leaves_tasks_where_their_own_spec_put_them() -> None:
    """A new leader, or a change of the node, does not do what the update was stopped from doing."""
    config = UpdateConfig(parallelism=1, failure_action="pause")
    world = World(nodes=2, forgetful=True)
    world.set_node("n1", labelled(zone="a"))
    world.run(spec(2, update=config))
    world.update(spec(2, image="v2", constraints=("node.labels.zone == c",), restart=AT_ONCE, update=config))
    world.write(Put(pause(world.snap.services["web"])))
    old = next(task for task in world.tasks() if task.state is State.RUNNING and task.wanted)
    world.set_node(old.node_id, labelled(zone="b"))
    assert world.snap.tasks[old.id].state is State.RUNNING


def test_a_task_that_neither_its_own_spec_nor_the_new_one_allows_is_rejected_though_the_update_is_paused() -> None:
    config = UpdateConfig(parallelism=1, failure_action="pause")
    world = World(nodes=1)
    world.set_node("n1", labelled(zone="a"))
    world.run(spec(2, constraints=("node.labels.zone == a",), update=config))
    world.update(spec(2, image="v2", constraints=("node.labels.zone == c",), restart=AT_ONCE, update=config))
    world.write(Put(pause(world.snap.services["web"])))
    old = next(task for task in world.tasks() if task.state is State.RUNNING and task.wanted)
    world.set_node("n1", labelled(zone="b"))
    assert world.snap.tasks[old.id].state is State.REJECTED


def test_a_task_is_rejected_when_its_service_goes_back_to_what_its_node_no_longer_meets() -> None:
    world = World(nodes=1)
    world.set_node("n1", labelled(zone="a"))
    world.run(spec(1, constraints=("node.labels.zone == a",), restart=AT_ONCE))
    world.update(spec(1, restart=AT_ONCE))
    world.set_node("n1", labelled())
    assert world.shown() == ["1 running running"]
    world.roll_back()
    assert world.shown() == ["1 rejected shutdown", "1 pending running"]


def test_a_task_that_is_still_starting_is_rejected_once_it_runs() -> None:
    world = World(nodes=1)
    world.set_node("n1", labelled(zone="a"))
    world.create(spec(1, constraints=("node.labels.zone == a",), restart=AT_ONCE))
    world.set_node("n1", labelled())
    assert world.shown() == ["1 assigned running"]
    world.observe(world.tasks()[0], State.RUNNING)
    assert world.shown() == ["1 rejected shutdown", "1 pending running"]


def test_a_task_that_is_still_starting_on_a_node_that_is_paused_is_left_alone_until_that_takes_tasks_again() -> None:
    world = World(nodes=1)
    world.set_node("n1", labelled(zone="a"))
    world.create(spec(1, constraints=("node.labels.zone == a",), restart=AT_ONCE))
    world.set_node("n1", availability("pause"))
    world.set_node("n1", labelled())
    world.observe(world.tasks()[0], State.RUNNING)
    assert world.shown() == ["1 running running"]
    world.set_node("n1", availability("active"))
    assert world.shown() == ["1 rejected shutdown", "1 pending running"]


def test_a_task_that_was_starting_when_its_node_became_smaller_is_rejected_once_it_runs() -> None:
    world = World(nodes=1)
    wanted = spec(2, restart=AT_ONCE)
    resources = Resources(reservations=Reservation(nano_cpus=3 * SECOND))
    world.create(replace(wanted, task_template=replace(wanted.task_template, resources=resources)))
    world.observe(world.tasks()[0], State.RUNNING)
    world.wait(1)
    world.set_node("n1", smaller(cpus=4))
    assert [task.state for task in world.tasks()] == [State.RUNNING, State.ASSIGNED]
    world.observe(world.tasks()[1], State.RUNNING)
    assert [task.state for task in world.tasks()] == [State.RUNNING, State.REJECTED, State.PENDING]


def test_so_is_one_whose_node_became_smaller_between_the_decision_to_place_it_there_and_its_commit() -> None:
    world = World(nodes=1)
    wanted = spec(1, restart=AT_ONCE)
    resources = Resources(reservations=Reservation(nano_cpus=3 * SECOND))
    world.announce(replace(wanted, task_template=replace(wanted.task_template, resources=resources)))
    decision = world.decide(refused=True)
    world.write(Put(smaller(cpus=2)(world.snap.nodes["n1"])))
    world.now_s += 0.5
    world.write(*decision.changes)
    world.settle()
    (task,) = world.tasks()
    world.observe(task, State.RUNNING)
    assert [task.state for task in world.tasks()] == [State.REJECTED, State.PENDING]


def test_tasks_that_no_longer_fit_into_a_smaller_node_are_rejected() -> None:
    world = World(nodes=1)
    wanted = spec(3, restart=AT_ONCE)
    resources = Resources(reservations=Reservation(nano_cpus=2 * SECOND))
    wanted = replace(wanted, task_template=replace(wanted.task_template, resources=resources))
    world.run(wanted)
    world.set_node("n1", smaller(cpus=4))
    assert sorted(task.state.value for task in world.tasks()) == ["pending", "rejected", "running", "running"]


def test_tasks_of_a_removed_node_are_orphaned_and_replaced() -> None:
    world = World(nodes=2)
    world.run(spec(1, restart=AT_ONCE))
    home = world.wanted()[0].node_id
    world.remove_node(home)
    assert world.shown() == ["1 orphaned shutdown", "1 assigned running"]
    assert world.wanted()[0].node_id != home


def test_tasks_of_a_node_that_is_down_are_orphaned_after_a_day() -> None:
    world = World(nodes=1)
    world.run(spec(1))
    world.set_node("n1", state("down"))
    world.wait(DAY_S - 60)
    assert world.tasks()[0].state is State.RUNNING
    world.wait(120)
    assert world.tasks()[0].state is State.ORPHANED


@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("change", [labelled(zone="a"), availability("pause"), availability("drain"), state("down")])
def test_whoever_changes_a_node_that_is_down_does_not_begin_its_day_again(
    change: Callable[[Node], Node], forgetful: bool
) -> None:
    world = World(nodes=1, forgetful=forgetful)
    world.run(spec(1))
    world.set_node("n1", state("down"))
    world.wait(DAY_S - 60)
    world.set_node("n1", change)
    assert world.tasks()[0].state is State.RUNNING
    world.wait(120)
    assert world.tasks()[0].state is State.ORPHANED


def test_a_node_that_was_there_for_a_moment_has_a_day_of_its_own_again() -> None:
    world = World(nodes=1)
    world.run(spec(1))
    world.set_node("n1", state("down"))
    world.wait(DAY_S - 60)
    world.set_node("n1", state("ready"))
    world.set_node("n1", state("down"))
    world.wait(DAY_S - 60)
    assert world.tasks()[0].state is State.RUNNING
    world.wait(120)
    assert world.tasks()[0].state is State.ORPHANED


def test_nobody_is_orphaned_whose_node_comes_back_while_that_is_decided() -> None:
    world = World(nodes=1)
    world.run(spec(1))
    world.set_node("n1", state("down"))
    world.now_s += DAY_S + 60
    decided = world.decide(refused=True).changes
    assert decided
    world.write(Put(state("ready")(world.snap.nodes["n1"])))
    with pytest.raises(Stale):
        world.snap.apply(decided, index=world.snap.index + 1, now_s=world.now_s)
    world.settle()
    assert world.tasks()[0].state is State.RUNNING

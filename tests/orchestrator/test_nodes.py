"""What becomes of tasks whose node changes or goes."""

from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, labelled, spec, state
from vault.model.node import Node
from vault.model.service import Reservation, Resources, RestartPolicy
from vault.model.task import State

AT_ONCE = RestartPolicy(delay=0)
DAY_S = 24 * 3600


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


def test_a_task_that_is_still_starting_is_rejected_once_it_runs() -> None:
    world = World(nodes=1)
    world.set_node("n1", labelled(zone="a"))
    world.create(spec(1, constraints=("node.labels.zone == a",), restart=AT_ONCE))
    world.set_node("n1", labelled())
    assert world.shown() == ["1 assigned running"]
    world.observe(world.tasks()[0], State.RUNNING)
    assert world.shown() == ["1 rejected shutdown", "1 pending running"]


def test_tasks_that_no_longer_fit_into_a_smaller_node_are_rejected() -> None:
    world = World(nodes=1)
    wanted = spec(3, restart=AT_ONCE)
    resources = Resources(reservations=Reservation(nano_cpus=2 * SECOND))
    wanted = replace(wanted, task_template=replace(wanted.task_template, resources=resources))
    world.run(wanted)

    def shrink(old: Node) -> Node:
        smaller = replace(old.description.resources, nano_cpus=4 * SECOND)
        return replace(old, description=replace(old.description, resources=smaller))

    world.set_node("n1", shrink)
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

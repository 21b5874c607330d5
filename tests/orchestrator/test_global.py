"""Global services have one task on every node that may run it."""

from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, labelled, node, spec, state
from vault.model.service import Reservation, Resources, RestartPolicy, ServiceSpec
from vault.model.task import State
from vault.store.changes import Put


def on(world: World) -> list[str]:
    """Return the nodes whose task is wanted."""
    return sorted(task.node_id for task in world.wanted())


def test_every_node_gets_a_task_that_is_confirmed_there() -> None:
    world = World(nodes=3)
    world.create(spec(None))
    assert on(world) == ["n1", "n2", "n3"]
    assert {task.slot for task in world.wanted()} == {0}
    assert {task.status.message for task in world.wanted()} == {"scheduler confirmed task can run on preassigned node"}


def test_a_new_node_gets_a_task() -> None:
    world = World(nodes=1)
    world.run(spec(None))
    world.write(Put(node("n2")))
    world.settle()
    assert on(world) == ["n1", "n2"]


def test_only_nodes_that_meet_the_constraints_get_one() -> None:
    world = World(nodes=2)
    world.set_node("n2", labelled(disk="fast ssd"))
    world.run(spec(None, constraints=("node.labels.disk == fast ssd",)))
    assert on(world) == ["n2"]
    world.set_node("n1", labelled(disk="fast ssd"))
    assert on(world) == ["n1", "n2"]


def test_a_drained_node_loses_its_task_and_gets_one_when_it_serves_again() -> None:
    world = World(nodes=2)
    world.run(spec(None))
    world.set_node("n2", availability("drain"))
    assert on(world) == ["n1"]
    world.observe(next(task for task in world.tasks() if task.node_id == "n2"), State.SHUTDOWN)
    world.set_node("n2", availability("active"))
    assert on(world) == ["n1", "n2"]


def test_a_paused_node_keeps_its_task_and_gets_no_new_one() -> None:
    world = World(nodes=2)
    world.set_node("n2", availability("pause"))
    world.run(spec(None))
    assert on(world) == ["n1"]
    world.set_node("n1", availability("pause"))
    assert on(world) == ["n1"]


def test_a_node_that_was_down_starts_afresh_after_its_old_task_has_ended() -> None:
    world = World(nodes=1)
    world.run(spec(None))
    world.set_node("n1", state("down"))
    assert world.shown() == ["0 running shutdown"]
    world.set_node("n1", state("ready"))
    assert world.shown() == ["0 running shutdown", "0 assigned ready"]
    world.observe(world.tasks()[0], State.SHUTDOWN)
    assert world.shown() == ["0 shutdown shutdown", "0 assigned running"]


def test_an_ended_task_is_replaced_on_its_node() -> None:
    world = World(nodes=2)
    world.run(spec(None, restart=RestartPolicy(delay=0)))
    world.observe(world.tasks()[1], State.FAILED)
    assert on(world) == ["n1", "n2"]
    assert len(world.tasks()) == 3


def test_a_task_that_ended_for_good_is_not_made_again() -> None:
    world = World(nodes=1)
    world.run(spec(None, restart=RestartPolicy(condition="none")))
    world.observe(world.tasks()[0], State.COMPLETE)
    world.set_node("n1", labelled(a="b"))
    assert world.shown() == ["0 complete shutdown"]


def test_nothing_is_left_of_a_node_that_was_removed() -> None:
    world = World(nodes=2)
    world.run(spec(None))
    world.remove_node("n2")
    assert [task.node_id for task in world.tasks()] == ["n1"]


def test_a_task_that_waits_for_its_node_in_vain_holds_nobody_up() -> None:
    def reserving(cpus: int) -> ServiceSpec:
        wanted = spec(None)
        resources = Resources(reservations=Reservation(nano_cpus=cpus * SECOND))
        return replace(wanted, task_template=replace(wanted.task_template, resources=resources))

    world = World(nodes=1)
    world.create(reserving(100))
    assert world.shown() == ["0 pending running"]
    world.update(reserving(1))
    assert world.shown() == ["0 pending shutdown", "0 assigned running"]

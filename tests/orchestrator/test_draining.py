"""How far a drain is: who is still there, who is awaited elsewhere, and why that may be in vain."""

from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, job, labelled, node, spec, state
from vault.model.ids import Kind
from vault.model.node import NodeSpec
from vault.model.service import Replicated, Reservation, Resources, RestartPolicy, ServiceMode, ServiceSpec
from vault.model.task import State, TaskStatus
from vault.orchestrator.draining import NOT_RESTARTED, progress
from vault.store.changes import Put
from vault.store.rules_cluster import updated_node

AT_ONCE = RestartPolicy(delay=0)
Awaited = tuple[str, str, bool]


def on_first(wanted: ServiceSpec, *, others: int = 1) -> World:
    """Return a service that runs on n1, a minute ago, and other nodes that came since."""
    world = World(nodes=1)
    world.run(wanted)
    world.write(*(Put(node(f"n{number}")) for number in range(2, 2 + others)))
    world.wait(60)
    return world


def drain(world: World, node_id: str = "n1", *, settle: bool = True) -> None:
    """Drain a node, as the API does."""
    old = world.snap.nodes[node_id]
    drained = replace(old.spec, availability="drain")
    world.write(*updated_node(world.snap, node_id, drained, version=old.version.index, now_s=world.now_s))
    if settle:
        world.settle()


def seen(world: World, node_id: str = "n1") -> tuple[list[str], list[Awaited]]:
    """Return the slots that are still there, and those that are awaited, with the reason."""
    found = progress(world.snap, world.snap.nodes[node_id])
    return (
        [f"{task.slot_key} {task.state.value}" for task in found.leaving],
        [(f"{one.task.slot_key} {one.task.state.value}", one.reason, one.hopeless) for one in found.awaited],
    )


def stopped(world: World) -> None:
    """Let what was asked to stop stop."""
    for task in world.tasks():
        if not task.wanted and not task.state.terminal:
            world.observe(task, State.SHUTDOWN)


def reserving(wanted: ServiceSpec, cpus: int) -> ServiceSpec:
    """Return a spec whose tasks keep processors for themselves."""
    resources = Resources(reservations=Reservation(nano_cpus=cpus * SECOND))
    return replace(wanted, task_template=replace(wanted.task_template, resources=resources))


def test_a_drain_is_over_when_nothing_is_there_and_all_of_it_runs_elsewhere() -> None:
    world = on_first(spec(2, restart=AT_ONCE))
    drain(world, settle=False)
    assert seen(world) == (["1 running", "2 running"], [])
    world.settle()
    assert seen(world) == (["1 running", "2 running"], [("1 assigned", "", False), ("2 assigned", "", False)])
    stopped(world)
    assert seen(world) == ([], [("1 assigned", "", False), ("2 assigned", "", False)])
    world.follow()
    assert seen(world) == ([], [])


def test_who_has_no_place_says_why_and_comes_when_there_is_one() -> None:
    world = on_first(reserving(spec(2, restart=AT_ONCE), cpus=4), others=0)
    world.write(Put(node("n2", cpus=4)))
    drain(world)
    stopped(world)
    world.follow()
    reason = "no suitable node (1 node not available for new tasks; insufficient resources on 1 node)"
    assert seen(world) == ([], [("2 pending", reason, True)])
    world.write(Put(node("n3")))
    world.settle()
    assert seen(world) == ([], [("2 assigned", "", False)])


def test_what_its_restart_policy_gives_up_is_said() -> None:
    world = on_first(spec(1, restart=RestartPolicy(condition="none")))
    drain(world)
    stopped(world)
    assert seen(world) == ([], [("1 shutdown", NOT_RESTARTED, True)])


def test_who_was_replaced_by_a_task_that_has_done_its_work_is_not_awaited() -> None:
    world = on_first(spec(1, restart=RestartPolicy(condition="on-failure", delay=0)))
    drain(world)
    stopped(world)
    world.observe(world.wanted()[0], State.COMPLETE)
    assert world.shown() == ["1 shutdown shutdown", "1 complete shutdown"]
    assert seen(world) == ([], [])


def test_only_a_task_without_a_node_waits_in_vain_and_only_if_it_was_told_why() -> None:
    world = on_first(spec(1, restart=AT_ONCE))
    drain(world)
    stopped(world)
    (task,) = world.wanted()
    for status, expected in (
        (TaskStatus(state=State.PENDING), ("1 pending", "", False)),
        (TaskStatus(state=State.PENDING, err="no"), ("1 pending", "no", True)),
        (TaskStatus(state=State.PREPARING, err="no"), ("1 preparing", "no", False)),
    ):
        world.write(Put(replace(world.snap.tasks[task.id], status=status)))
        assert seen(world) == ([], [expected])


def test_a_global_service_leaves_and_nobody_is_awaited() -> None:
    world = on_first(spec(None, restart=AT_ONCE))
    drain(world)
    assert seen(world) == (["n1 running"], [])
    stopped(world)
    assert seen(world) == ([], [])


def test_a_job_is_awaited_until_it_has_completed_or_runs_elsewhere() -> None:
    world = World(nodes=1)
    world.create(job(1, restart=AT_ONCE))
    world.observe(world.tasks()[0], State.RUNNING)
    world.write(Put(node("n2")))
    world.wait(60)
    drain(world)
    stopped(world)
    assert seen(world) == ([], [("0 assigned", "", False)])
    world.observe(world.wanted()[0], State.RUNNING)
    assert seen(world) == ([], [])
    world.observe(world.wanted()[0], State.COMPLETE)
    assert seen(world) == ([], [])


def test_what_is_no_longer_wanted_is_not_awaited() -> None:
    world = on_first(spec(3, restart=AT_ONCE))
    drain(world)
    stopped(world)
    world.update(replace(spec(1, restart=AT_ONCE), mode=ServiceMode(replicated=Replicated(replicas=1))))
    assert [slot for slot, _, _ in seen(world)[1]] == ["1 assigned"]
    world.remove()
    assert seen(world) == ([], [])


def test_what_left_before_the_drain_is_not_awaited() -> None:
    failed = on_first(spec(1, restart=AT_ONCE))
    failed.set_node("n1", availability("pause"))
    failed.observe(failed.tasks()[0], State.FAILED)
    drain(failed)
    assert failed.wanted()[0].state is State.ASSIGNED
    assert seen(failed) == ([], [])
    updated = on_first(spec(1, restart=AT_ONCE))
    updated.set_node("n1", availability("pause"))
    updated.update(spec(1, image="v2", restart=AT_ONCE))
    stopped(updated)
    updated.wait(1)
    drain(updated)
    assert updated.wanted()[0].state is State.ASSIGNED
    assert seen(updated) == ([], [])


def test_the_time_of_a_drain_is_that_of_its_beginning() -> None:
    world = on_first(spec(1, restart=AT_ONCE))
    drain(world, settle=False)
    since = world.snap.nodes["n1"].drained_at
    world.now_s += 5
    drain(world, settle=False)
    assert world.snap.nodes["n1"].drained_at == since
    old = world.snap.nodes["n1"]
    world.write(*updated_node(world.snap, "n1", NodeSpec(), version=old.version.index, now_s=world.now_s))
    assert world.snap.nodes["n1"].drained_at is None


def test_tasks_of_a_node_that_is_down_are_replaced_and_not_waited_for() -> None:
    world = on_first(spec(1, restart=AT_ONCE))
    world.set_node("n1", state("down"))
    drain(world)
    world.wait(30)
    world.observe(world.wanted()[0], State.RUNNING)
    assert world.shown() == ["1 running shutdown", "1 running running"]
    assert seen(world) == ([], [])


def test_a_global_service_follows_labels_from_node_to_node() -> None:
    world = World(nodes=2)
    world.run(spec(None, constraints=("node.labels.disk == ssd",), restart=AT_ONCE))
    assert world.wanted() == []
    world.set_node("n2", labelled(disk="ssd"))
    (task,) = world.wanted()
    assert (task.node_id, task.state) == ("n2", State.ASSIGNED)
    world.observe(task, State.RUNNING)
    world.set_node("n2", labelled())
    world.set_node("n1", labelled(disk="ssd"))
    assert [task.node_id for task in world.wanted()] == ["n1"]
    assert world.snap.get(Kind.TASK, task.id) is not None
    assert not world.snap.tasks[task.id].wanted

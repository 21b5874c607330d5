"""Rebalances: tasks move under their service's update settings, to where the plan says, and no more of them."""

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World, availability, job, labelled, node, spec
from vault.model.service import (
    Replicated,
    Reservation,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    UpdateConfig,
)
from vault.model.task import State, Task
from vault.orchestrator.rebalancing import Plan, begun, plan
from vault.store.changes import Put

AT_ONCE = RestartPolicy(delay=0)


def crowded(wanted: ServiceSpec, *, forgetful: bool = False, others: int = 1) -> World:
    """Return a service whose tasks all run on n1, and nodes that came later."""
    world = World(nodes=1, forgetful=forgetful)
    world.run(wanted)
    world.write(*(Put(node(f"n{number}")) for number in range(2, 2 + others)))
    world.settle()
    world.wait(60)
    return world


def rebalance(world: World, *, onto: tuple[str, ...] | None = None, nodes: bool = False) -> Plan:
    """Plan and begin, as the API does."""
    made = plan(world.snap, world.snap.services.values(), onto=onto, nodes=nodes, now_s=world.now_s)
    world.write(*begun(world.snap, made.moves, made.versions, now_s=world.now_s))
    world.settle()
    return made


def running(world: World) -> dict[str, int]:
    """Return how many tasks run on each node that has some."""
    found: dict[str, int] = {}
    for task in world.tasks():
        if task.state is State.RUNNING:
            found[task.node_id] = found.get(task.node_id, 0) + 1
    return dict(sorted(found.items()))


def changing(world: World) -> list[Task]:
    """Return the tasks that are to run and do not yet."""
    return [task for task in world.wanted() if task.state is not State.RUNNING]


def play(world: World, *, least: int) -> None:
    """Let nodes do what they are told, one task after the other, until nothing happens; so many run at any time."""
    for _ in range(100):
        stopping = [task for task in world.tasks() if not task.wanted and not task.state.terminal]
        starting = [task for task in changing(world) if task.desired_state is State.RUNNING]
        if stopping:
            world.observe(stopping[0], State.SHUTDOWN)
        elif starting:
            world.observe(starting[0], State.RUNNING)
        else:
            world.wait(1)
            if world.again_s is None:
                return
        assert sum(running(world).values()) >= least
    raise AssertionError("it never ends")


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_node_that_came_later_gets_its_share_one_task_at_a_time(forgetful: bool) -> None:
    world = crowded(spec(5, restart=AT_ONCE), forgetful=forgetful)
    made = rebalance(world)
    assert [(move.task.slot, move.to) for move in made.moves] == [(5, "n2"), (4, "n2")]
    assert world.status == ("updating", "rebalance in progress")
    assert [(task.slot, task.node_id) for task in changing(world)] == [(4, "n2")]
    play(world, least=4)
    assert world.status == ("completed", "rebalance completed")
    assert running(world) == {"n1": 3, "n2": 2}
    assert [task.slot for task in world.wanted()] == [1, 2, 3, 4, 5]
    assert rebalance(world).moves == ()


def test_start_first_nothing_is_missing_meanwhile() -> None:
    update = UpdateConfig(parallelism=1, order="start-first", monitor=SECOND)
    world = crowded(spec(4, restart=AT_ONCE, update=update))
    rebalance(world)
    assert running(world) == {"n1": 4}
    play(world, least=4)
    assert running(world) == {"n1": 2, "n2": 2}
    assert world.status == ("completed", "rebalance completed")


def test_so_many_move_at_a_time_as_the_update_settings_say() -> None:
    world = crowded(spec(8, restart=AT_ONCE, update=UpdateConfig(parallelism=2)))
    rebalance(world)
    assert len(changing(world)) == 2
    play(world, least=6)
    assert running(world) == {"n1": 4, "n2": 4}
    at_once = crowded(spec(8, restart=AT_ONCE, update=UpdateConfig(parallelism=0)))
    rebalance(at_once)
    assert len(changing(at_once)) == 4


def test_the_delay_between_updates_is_kept() -> None:
    world = crowded(spec(4, restart=AT_ONCE, update=UpdateConfig(parallelism=1, delay=30 * SECOND)))
    rebalance(world)
    (first,) = changing(world)
    world.follow()
    world.follow()
    assert world.snap.tasks[first.id].state is State.RUNNING
    world.wait(29)
    assert changing(world) == []
    world.wait(2)
    assert len(changing(world)) == 1


def test_a_task_that_fails_where_it_came_pauses_the_rebalance() -> None:
    for action in ("pause", "rollback"):
        world = crowded(spec(6, restart=AT_ONCE, update=UpdateConfig(parallelism=1, failure_action=action)))
        before = world.snap.services["web"].spec
        rebalance(world)
        (first,) = changing(world)
        world.observe(first, State.FAILED)
        reason = f"rebalance paused due to failure or early termination of task {first.id}"
        assert world.status == ("paused", reason)
        assert world.snap.services["web"].spec == before
        world.follow()
        world.wait(60)
        assert len([task for task in world.tasks() if not task.wanted and task.stop_asked_at is not None]) <= 2
        assert rebalance(world).moves != ()  # It may be tried again.
        assert world.status == ("updating", "rebalance in progress")


def test_failures_may_be_put_up_with() -> None:
    world = crowded(spec(4, restart=AT_ONCE, update=UpdateConfig(parallelism=1, failure_action="continue")))
    rebalance(world)
    (first,) = changing(world)
    world.observe(first, State.FAILED)
    assert world.status == ("updating", "rebalance in progress")
    play(world, least=2)
    assert world.status == ("completed", "rebalance completed")


def test_a_deadline_ends_a_rebalance_too() -> None:
    world = crowded(spec(4, restart=AT_ONCE, update=UpdateConfig(parallelism=1, deadline=60 * SECOND)))
    rebalance(world)
    world.wait(61)
    assert world.status is not None
    assert world.status[0] == "paused"
    assert world.status[1].startswith("rebalance paused because it was not completed within 1m0s: web.3 is assigned")


def test_an_update_overtakes_it() -> None:
    world = crowded(spec(4, restart=AT_ONCE, update=UpdateConfig(parallelism=1)))
    rebalance(world)
    world.update(spec(4, image="v2", restart=AT_ONCE, update=UpdateConfig(parallelism=1)))
    assert world.status == ("updating", "update in progress")
    play(world, least=2)
    assert world.images() == ["v2"] * 4


def test_scaling_overtakes_it_and_leaves_no_slot_twice() -> None:
    world = crowded(spec(4, restart=AT_ONCE))
    rebalance(world)
    world.update(replace(spec(2, restart=AT_ONCE), mode=ServiceMode(replicated=Replicated(replicas=2))))
    play(world, least=0)
    assert len(world.wanted()) == 2
    assert len({task.slot for task in world.wanted()}) == 2


def test_a_task_that_ended_for_good_before_its_turn_stays_so() -> None:
    world = crowded(spec(4, restart=RestartPolicy(condition="none")))
    made = rebalance(world)
    started = {task.slot for task in changing(world)}
    (last,) = [move.task for move in made.moves if move.task.slot not in started]
    world.observe(last, State.COMPLETE)
    play(world, least=2)
    assert world.snap.tasks[last.id].stays_down
    assert last.slot not in {task.slot for task in world.wanted()}
    assert world.status == ("completed", "rebalance completed")


def test_a_task_whose_aim_is_gone_goes_where_the_scheduler_says() -> None:
    world = crowded(spec(2, restart=AT_ONCE), others=2)
    made = plan(world.snap, world.snap.services.values(), onto=None, nodes=False, now_s=world.now_s)
    (move,) = made.moves
    assert move.to == "n2"
    world.write(*begun(world.snap, made.moves, made.versions, now_s=world.now_s))
    world.set_node("n2", availability("pause"))
    assert [task.node_id for task in changing(world)] == ["n3"]


def test_who_may_not_move_says_why() -> None:
    def reasons(world: World) -> list[str]:
        return [reason for _, reason in rebalance(world, nodes=True).skipped]

    assert reasons(crowded(spec(None))) == ["a global service has one task on every node that will do"]
    batch = World(nodes=1)
    batch.create(job(2))
    assert reasons(batch) == ["the tasks of a job end by themselves"]
    world = crowded(spec(4, restart=AT_ONCE, update=UpdateConfig(parallelism=1)))
    rebalance(world)
    assert reasons(world) == ["it is being rebalanced already"]
    world.update(spec(4, image="v2", restart=AT_ONCE, update=UpdateConfig(parallelism=1)))
    assert reasons(world) == ["it is being updated"]
    world.observe(next(task for task in changing(world) if task.spec.container_spec.image == "v2"), State.FAILED)
    assert reasons(world) == ["its update is paused"]


def test_a_service_that_changed_since_the_plan_is_left_as_it_is() -> None:
    world = crowded(spec(4, restart=AT_ONCE))
    made = plan(world.snap, world.snap.services.values(), onto=None, nodes=False, now_s=world.now_s)
    world.update(spec(4, image="v2", restart=AT_ONCE))
    assert begun(world.snap, made.moves, made.versions, now_s=world.now_s) == ()
    world.remove()
    assert begun(world.snap, made.moves, made.versions, now_s=world.now_s) == ()


def test_a_service_stays_as_it_is_when_a_node_that_it_was_to_move_to_takes_no_tasks_any_more() -> None:
    world = crowded(spec(4, restart=AT_ONCE), others=2)
    made = plan(world.snap, world.snap.services.values(), onto=None, nodes=False, now_s=world.now_s)
    assert sorted(move.to for move in made.moves) == ["n2", "n3"]
    world.set_node("n3", availability("pause"))
    assert begun(world.snap, made.moves, made.versions, now_s=world.now_s) == ()
    world.set_node("n3", availability("active"))
    assert len(begun(world.snap, made.moves, made.versions, now_s=world.now_s)) == 1


def test_an_update_that_has_yet_to_begin_is_no_rebalance() -> None:
    """It would be called one, and when it fails nothing would be rolled back."""
    update = UpdateConfig(parallelism=1, failure_action="rollback")
    world = crowded(spec(4, restart=AT_ONCE, update=update))
    service = world.snap.services["web"]
    wanted = spec(4, image="v2", restart=AT_ONCE, update=update)
    world.write(Put(replace(service, spec=wanted, previous_spec=service.spec, update_status=None)))
    made = plan(world.snap, world.snap.services.values(), onto=None, nodes=True, now_s=world.now_s)
    assert (made.moves, made.skipped) == ((), (("web", "it is being updated"),))
    world.settle()
    assert world.status == ("updating", "update in progress")


def test_tasks_that_a_changed_placement_leaves_where_they_are_may_move() -> None:
    world = crowded(spec(4, restart=AT_ONCE))
    world.update(spec(4, restart=AT_ONCE, constraints=("node.id != n9",)))
    assert len({task.spec_version for task in world.wanted()} - {world.snap.services["web"].spec_version}) == 1
    rebalance(world)
    play(world, least=3)
    assert running(world) == {"n1": 2, "n2": 2}


def test_tasks_of_a_paused_node_stay_and_none_come() -> None:
    world = crowded(spec(4, restart=AT_ONCE))
    world.set_node("n1", availability("pause"))
    assert rebalance(world, nodes=True).moves == ()
    world.set_node("n1", availability("active"))
    world.set_node("n2", availability("pause"))
    assert rebalance(world, nodes=True).moves == ()


def test_only_nodes_that_will_do_get_tasks() -> None:
    world = World(nodes=1)
    world.set_node("n1", labelled(disk="ssd"))
    world.run(spec(4, constraints=("node.labels.disk == ssd",), restart=AT_ONCE))
    world.write(Put(node("n2")), Put(node("n3", labels={"disk": "ssd"})))
    world.settle()
    assert [move.to for move in rebalance(world, nodes=True).moves] == ["n3", "n3"]


def lone(number: int) -> ServiceSpec:
    return replace(spec(1, restart=AT_ONCE), name=f"s{number}")


def many(count: int, others: int = 2) -> World:
    """Return services of one task each, all on n1, and idle nodes."""
    world = World(nodes=1)
    for number in range(count):
        world.create(lone(number), f"s{number}")
    for task in world.tasks():
        world.observe(task, State.RUNNING)
    world.write(*(Put(node(f"n{number}")) for number in range(2, 2 + others)))
    world.settle()
    world.wait(60)
    return world


def test_nodes_get_about_as_many_tasks_though_each_service_has_but_one() -> None:
    world = many(6)
    assert rebalance(world).moves == ()  # Each service by itself is spread as evenly as it can be.
    made = rebalance(world, nodes=True)
    assert sorted(move.to for move in made.moves) == ["n2", "n2", "n3", "n3"]
    play(world, least=0)
    assert running(world) == {"n1": 2, "n2": 2, "n3": 2}
    assert rebalance(world, nodes=True).moves == ()


def test_one_node_gets_its_share_and_the_others_are_left_alone() -> None:
    world = many(6)
    made = rebalance(world, onto=("n3",), nodes=True)
    assert [move.to for move in made.moves] == ["n3", "n3", "n3"]
    play(world, least=0)
    assert running(world) == {"n1": 3, "n3": 3}
    assert rebalance(world, onto=("n3",), nodes=True).moves == ()


def test_a_smaller_node_gets_what_fits() -> None:
    wanted = spec(6, restart=AT_ONCE)
    kept = Resources(reservations=Reservation(nano_cpus=SECOND))
    world = crowded(replace(wanted, task_template=replace(wanted.task_template, resources=kept)), others=0)
    world.write(Put(node("n2", cpus=2)))
    world.settle()
    assert [move.to for move in rebalance(world).moves] == ["n2", "n2"]

"""Tasks get the node that suits them best, or the reason why there is none."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from tests.scheduler.world import NOW_S, node, on, pending, reserve, schedule, settle, snapshot, tasks_in
from vault.model.base import from_s
from vault.model.container import ContainerSpec, Mount, VolumeOptions
from vault.model.ids import Kind
from vault.model.network import Network, NetworkAttachment, NetworkSpec
from vault.model.node import EncryptionMeans, Engine, NodeSpec, NodeStatus, Plugin
from vault.model.secret import Driver
from vault.model.service import Placement, PortConfig
from vault.model.task import Failure, State, Task, TaskStatus
from vault.scheduler.needs import group_of
from vault.scheduler.schedule import MAX_CHANGES, MAX_READ, Scheduler
from vault.store.changes import Delete, Put
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot


def test_a_service_is_spread_over_the_nodes() -> None:
    placed = schedule(node("a"), node("b"), node("c"), *(pending(f"t{n}") for n in range(6)))
    assert sorted(placed.values()) == ["a", "a", "b", "b", "c", "c"]


def test_fewer_tasks_of_the_service_count_before_fewer_tasks() -> None:
    others = [on(pending(f"o{n}", "other"), "b") for n in range(3)]
    placed = schedule(node("a"), node("b"), on(pending("t0"), "a"), *others, pending("t1"))
    assert placed == {"t1": "b"}


def test_a_service_comes_to_a_busy_node_before_it_comes_to_an_idle_one_twice() -> None:
    others = [on(pending(f"o{n}", "other"), "b") for n in range(3)]
    assert schedule(node("a"), node("b"), *others, pending("t0"), pending("t1")) == {"t0": "a", "t1": "b"}


def test_among_equals_the_node_with_fewer_tasks_is_taken() -> None:
    assert schedule(node("a"), node("b"), on(pending("o", "other"), "a"), pending("t")) == {"t": "b"}


def test_whoever_comes_with_tasks_that_a_rebalance_moves_is_spread_beside_them() -> None:
    moves = replace(pending("t1"), aims_at="a")
    assert schedule(node("a"), node("b"), pending("t0"), moves) == {"t0": "b", "t1": "a"}


def test_so_is_whoever_a_rebalance_moves_to_a_node_that_takes_nobody_now() -> None:
    paused = replace(node("p"), spec=NodeSpec(availability="pause"))
    moves = (replace(pending("t0"), aims_at="p"), replace(pending("t1"), aims_at="a"))
    assert schedule(node("a"), node("b"), paused, *moves) == {"t0": "b", "t1": "a"}


def test_a_node_where_the_service_failed_five_times_lately_goes_last() -> None:
    failed = [on(pending(f"f{n}"), "a", State.FAILED) for n in range(5)]
    busy = [on(pending(f"t{n}"), "b") for n in range(3)]
    assert schedule(node("a"), node("b"), *failed, *busy, pending("t")) == {"t": "b"}
    assert schedule(node("a"), node("b"), *failed[1:], *busy, pending("t")) == {"t": "a"}
    assert schedule(node("a"), node("b"), *failed, *busy, pending("t"), after_s=301) == {"t": "a"}


def test_what_a_task_tells_of_failures_counts_once_beside_what_history_keeps() -> None:
    kept = [on(pending(f"f{n}"), "a", State.FAILED) for n in range(2)]
    busy = [on(pending(f"t{n}"), "b") for n in range(3)]

    def told_of(*numbers: int, ago_s: float = 60.0) -> Task:
        told = [Failure(task_id=f"f{n}", node_id="a", at=from_s(NOW_S - ago_s)) for n in numbers]
        return replace(pending("t"), failed_before=tuple(told))

    assert schedule(node("a"), node("b"), *kept, *busy, told_of(1, 2, 3, 4)) == {"t": "b"}
    assert schedule(node("a"), node("b"), *kept, *busy, told_of(0, 1, 2, 3)) == {"t": "a"}
    assert schedule(node("a"), node("b"), *busy, told_of(0, 1, 2, 3, 4)) == {"t": "b"}
    assert schedule(node("a"), node("b"), *busy, told_of(0, 1, 2, 3, 4, ago_s=301)) == {"t": "a"}


def test_what_a_task_tells_of_failures_is_forgotten_with_it() -> None:
    scheduler = Scheduler()
    told = [Failure(task_id=f"f{n}", node_id="a", at=from_s(NOW_S)) for n in range(5)]
    tells = replace(pending("t"), failed_before=tuple(told))
    before = settle(snapshot(node("a"), node("b"), tells), scheduler)
    assert before.tasks["t"].node_id == "b"
    group = group_of(tells)
    assert scheduler._fleet.failing(group, from_s(NOW_S)) == {"a": 5}
    after = before.apply([Delete(Kind.TASK, "t", before.tasks["t"].version.index)], index=before.index + 1, now_s=NOW_S)
    scheduler(after, after.changed_since(before), now_s=NOW_S, new_id=str)
    assert scheduler._fleet.failing(group, from_s(NOW_S)) == {}


def test_what_is_reserved_is_not_given_twice() -> None:
    tasks = [pending(f"t{n}", resources=reserve(cpus=3)) for n in range(3)]
    placed = schedule(node("a"), node("b"), *tasks)
    assert placed == {"t0": "a", "t1": "b", "t2": "no suitable node (insufficient resources on 2 nodes)"}


def test_a_task_that_is_stopping_still_has_its_resources() -> None:
    stopping = replace(on(pending("old", resources=reserve(memory=4096)), "a"), desired_state=State.SHUTDOWN)
    reason = "no suitable node (insufficient resources on 1 node)"
    assert schedule(node("a"), stopping, pending("t", resources=reserve(memory=1))) == {"t": reason}


def test_each_node_is_counted_against_the_first_filter_it_fails_the_most_frequent_first() -> None:
    paused = replace(node("p", cpus=0), spec=NodeSpec(availability="pause"))
    down = replace(node("d"), status=NodeStatus(state="down"))
    wanted = pending("t", resources=reserve(cpus=8), placement=Placement(constraints=("node.labels.zone == x",)))
    assert schedule(paused, down, node("a"), node("b"), node("c"), node("big", cpus=9), wanted) == {
        "t": "no suitable node (insufficient resources on 3 nodes; 2 nodes not available for new tasks; "
        "scheduling constraints not satisfied on 1 node)"
    }


def test_a_cluster_without_nodes_says_so() -> None:
    assert schedule(pending("t")) == {"t": "no suitable node"}


def test_the_platform_must_fit_whatever_its_name() -> None:
    arm = pending("t", placement=Placement(platforms=({"Architecture": "arm64", "OS": "linux"},)))
    assert schedule(node("a"), arm) == {"t": "no suitable node (unsupported platform on 1 node)"}
    assert schedule(node("a"), node("b", arch="aarch64"), arm) == {"t": "b"}
    anything = pending("t", placement=Placement(platforms=({"Architecture": "", "OS": "linux"},)))
    assert schedule(node("a"), anything) == {"t": "a"}


def test_a_host_port_is_opened_once_on_a_node() -> None:
    port = (PortConfig(target_port=80, published_port=8080, publish_mode="host"),)
    first, second = (replace(pending(f"t{n}", f"s{n}"), host_ports=port) for n in range(2))
    assert schedule(node("a"), on(first, "a"), second) == {
        "t1": "no suitable node (host-mode port already in use on 1 node)"
    }
    assert schedule(node("a"), node("b"), first, second) == {"t0": "a", "t1": "b"}


def test_a_service_has_so_many_tasks_on_a_node_and_no_more() -> None:
    tasks = [pending(f"t{n}", placement=Placement(max_replicas=1)) for n in range(2)]
    assert schedule(node("a"), *tasks) == {
        "t0": "a",
        "t1": "no suitable node (max replicas per node limit exceed)",
    }


def test_tasks_made_for_a_node_come_first_and_go_nowhere_else() -> None:
    mine = replace(pending("z", "all", resources=reserve(cpus=4)), slot=0, node_id="a")
    other = pending("t", resources=reserve(cpus=4))
    assert schedule(node("a"), node("b"), mine, other) == {"z": "a", "t": "b"}
    assert schedule(node("a"), node("b"), on(other, "a"), mine) == {
        "z": "no suitable node (insufficient resources on 1 node)"
    }


def test_a_task_made_for_a_node_waits_for_room_there_and_gets_it() -> None:
    scheduler = Scheduler()
    mine = replace(pending("mine", "all", resources=reserve(cpus=4)), slot=0, node_id="a")
    snap = settle(snapshot(node("a"), on(pending("o", resources=reserve(cpus=1)), "a"), mine), scheduler)
    assert snap.tasks["mine"].status.err == "no suitable node (insufficient resources on 1 node)"
    ended = replace(snap.tasks["o"], status=TaskStatus(state=State.COMPLETE))
    after = snap.apply([Put(ended)], index=snap.index + 1, now_s=NOW_S)
    (task,) = tasks_in(scheduler(after, after.changed_since(snap), now_s=NOW_S, new_id=str))
    assert (task.id, task.state) == ("mine", State.ASSIGNED)


def test_a_pending_task_is_placed_when_a_label_appears() -> None:
    scheduler = Scheduler()
    wants = pending("t", placement=Placement(constraints=("node.labels.disk == ssd",)))
    snap = settle(snapshot(node("a"), node("b"), wants), scheduler)
    assert snap.tasks["t"].status.err == "no suitable node (scheduling constraints not satisfied on 2 nodes)"
    labelled = replace(snap.nodes["b"], spec=NodeSpec(labels={"disk": "ssd"}))
    after = snap.apply([Put(labelled)], index=snap.index + 1, now_s=NOW_S)
    (task,) = tasks_in(scheduler(after, after.changed_since(snap), now_s=NOW_S, new_id=str))
    assert (task.node_id, task.status.err) == ("b", "")


def test_a_driver_that_a_node_lacks_is_a_reason() -> None:
    engine = Engine(plugins=(Plugin(type="Log", name="json-file"), Plugin(type="Volume", name="local")))
    both = Engine(plugins=(*engine.plugins, Plugin(type="Log", name="syslog"), Plugin(type="Volume", name="nfs")))
    nfs = Mount(type="volume", target="/x", volume_options=VolumeOptions(driver_config=Driver(name="nfs")))
    for spec in ({"log_driver": Driver(name="syslog")}, {"container_spec": ContainerSpec(mounts=(nfs,))}):
        wants = pending("t", **spec)
        assert schedule(node("a", engine=engine), wants) == {"t": "no suitable node (missing plugin on 1 node)"}
        assert schedule(node("a", engine=engine), node("b", engine=both), wants) == {"t": "b"}
    local = Mount(type="volume", target="/x", volume_options=VolumeOptions(driver_config=Driver(name="local")))
    container = ContainerSpec(mounts=(local, Mount(type="volume", target="/y"), Mount(type="tmpfs", target="/z")))
    everywhere = pending("t", container_spec=container, log_driver=Driver(name="none"))
    assert schedule(node("a", engine=Engine(plugins=(Plugin(type="Volume", name="x"),))), everywhere) == {"t": "a"}


def test_a_driver_of_a_network_that_a_node_lacks_is_a_reason() -> None:
    net = Network(id="n", spec=NetworkSpec(name="n"), driver_state=Driver(name="overlay"))
    wants = replace(pending("t"), networks_attachments=(NetworkAttachment(network=net),))
    lacks = node("a", engine=Engine(plugins=(Plugin(type="Network", name="host"),)))
    has = node("b", engine=Engine(plugins=(Plugin(type="Network", name="overlay"),)))
    assert schedule(lacks, wants) == {"t": "no suitable node (missing plugin on 1 node)"}
    assert schedule(lacks, has, on(pending("o", "other"), "b"), wants) == {"t": "b"}


def test_a_reason_is_kept_current_and_goes_when_a_node_is_found() -> None:
    scheduler = Scheduler()
    snap = Snapshot().apply([Put(pending("t"))], index=1, now_s=NOW_S)
    before: Snapshot | None = None
    reasons = []
    steps: list[list[Put]] = [[], [Put(replace(node("a"), status=NodeStatus(state="down")))], [], [Put(node("b"))], []]
    for index, step in enumerate(steps, 2):
        snap = snap.apply(step, index=index, now_s=NOW_S)
        changed = snap.changed_since(before) if before else None
        before = snap
        decision = scheduler(snap, changed, now_s=NOW_S, new_id=str)
        snap = snap.apply(decision.changes, index=index + 100, now_s=NOW_S)
        reasons.append((snap.tasks["t"].status.err, len(decision.changes)))
        before = None
    assert reasons == [
        ("no suitable node", 1),
        ("no suitable node (1 node not available for new tasks)", 1),
        ("no suitable node (1 node not available for new tasks)", 0),
        ("", 1),
        ("", 0),
    ]


def test_tasks_nobody_wants_any_more_are_not_placed() -> None:
    unwanted = replace(pending("t"), desired_state=State.SHUTDOWN)
    assert schedule(node("a"), unwanted) == {}


def test_many_tasks_are_placed_in_several_decisions() -> None:
    scheduler = Scheduler()
    snap = Snapshot().apply([Put(node("a")), *(Put(pending(f"t{n}")) for n in range(600))], index=1, now_s=NOW_S)
    changed, decisions = None, 0
    while True:
        decision = scheduler(snap, changed, now_s=NOW_S, new_id=str)
        if not decision.changes:
            break
        decisions += 1
        before, snap = snap, snap.apply(decision.changes, index=snap.index + 1, now_s=NOW_S)
        changed = snap.changed_since(before)
    assert decisions == 3
    assert {task.state for task in snap.tasks.values()} == {State.ASSIGNED}


def test_a_large_service_holds_up_nobody() -> None:
    scheduler = Scheduler()
    large = [pending(f"a{n:04}", "large") for n in range(2 * MAX_CHANGES)]
    snap = snapshot(node("a"), *large, pending("z", "small"))
    first = scheduler(snap, None, now_s=NOW_S, new_id=str)
    after = snap.apply(first.changes, index=2, now_s=NOW_S)
    second = scheduler(after, after.changed_since(snap), now_s=NOW_S, new_id=str)
    assert tasks_in(second)[0].id == "z"
    assert second.ask_again_s == NOW_S


def test_nothing_is_placed_before_all_that_is_there_has_been_read() -> None:
    scheduler = Scheduler()
    there = [on(pending(f"o{n:05}", "old", resources=reserve(memory=1)), "a") for n in range(2 * MAX_READ)]
    snap = snapshot(node("a", memory=2 * MAX_READ), *there, pending("t", resources=reserve(memory=1)))
    changed = None
    for _ in range(2):
        assert scheduler(snap, changed, now_s=NOW_S, new_id=str) == Decision(ask_again_s=NOW_S)
        changed = set()
    (task,) = tasks_in(scheduler(snap, set(), now_s=NOW_S, new_id=str))
    assert task.status.err == "no suitable node (insufficient resources on 1 node)"


def test_who_waits_first_is_the_same_however_much_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps give their objects in an order of their own, another one in each process."""
    monkeypatch.setattr("vault.scheduler.schedule.MAX_READ", 3)
    waiting = [pending(f"t{n:02}", resources=reserve(memory=1)) for n in range(40)]
    scheduler, snap, changed = Scheduler(), snapshot(node("a", memory=4), *waiting), None
    while not (decision := scheduler(snap, changed, now_s=NOW_S, new_id=str)).changes:
        changed = set()
    placed = [task.id for task in tasks_in(decision) if task.state is State.ASSIGNED]
    assert placed == ["t00", "t01", "t02", "t03"]


@pytest.mark.parametrize("backwards", [False, True])
def test_who_is_placed_does_not_follow_from_the_order_in_which_changes_are_told(
    monkeypatch: pytest.MonkeyPatch, backwards: bool
) -> None:
    """Sets give what is in them in an order of their own, too."""

    class Told(set[Key]):
        def __iter__(self) -> Iterator[Key]:
            return iter(sorted(super().__iter__(), reverse=backwards))

    monkeypatch.setattr("vault.scheduler.schedule.MAX_READ", 3)
    scheduler, before = Scheduler(), settle(snapshot(node("a", memory=4)))
    scheduler(before, None, now_s=NOW_S, new_id=str)
    waiting = [pending(f"t{n:02}", resources=reserve(memory=1)) for n in range(8)]
    snap = before.apply(list(map(Put, waiting)), index=before.index + 1, now_s=NOW_S)
    changed: set[Key] = Told((Kind.TASK, task.id) for task in waiting)
    while not (decision := scheduler(snap, changed, now_s=NOW_S, new_id=str)).changes:
        changed = set()
    placed = [task.id for task in tasks_in(decision) if task.state is State.ASSIGNED]
    assert placed == ["t05", "t06", "t07", "t02"]  # What was told last is read first.


def test_a_large_service_hears_of_a_reason_that_changes_only_after_a_while() -> None:
    scheduler, count = Scheduler(), 160
    tasks = [pending(f"t{n:03}", resources=reserve(cpus=1)) for n in range(count)]
    snap = settle(snapshot(node("a", cpus=0), *tasks), scheduler)
    assert {task.status.err for task in snap.tasks.values()} == {
        "no suitable node (insufficient resources on 1 node)"  # The first reason is told at once,
    }
    more = snap.apply([Put(node("b", cpus=0))], index=snap.index + 1, now_s=NOW_S)
    waits = scheduler(more, more.changed_since(snap), now_s=NOW_S + 0.5, new_id=str)
    assert waits == Decision(ask_again_s=NOW_S + 1.0)  # the next a second later.
    again = tasks_in(scheduler(more, set(), now_s=NOW_S + 1.0, new_id=str))
    assert len(again) == count
    assert {task.status.err for task in again} == {"no suitable node (insufficient resources on 2 nodes)"}


def test_a_pending_task_gets_the_room_that_another_service_leaves() -> None:
    scheduler = Scheduler()
    big = on(pending("big", "other", resources=reserve(cpus=4)), "a")
    start = [Put(node("a")), Put(big), Put(pending("t", resources=reserve(cpus=2)))]
    snap = Snapshot().apply(start, index=1, now_s=NOW_S)
    reason = scheduler(snap, None, now_s=NOW_S, new_id=str).changes
    full = snap.apply(reason, index=2, now_s=NOW_S)
    scheduler(full, full.changed_since(snap), now_s=NOW_S, new_id=str)
    ended = replace(full.tasks["big"], status=TaskStatus(state=State.SHUTDOWN))
    free = full.apply([Put(ended)], index=3, now_s=NOW_S)
    (change,) = scheduler(free, free.changed_since(full), now_s=NOW_S, new_id=str).changes
    assert isinstance(change, Put)
    assert isinstance(change.obj, Task)
    assert (change.obj.id, change.obj.node_id) == ("t", "a")


def test_a_placement_that_the_store_refused_takes_no_room() -> None:
    scheduler = Scheduler()
    tasks = [Put(pending(f"t{n}", resources=reserve(cpus=3))) for n in range(2)]
    snap = Snapshot().apply([Put(node("a")), *tasks], index=1, now_s=NOW_S)
    first = scheduler(snap, None, now_s=NOW_S, new_id=str)
    proposed = {(Kind.TASK, change.obj.id) for change in first.changes if isinstance(change, Put)}
    again = scheduler(snap, proposed, now_s=NOW_S, new_id=str)
    for decision in (first, again):
        assert sorted(task.status.err or task.node_id for task in tasks_in(decision)) == [
            "a",
            "no suitable node (insufficient resources on 1 node)",
        ]


def test_a_task_on_an_encrypted_network_goes_only_where_packets_can_be_encrypted() -> None:
    options = {"encrypted": "true"}
    secret = Network(id="n", spec=NetworkSpec(name="n", driver_configuration=Driver(name="overlay", options=options)))
    task = replace(pending("t"), networks_attachments=(NetworkAttachment(network=secret),))
    unable, able = node("a"), node("b")
    able = replace(able, description=replace(able.description, encryption=EncryptionMeans(by="kernel")))
    assert schedule(unable, able, on(pending("o", "other"), "b"), task) == {"t": "b"}
    assert schedule(unable, task) == {"t": "no suitable node (no WireGuard for encrypted networks on 1 node)"}
    assert schedule(unable, pending("t")) == {"t": "a"}

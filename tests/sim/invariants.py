"""What must hold after every change, whatever happens to the cluster."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from vault.model.ids import Kind
from vault.model.service import UpdateState
from vault.model.task import STEPS, State, Task
from vault.network.allocate import Allocator
from vault.network.allocate_pools import addresses_of
from vault.orchestrator.control import new_control
from vault.orchestrator.progress import IN_PROGRESS
from vault.orchestrator.reaper import has_ended
from vault.scheduler.constraint import node_matches, parse_stored
from vault.scheduler.needs import host_ports, reserved
from vault.scheduler.schedule import Scheduler
from vault.store.changes import Atomic, Put
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster


def reachable() -> set[tuple[State, State]]:
    """Return every pair of states that legal steps lead between."""
    pairs = {(a, b) for a, steps in STEPS.items() for b in steps}
    while more := {(a, d) for a, b in pairs for c, d in pairs if b is c} - pairs:
        pairs |= more
    return pairs


LEGAL = reachable()


def check_commit(cluster: Cluster, before: Snapshot, after: Snapshot, touched: set[Key]) -> None:
    """Check what a commit changed."""
    tasks = [after.tasks[object_id] for kind, object_id in touched if kind is Kind.TASK and object_id in after.tasks]
    for task in tasks:
        old = before.tasks.get(task.id)
        if old is not None:
            check_monotone(cluster, old, task)
    for service_id, slot, node_id in {(task.service_id, task.slot, task.node_id) for task in tasks}:
        check_slot(cluster, after, service_id, slot, node_id)
    for node_id in {task.node_id for task in tasks if task.state is State.ASSIGNED}:
        check_node(cluster, after, node_id)
    if any(task.state is State.ASSIGNED or task.state is State.PENDING for task in tasks):
        check_addresses(cluster, after)
    for kind, object_id in touched:
        if kind is Kind.SERVICE:
            check_update(cluster, before, after, object_id)


def check_monotone(cluster: Cluster, old: Task, new: Task) -> None:
    """Observed state moves along legal steps, desired state only on; the spec stays."""
    if old.state is not new.state:
        assert (old.state, new.state) in LEGAL, f"{old.state} -> {new.state}\n{cluster.story()}"
    assert old.desired_state <= new.desired_state, cluster.story()
    assert (old.spec, old.service_id, old.slot) == (new.spec, new.service_id, new.slot), cluster.story()
    assert old.node_id in ("", new.node_id), f"moved between nodes\n{cluster.story()}"


def check_slot(cluster: Cluster, snap: Snapshot, service_id: str, slot: int, node_id: str) -> None:
    """A slot has one wanted task at most, and one container at most that we can know of."""
    tasks = list(snap.tasks_in(service_id, slot, "" if slot else node_id))
    wanted = [task for task in tasks if task.desired_state <= State.RUNNING]
    assert len(wanted) <= 1, f"slot {service_id}.{slot or node_id} has {len(wanted)} tasks\n{cluster.story()}"
    alive = [
        task.id
        for task in tasks
        if task.node_id in snap.nodes
        and cluster.agents[task.node_id].runs(task.id)
        and task.id not in cluster.agents[task.node_id].written_off
        and task.state is not State.REJECTED  # The enforcer gives a task up before it has stopped, as SwarmKit's.
    ]
    assert len(alive) <= 1, f"slot {service_id}.{slot or node_id} runs {alive}\n{cluster.story()}"


def check_node(cluster: Cluster, snap: Snapshot, node_id: str) -> None:
    """What is reserved on a node is there, and each of its ports is opened once."""
    node = snap.nodes.get(node_id)
    if node is None:
        return
    tasks = [task for task in snap.tasks_on(node_id) if State.ASSIGNED <= task.state <= State.RUNNING]
    for place, total in enumerate((node.description.resources.nano_cpus, node.description.resources.memory_bytes)):
        assert sum(reserved(task.spec)[place] for task in tasks) <= total, (
            f"{node_id} is overcommitted\n{cluster.story()}"
        )
    ports = Counter(port for task in tasks for port in host_ports(task))
    assert all(times == 1 for times in ports.values()), f"{node_id} opens a port twice\n{cluster.story()}"


def check_addresses(cluster: Cluster, snap: Snapshot) -> None:
    """No address of a network has two holders."""
    held = Counter(
        pair for objects in (snap.tasks, snap.services) for obj in objects.values() for pair in addresses_of(obj)
    )
    twice = [pair for pair, times in held.items() if times > 1]
    assert not twice, f"{twice} twice\n{cluster.story()}"


ALLOWED = {
    None: {UpdateState.UPDATING, UpdateState.ROLLBACK_STARTED},
    UpdateState.UPDATING: {UpdateState.PAUSED, UpdateState.COMPLETED, None},
    UpdateState.PAUSED: {None},
    UpdateState.COMPLETED: {None, UpdateState.UPDATING},  # A paused node's turn may come late.
}


def check_update(cluster: Cluster, before: Snapshot, after: Snapshot, service_id: str) -> None:
    """An update only goes on: what was completed or paused does not begin again by itself."""
    old, new = before.services.get(service_id), after.services.get(service_id)
    if old is None or new is None:
        return
    a, b = (service.update_status.state if service.update_status else None for service in (old, new))
    assert a is b or b in ALLOWED[a], f"update {a} -> {b}\n{cluster.story()}"


def check_decision(cluster: Cluster, snap: Snapshot, decision: Decision) -> None:
    """A task is placed only on a node that fits it as far as the leader can know, and updates keep to their pace."""
    writes: set[Key] = set()
    for change in decision.changes:
        for single in change.changes if isinstance(change, Atomic) else (change,):
            key = (Kind.TASK, single.obj.id) if isinstance(single, Put) and isinstance(single.obj, Task) else None
            assert key is None or key not in writes, f"written twice\n{cluster.story()}"
            if key is not None:
                writes.add(key)
            if isinstance(single, Put) and isinstance(single.obj, Task):
                check_placed(cluster, snap, single.obj)


def check_placed(cluster: Cluster, snap: Snapshot, task: Task) -> None:
    """A task that gets its node now gets one that is ready and meets its constraints."""
    old = snap.tasks.get(task.id)
    if task.state is not State.ASSIGNED or (old is not None and old.state >= State.ASSIGNED):
        return
    node = snap.nodes[task.node_id]
    placement = task.spec.placement
    assert node.ready, f"{task.id} placed on {node.id}, which is not ready\n{cluster.story()}"
    assert placement is None or node_matches(parse_stored(placement.constraints), node), cluster.story()


def check_pace(cluster: Cluster, snap: Snapshot) -> None:
    """No update has more slots in hand than its parallelism allows."""
    for service in snap.services.values():
        status, config = service.update_status, service.spec.update_config
        if status is None or status.state not in IN_PROGRESS or config is None or not config.parallelism:
            continue
        in_hand = [
            task
            for task in snap.tasks_of(service.id)
            if task.live and task.state < State.RUNNING and task.update_started_at == status.started_at
        ]
        assert len(in_hand) <= config.parallelism, cluster.story()


def check_caches(cluster: Cluster) -> None:
    """What the stages keep between decisions is what a new leader would count from the snapshot."""
    kept, fresh = cluster.control, new_control()
    fresh(None, cluster.snap, now_s=cluster.clock.now_s, new_id=cluster.new_id)
    for one, other in zip(kept.stages, fresh.stages, strict=True):
        if isinstance(one, Scheduler) and isinstance(other, Scheduler):
            assert one._fleet.figures() == other._fleet.figures(), cluster.story()
            assert one._waits_in == other._waits_in, cluster.story()
        if isinstance(one, Allocator) and isinstance(other, Allocator):
            assert one._pools._addresses == other._pools._addresses, cluster.story()
            assert +one._pools.ports == +other._pools.ports, cluster.story()
            used = [
                {key: [(+subnet.used, subnet.left) for subnet in subnets] for key, subnets in it._pools.subnets.items()}
                for it in (one, other)
            ]
            assert used[0] == used[1], cluster.story()


def check_settled(cluster: Cluster) -> None:
    """Once nothing happens any more: every service is as its spec says, and whoever waits is told why."""
    snap = cluster.snap
    check_caches(cluster)
    for service in snap.services.values():
        for task in snap.tasks_of(service.id):
            waits = task.state < State.ASSIGNED and task.desired_state <= State.RUNNING
            assert not waits or task.status.err, f"{task.id} waits without a reason\n{cluster.story()}"
            assert has_ended(task) or task.desired_state <= State.RUNNING, f"{task.id} hangs\n{cluster.story()}"
        if service.update_status is not None:
            waits = any(task.state < State.ASSIGNED and task.live for task in snap.tasks_of(service.id))
            hangs = service.update_status.state in IN_PROGRESS and not waits
            assert not hangs, f"the update of {service.id} hangs\n{cluster.story()}"
    for task in snap.tasks.values():
        assert task.service_id in snap.services, f"{task.id} outlived its service\n{cluster.story()}"

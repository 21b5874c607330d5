"""What the leader decides is right when it decides: placement, spread, who has to go, what new tasks are."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.sim.judge import oracle
from tests.sim.story import slot_of
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.changes import Atomic, Delete, Put
from vault.store.decision import Decision
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.world import World

FAILURES, FAILURES_S = 5, 300.0  # So many failures within so long put a node last.


def check_decision(world: World, snap: Snapshot, decision: Decision) -> None:
    """Check a decision about a snapshot."""
    puts: dict[str, Task] = {}
    deletes: dict[str, Task] = {}
    services: dict[str, Service] = {}
    for change in decision.changes:
        for single in change.changes if isinstance(change, Atomic) else (change,):
            if isinstance(single, Put) and isinstance(single.obj, Task):
                if single.obj.id in puts:
                    raise world.story.fail("a task is written twice in one decision", single.obj.id)
                puts[single.obj.id] = single.obj
            elif isinstance(single, Put) and isinstance(single.obj, Service):
                services[single.obj.id] = single.obj
            elif isinstance(single, Delete) and (task := snap.tasks.get(single.id)) is not None:
                deletes[task.id] = task
    placed = [task for task in puts.values() if is_placed(snap.tasks.get(task.id), task)]
    if placed:
        check_placed(world, snap, puts, placed)
    for task in puts.values():
        if task.id not in snap.tasks:
            check_new(world, snap, task)
    updating = {task.service_id for task in puts.values() if task.id not in snap.tasks and task.update_started_at}
    for service_id in sorted(updating.intersection(snap.services)):
        tasks = [puts.get(task.id, task) for task in snap.tasks_of(service_id) if task.id not in deletes]
        tasks += [task for task in puts.values() if task.id not in snap.tasks and task.service_id == service_id]
        world.judge.updates.decided(services.get(service_id, snap.services[service_id]), tasks)
    for task in deletes.values():
        check_deleted(world, snap, puts, deletes, task)
    leaving = [task for task in puts.values() if is_leaving(snap.tasks.get(task.id), task)]
    # Some go so quickly that only their removal is seen.
    leaving += [replace(task, desired_state=gone(snap, puts, deletes, task)) for task in deletes.values() if task.live]
    if leaving:
        check_leaving(world, snap, puts, leaving)


def gone(snap: Snapshot, puts: dict[str, Task], deletes: dict[str, Task], task: Task) -> State:
    """Return what was wanted of a task that is deleted: its slot may be given up, or another takes its place."""
    return (
        State.SHUTDOWN
        if any(one.desired_state < State.REMOVE for one in left(snap, puts, deletes, task))
        else State.REMOVE
    )


def left(snap: Snapshot, puts: dict[str, Task], deletes: dict[str, Task], task: Task) -> list[Task]:
    """Return the tasks that a task's slot has after a decision."""
    slot = snap.tasks_in(task.service_id, task.slot, "" if task.slot else task.node_id)
    old = [puts.get(one.id, one) for one in slot if one.id not in deletes]
    return old + [one for one in puts.values() if one.id not in snap.tasks and slot_of(one) == slot_of(task)]


def is_placed(old: Task | None, new: Task) -> bool:
    """Whether a task gets its node now."""
    return new.state is State.ASSIGNED and (old is None or old.state < State.ASSIGNED)


def is_leaving(old: Task | None, new: Task) -> bool:
    """Whether a task is asked to go now."""
    return old is not None and old.desired_state <= State.RUNNING < new.desired_state


def check_placed(world: World, snap: Snapshot, puts: dict[str, Task], placed: list[Task]) -> None:
    """Each task fits the node it is given, beside the others; and no node would have been clearly better."""
    now_on: defaultdict[str, dict[str, Task]] = defaultdict(dict)
    for node_id in snap.nodes:
        now_on[node_id] = {task.id: puts.get(task.id, task) for task in snap.tasks_on(node_id)}
    for task in placed:
        now_on[task.node_id][task.id] = task
    for task in placed:
        node = snap.nodes.get(task.node_id)
        if node is None:
            raise world.story.fail(f"{task.id} is placed on {task.node_id}, which is not there", task.id)
        beside = oracle.holding(other for other in now_on[task.node_id].values() if other.id != task.id)
        if why := oracle.obstacle(task, node, beside):
            raise world.story.fail(f"{slot_of(task)} is placed on {node.id}: {why}", task.id, node.id)
    for task in {(task.service_id, task.spec_version): task for task in placed if task.slot}.values():
        check_spread(world, snap, now_on, task)


def check_spread(world: World, snap: Snapshot, now_on: dict[str, dict[str, Task]], task: Task) -> None:
    """No node that could take one more has two tasks of the service fewer than the one chosen."""
    if task.spec.placement and task.spec.placement.preferences:
        return  # Branches come before nodes then.
    have = Counter(
        {
            node_id: sum(1 for other in tasks.values() if other.service_id == task.service_id and other.live)
            for node_id, tasks in now_on.items()
        }
    )
    for node_id, node in snap.nodes.items():
        if have[task.node_id] - have[node_id] < 2 or unlucky(world, now_on[node_id], task):
            continue
        if unlucky(world, now_on[task.node_id], task) or oracle.obstacle(
            task, node, oracle.holding(now_on[node_id].values())
        ):
            continue
        raise world.story.fail(
            f"{slot_of(task)} is placed on {task.node_id} beside {have[task.node_id] - 1} of its service, "
            f"while {node_id} has {have[node_id]}", task.id, task.service_id,
        )  # fmt: skip


def unlucky(world: World, tasks: dict[str, Task], task: Task) -> bool:
    """Whether tasks of the same spec have failed on a node as often as makes it the last choice."""
    failed = [
        other
        for other in tasks.values()
        if other.service_id == task.service_id
        and other.spec_version == task.spec_version
        and other.state in (State.FAILED, State.REJECTED)
        and other.updated_at.timestamp() > world.clock.now_s - FAILURES_S
    ]
    return len(failed) >= FAILURES


def check_new(world: World, snap: Snapshot, task: Task) -> None:
    """A new task is what its service's spec asks for now."""
    service = snap.services.get(task.service_id)
    if service is None:
        raise world.story.fail(f"{task.id} is made for a service that is not there", task.id, task.service_id)
    if task.spec != service.spec.task_template or task.spec_version != service.spec_version:
        raise world.story.fail(f"{slot_of(task)} is made of another spec than its service's", task.id, service.id)


def check_deleted(world: World, snap: Snapshot, puts: dict[str, Task], deletes: dict[str, Task], task: Task) -> None:
    """A task is deleted once nothing of it is on a node, and if nobody needs its history."""
    about = (task.id, slot_of(task))
    if State.ASSIGNED <= task.state <= State.RUNNING:
        raise world.story.fail(f"{slot_of(task)} is deleted while it may run", *about)
    service = snap.services.get(task.service_id)
    if task.desired_state is State.REMOVE or service is None or gone(snap, puts, deletes, task) is State.REMOVE:
        return
    policy = service.spec.task_template.restart_policy
    limit = policy.max_attempts + 1 if policy and policy.max_attempts else 5
    if len(left(snap, puts, deletes, task)) < limit:
        raise world.story.fail(f"history of {slot_of(task)} is deleted below its limit of {limit}", *about)


def check_leaving(world: World, snap: Snapshot, puts: dict[str, Task], leaving: list[Task]) -> None:
    """A task is asked to go only for a reason, and a service never loses more than it has too many."""
    removed: defaultdict[str, list[Task]] = defaultdict(list)
    for task in leaving:
        old, service = snap.tasks[task.id], snap.services.get(task.service_id)
        if service is None or old.state.terminal:
            continue
        node = snap.nodes.get(old.node_id)
        if old.node_id and (node is None or node.status.state == "down" or node.spec.availability == "drain"):
            continue
        if service.is_global:
            if node is not None and oracle.eligible(service, node) and not oracle.outdated(snap, service, old):
                raise world.story.fail(f"{slot_of(task)} is asked to go for no reason", task.id, service.id)
        elif task.desired_state is State.REMOVE:
            removed[service.id].append(old)
        elif not oracle.outdated(snap, service, old):
            raise world.story.fail(f"{slot_of(task)} is asked to go for no reason", task.id, service.id)
    for service_id, tasks in removed.items():
        check_scale_down(world, snap.services[service_id], list(snap.tasks_of(service_id)), puts, tasks)


def check_scale_down(
    world: World, service: Service, tasks: list[Task], puts: dict[str, Task], removed: list[Task]
) -> None:
    """As many slots are left as there should be, and none that runs has gone while one that does not has stayed."""
    after = [puts.get(task.id, task) for task in tasks]
    after += [task for task in puts.values() if task.service_id == service.id and task.version.index == 0]
    left = {task.slot for task in after if task.desired_state <= State.RUNNING or task.stays_down}
    if len(left) < service.replicas:
        raise world.story.fail(f"{service.id} has {len(left)} slots left of {service.replicas}", service.id)
    old_running = {task.slot for task in tasks if task.live and task.state is State.RUNNING}
    idle = {task.slot for task in after if task.live and task.state is not State.RUNNING} - old_running
    new = {task.slot for task in puts.values() if task.version.index == 0}
    if any(task.state is State.RUNNING for task in removed) and idle - new - {task.slot for task in removed}:
        raise world.story.fail(f"{service.id} gives up a slot that runs and keeps {sorted(idle)}", service.id)

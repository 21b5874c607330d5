"""Who has to go: only for a reason, never more than there are too many, and history only beyond its limit."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.sim.judge import oracle
from tests.sim.judge.rebalances import plan_of
from tests.sim.judge.updates import is_judged_by
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.judge.decisions import Draft
    from tests.sim.world import World


def check(world: World, draft: Draft) -> None:
    """Check what a decision ends."""
    for task in draft.deletes.values():
        check_deleted(world, draft, task)
    leaving = [task for task in draft.puts.values() if is_leaving(draft.snap.tasks.get(task.id), task)]
    # Some go so quickly that only their removal is seen.
    leaving += [replace(task, desired_state=wish(draft, task)) for task in draft.deletes.values() if task.live]
    for task in draft.puts.values():
        check_rejected(world, draft, task)
    removed: defaultdict[str, list[Task]] = defaultdict(list)
    for task in leaving:
        old, service = draft.snap.tasks[task.id], draft.snap.services.get(task.service_id)
        if service is None or old.state.terminal or on_lost_node(draft, old):
            continue
        if task.desired_state is State.REMOVE and service.spec.mode.replicated is not None:
            removed[service.id].append(old)
        elif not may_go(world, draft, service, old):
            raise world.story.fail(f"{slot_of(task)} is asked to go for no reason", task.id, service.id)
    for service_id, tasks in removed.items():
        check_scale_down(world, draft, draft.snap.services[service_id], tasks)


def check_rejected(world: World, draft: Draft, task: Task) -> None:
    """Only nodes that take tasks give up those that do not fit any more."""
    old, node = draft.snap.tasks.get(task.id), draft.snap.nodes.get(task.node_id)
    if task.state is not State.REJECTED or old is None or old.state.terminal:
        return
    if node is None or node.spec.availability != "active":
        raise world.story.fail(
            f"{slot_of(task)} is rejected on a node that is to keep its tasks", task.id, task.node_id
        )


def check_removed(world: World, before: Snapshot, after: Snapshot, changes: Written) -> None:
    """With a service its tasks are asked to go, in the same commit: who looks next sees that."""
    for (kind, service_id), _, new in changes:
        if kind is not Kind.SERVICE or new is not None:
            continue
        had, left = [sum(map(is_to_stay, snap.tasks_of(service_id))) for snap in (before, after)]
        if had and had == left:
            raise world.story.fail(f"{service_id} is removed, and none of its tasks is asked to go", service_id)


def is_to_stay(task: Task) -> bool:
    """Whether a task, or its history, is to stay."""
    return task.desired_state < State.REMOVE


def is_leaving(old: Task | None, new: Task) -> bool:
    """Whether a task is asked to go now."""
    return old is not None and oracle.is_wanted(old) and not oracle.is_wanted(new)


def wish(draft: Draft, task: Task) -> State:
    """Return what was wanted of a task that is deleted: its slot is given up, or another takes its place."""
    kept = any(one.desired_state < State.REMOVE for one in draft.tasks_at(task))
    return State.SHUTDOWN if kept else State.REMOVE


def on_lost_node(draft: Draft, task: Task) -> bool:
    """Whether a task's node is down, drained or gone."""
    node = draft.snap.nodes.get(task.node_id)
    if not task.node_id:
        return False
    return node is None or node.status.state == "down" or node.spec.availability == "drain"


def may_go(world: World, draft: Draft, service: Service, old: Task) -> bool:
    """Whether a task that runs, or will, may be asked to end."""
    node = draft.snap.nodes.get(old.node_id)
    if service.is_job:
        done = any(one.done and one.job_iteration == service.job_iteration for one in draft.tasks_at(old))
        unfit = service.is_global and (node is None or not oracle.eligible(service, node))
        return old.job_iteration != service.job_iteration or done or unfit
    if service.is_global and node is not None and not oracle.eligible(service, node):
        return True
    others = [one for one in draft.tasks_at(old) if one.id != old.id]
    if not oracle.outdated(draft.snap, service, old) and old.id not in plan_of(service):
        return any(one.beside == old.id and has_taken_over(one) for one in others)
    return has_successor(world, draft, service, old, others)


def has_successor(world: World, draft: Draft, service: Service, old: Task, others: list[Task]) -> bool:
    """Whether a task that an update exchanges has one to make way for.

    Stop-first, a new one is made as it goes; start-first, one runs beside it already, or has done its work.
    """
    beside = [one for one in others if one.beside == old.id and (oracle.is_wanted(one) or oracle.is_satisfied(one))]
    if beside:
        return any(map(has_taken_over, beside))
    fresh = [one for one in others if draft.is_new(one)]
    if fresh and old.state is State.RUNNING and world.judge.updates.starts_first(draft.service(service.id) or service):
        return any(one.beside for one in fresh)  # Another old one is kept beside it.
    return bool(fresh) or any(oracle.is_wanted(one) and not oracle.outdated(draft.snap, service, one) for one in others)


def has_taken_over(task: Task) -> bool:
    """Whether a task that was started beside another needs that no more: it runs, or did what it was for."""
    return task.state is State.RUNNING or oracle.is_satisfied(task)


def check_deleted(world: World, draft: Draft, task: Task) -> None:
    """A task is deleted once nothing of it is on a node, and if nobody needs its history."""
    about = (task.id, slot_of(task))
    if State.ASSIGNED <= task.state <= State.RUNNING:
        raise world.story.fail(f"{slot_of(task)} is deleted while it may run", *about)
    service = draft.snap.services.get(task.service_id)
    if task.desired_state is State.REMOVE or service is None or task.job_iteration != service.job_iteration:
        return
    if task.done and task.job_iteration == service.job_iteration:
        raise world.story.fail(f"{slot_of(task)} is deleted, and nobody will know that it completed", *about)
    if wish(draft, task) is State.REMOVE or (service.is_global and task.node_id not in draft.snap.nodes):
        return
    now = draft.service(service.id) or service
    if is_judged_by(now, task):
        raise world.story.fail(f"{slot_of(task)} is deleted, and an update is judged by it", *about)
    limit = oracle.history_limit(draft.snap, now)
    if len(draft.tasks_at(task)) < limit or limit < 0:
        raise world.story.fail(f"history of {slot_of(task)} is deleted below its limit of {limit}", *about)


def check_scale_down(world: World, draft: Draft, service: Service, removed: list[Task]) -> None:
    """As many slots are left as there should be, and none that runs has gone while one that does not has stayed."""
    before, after = list(draft.snap.tasks_of(service.id)), draft.tasks_of(service.id)
    left = {task.slot for task in after if oracle.is_wanted(task) or task.stays_down}
    if len(left) < service.replicas:
        raise world.story.fail(f"{service.id} has {len(left)} slots left of {service.replicas}", service.id)
    running = {task.slot for task in before if task.live and task.state is State.RUNNING}
    idle = {task.slot for task in after if task.live and task.state is not State.RUNNING} - running
    idle -= {task.slot for task in after if draft.is_new(task)} | {task.slot for task in removed}
    if idle and any(task.state is State.RUNNING for task in removed):
        raise world.story.fail(f"{service.id} gives up a slot that runs and keeps {sorted(idle)}", service.id)

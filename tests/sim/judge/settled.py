"""At rest: exactly the wanted tasks run, nothing is left over, every update has ended.

And a new leader sees nothing to do.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from tests.sim.judge.depends import waits
from tests.sim.judge.updates import IN_PROGRESS, STOPPED, ends_s, is_judged_by, status_of
from tests.sim.judge.values import mounted_on, used_on
from tests.sim.story import shown_change, slot_of
from vault.agent.executors.port import Phase
from vault.agent.health import HealthStatus
from vault.model.node import Node
from vault.model.service import Service, UpdateState
from vault.model.task import State, Task
from vault.network.allocation.allocator import Allocator
from vault.orchestrator.control import new_control
from vault.scheduler.schedule import Scheduler
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.machine import Machine
    from tests.sim.world import World

Complaint = tuple[str, tuple[str, ...]]  # A sentence, and the ids it is about.


def complaint(world: World) -> Complaint | None:
    """Return what is not yet as it should be."""
    snap = world.store.snap
    for _, node in sorted(snap.nodes.items()):
        if node.status.state != "ready":
            return f"{node.id} is {node.status.state}", (node.id,)
        if (
            node.spec.availability == "active"
            and min(oracle.left(node, oracle.running(snap.tasks_on(node.id))).values()) < 0
        ):
            return f"{node.id} carries more than it has", (node.id,)
    for service_id, service in sorted(snap.services.items()):
        if (found := of_service(snap, service)) is not None:
            return found, (service_id,)
    for task_id, task in sorted(snap.tasks.items()):
        if (found := of_task(snap, task)) is not None:
            return found, (task_id, slot_of(task), task.service_id)
    for _, machine in sorted(world.machines.items()):
        if (found := of_machine(snap, machine)) is not None:
            return found, (machine.id,)
    return None


def of_service(snap: Snapshot, service: Service) -> str | None:
    """Return what of a service is not as its spec says."""
    tasks: dict[int | str, list[Task]] = {}
    for task in snap.tasks_of(service.id):
        tasks.setdefault(task.slot_key, []).append(task)
    filled = {key for key, slot in tasks.items() if any(fills(service, task) for task in slot)}
    if service.is_global:
        nodes = [node for node in snap.nodes.values() if oracle.eligible(service, node)]
        wanted = {node.id for node in nodes if node.spec.availability == "active" and begins_on(service, node)}
        may = {node.id for node in nodes}
        if not wanted <= filled or not {key for key in filled if any(task.live for task in tasks[key])} <= may:
            return f"{service.id} is on {sorted(map(str, filled))}, not {sorted(wanted)}"
    elif (job := service.spec.mode.replicated_job) is not None:
        busy = {key for key, slot in tasks.items() if any(task.live for task in slot)}
        room = min((job.max_concurrent or 0) - len(busy), (job.total_completions or 0) - len(filled))
        if room > 0:
            return f"{service.id} could begin {room} more tasks"
    elif len(filled) != service.replicas:
        return f"{service.id} has {len(filled)} slots, not {service.replicas}"
    status = status_of(service)
    live = [task for slot in tasks.values() for task in slot if task.live]
    under_way = status is not None and status.state in IN_PROGRESS
    if under_way and all(task.state is State.RUNNING for task in live) and not waits(snap, service):
        return f"the update of {service.id} does not end"
    # An update that has stopped goes no further; nor does one whose tasks fit nowhere.
    halts = status is not None and status.state in (*STOPPED, *IN_PROGRESS)
    if status is not None and status.state in IN_PROGRESS and ends_s(status) < inf:
        return f"the update of {service.id} has a deadline to come"
    if (
        not halts
        and not waits(snap, service)
        and (old := [task for task in live if oracle.is_old(snap, service, task)])
    ):
        return f"{slot_of(old[0])} is of an older spec"
    return None


def begins_on(service: Service, node: Node) -> bool:
    """Whether a service has a task on a node that joined when this one did."""
    return service.job_status is None or node.created_at <= service.job_status.last_execution


def fills(service: Service, task: Task) -> bool:
    """Whether a slot needs no other task than this."""
    if task.job_iteration != service.job_iteration:
        return False
    return task.live or task.done or is_down(task) or is_to_be_rolled_back(service, task)


def is_to_be_rolled_back(service: Service, task: Task) -> bool:
    """Whether a task has ended and a rollback in progress is yet to come to it."""
    status = status_of(service)
    back = status is not None and status.state is UpdateState.ROLLBACK_STARTED
    return back and task.state.terminal and oracle.is_wanted(task) and task.spec_version != service.spec_version


def is_down(task: Task) -> bool:
    """Whether a task ended and its policy wants no other."""
    policy = oracle.policy_of(task)
    if not task.stays_down or not task.state.terminal or task.desired_state is not State.SHUTDOWN:
        return False
    if policy.condition == "none" or oracle.is_satisfied(task):
        return True
    return bool(policy.max_attempts)


def of_task(snap: Snapshot, task: Task) -> str | None:
    """Return what is wrong with a task when nothing happens any more."""
    slot = slot_of(task)
    service = snap.services.get(task.service_id)
    if service is None:
        return f"{slot} has outlived its service"
    if not oracle.is_wanted(task):
        if State.ASSIGNED <= task.state <= State.RUNNING:
            return f"{slot} does not go"
        if task.desired_state is State.REMOVE:
            return f"{slot} is not deleted"
        return of_history(snap, service, task)
    if task.state < State.ASSIGNED:
        return None if task.status.err and has_reason(snap, task) else f"{slot} waits for nothing"
    if is_to_be_rolled_back(service, task):
        return None
    if task.state is State.READY and waits(snap, service):
        return None
    if task.state is not State.RUNNING and not task.done:
        return f"{slot} is {task.state.value}"
    node = snap.nodes.get(task.node_id)
    if task.done:
        return None
    if node is None:
        return f"{slot} runs on {task.node_id}, which is gone"
    return of_place(service, task, node)


def of_place(service: Service, task: Task, node: Node) -> str | None:
    """Return what is wrong with the node that a task runs on."""
    if node.spec.availability == "drain":
        return f"{slot_of(task)} runs on {node.id}, which is drained"
    if node.spec.availability == "active" and not oracle.may_stay(service, task, node):
        return f"{slot_of(task)} runs on {node.id}, which does not satisfy it"
    return None


def of_history(snap: Snapshot, service: Service, task: Task) -> str | None:
    """Return whether an old task should be gone."""
    slot = list(snap.tasks_at(task.service_id, task.slot_key))
    limit = oracle.history_limit(snap, service)
    kept = (one.live or oracle.is_wanted(one) or one.stays_down or is_told_of(service, one) for one in slot)
    return f"{slot_of(task)} has a history of {len(slot)}" if len(slot) > limit >= 0 and not all(kept) else None


def is_told_of(service: Service, task: Task) -> bool:
    """Whether what has ended is still asked for: it tells the outcome of an update, or that a job is done."""
    return is_judged_by(service, task) or (task.done and task.job_iteration == service.job_iteration)


def has_reason(snap: Snapshot, task: Task) -> bool:
    """Whether there is a reason to wait: no node fits, or no address is left."""
    return "no free" in task.status.err if task.state is State.NEW else bool(oracle.reason(snap, task))


def of_machine(snap: Snapshot, machine: Machine) -> str | None:
    """Return what is on a machine and should not be, or is not and should."""
    running = {task_id for task_id, one in machine.containers.items() if one.phase is Phase.RUNNING}
    wanted = {task.id for task in snap.tasks_on(machine.id) if task.state is State.RUNNING and task.live}
    if running != wanted:
        return f"{machine.id} runs {sorted(running - wanted)} too many and {sorted(wanted - running)} too few"
    left = {task_id for task_id in machine.containers if task_id not in snap.tasks}
    if left:
        return f"{machine.id} keeps what is left of {sorted(left)}"
    used = used_on(snap, machine.id)
    assert machine.agent is not None
    held = set(machine.agent.values._kept)
    there = {key for key in used if snap.get(key[0], key[1].partition(".")[0]) is not None}  # Or who begins gets none.
    if not there <= held <= used:
        return f"{machine.id} holds {sorted(held)}, its tasks use {sorted(used)}"
    session = machine.agent.session
    if session is not None and session.asked.under_way:
        return f"for {machine.id} a driver is still asked for {sorted(session.asked.under_way)}"
    for task_id in running:
        health = machine.containers[task_id].health
        if health is not None and health.status is HealthStatus.UNHEALTHY:
            return f"{machine.id} lets {task_id} run, which is unwell"
        if machine.containers[task_id].values - mounted_on(snap, machine.id):
            return f"{machine.id} has mounted what its tasks do not use"
    return None


def untouched(world: World) -> None:
    """A new leader sees nothing to do, and what a leader keeps in memory is what another would count afresh."""
    leader, settled = world.store.leader, world.store.snap
    assert leader is not None
    check_caches(world, leader.control.stages)
    world.lose_leader()
    world.run(10.0)
    if world.store.snap is not settled:
        touched = world.store.snap.changed_since(settled) or set()
        changes = (shown_change(settled.get(*key), world.store.snap.get(*key)) for key in sorted(touched))
        raise world.story.fail(f"a new leader sees something to do: {'; '.join(changes)}", *(key[1] for key in touched))


def check_caches(world: World, stages: object) -> None:
    """Compare what stages keep between decisions with what a new leader counts from the snapshot."""
    fresh = new_control()
    before, snap, now_s = None, world.store.snap, world.clock.now_s
    while True:  # It may not read everything at once.
        decision = fresh(before, snap, now_s=now_s, new_id=world.new_id)
        if decision.changes:
            raise world.story.fail(f"a new leader would see something to do: {decision.changes[0]}")
        if decision.ask_again_s is None or decision.ask_again_s > now_s:
            break
        before = snap
    for one, other in zip(stages, fresh.stages, strict=True):
        if isinstance(one, Scheduler) and isinstance(other, Scheduler):
            if one._fleet.figures() != other._fleet.figures() or one._waits_in != other._waits_in:
                raise world.story.fail("the scheduler's books are not what the snapshot says")
        elif isinstance(one, Allocator) and isinstance(other, Allocator):
            a, b = one._pools, other._pools
            subnets = [
                {key: [(+part.used, part.left) for part in parts] for key, parts in pools.subnets.items()}
                for pools in (a, b)
            ]
            if a._addresses != b._addresses or +a.ports != +b.ports or subnets[0] != subnets[1]:
                raise world.story.fail(f"the allocator's books say {a._addresses}, not {b._addresses}; {subnets}")

"""What the leader decides is right when it decides it: each kind of change is judged by a module of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.sim.judge import departures, oracle, placement
from tests.sim.judge.addresses import held
from tests.sim.judge.depends import waits
from tests.sim.judge.jobs import check_job
from tests.sim.judge.restarts import STARTED
from tests.sim.judge.updates import BACK, status_of
from tests.sim.story import slot_of
from vault.model.service import Service, UpdateState
from vault.model.task import State, Task
from vault.store.changes import Atomic, Delete, Put
from vault.store.decision import Decision
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.world import World

FULL = "no free address in network"


@dataclass(slots=True)
class Draft:
    """A decision, sorted, and the cluster as it would be after it."""

    snap: Snapshot
    puts: dict[str, Task]
    deletes: dict[str, Task]
    services: dict[str, Service]

    def service(self, service_id: str) -> Service | None:
        """Return a service as it would be."""
        return self.services.get(service_id) or self.snap.services.get(service_id)

    def changes(self, task: Task) -> bool:
        """Whether a task would become another, or go."""
        return task.id in self.puts or task.id in self.deletes

    def is_new(self, task: Task) -> bool:
        """Whether a task is made by this decision."""
        return task.id not in self.snap.tasks

    def tasks_of(self, service_id: str) -> list[Task]:
        """Return the tasks that a service would have."""
        old = [self.puts.get(one.id, one) for one in self.snap.tasks_of(service_id) if one.id not in self.deletes]
        return old + [one for one in self.puts.values() if self.is_new(one) and one.service_id == service_id]

    def tasks_at(self, task: Task) -> list[Task]:
        """Return the tasks that the slot of a task would have."""
        slot = self.snap.tasks_at(task.service_id, task.slot_key)
        old = [self.puts.get(one.id, one) for one in slot if one.id not in self.deletes]
        return old + [one for one in self.puts.values() if self.is_new(one) and slot_of(one) == slot_of(task)]


def check_decision(world: World, snap: Snapshot, decision: Decision) -> None:
    """Check a decision about a snapshot."""
    draft = sorted_out(world, snap, decision)
    placed = [task for task in draft.puts.values() if is_placed(snap.tasks.get(task.id), task)]
    if placed:
        placement.check_placed(world, draft, placed)
    check_told_full(world, draft)
    made = [task for task in draft.puts.values() if draft.is_new(task)]
    for task in made:
        check_new(world, draft, task)
    for task in draft.puts.values():
        if is_released(snap.tasks.get(task.id), task) and waits(snap, snap.services.get(task.service_id)):
            raise world.story.fail(f"{slot_of(task)} may start, and what it depends on has not", task.service_id)
    for service in draft.services.values():
        if service.dependencies_met and waits(snap, snap.services.get(service.id)) and not has_started(snap, service):
            raise world.story.fail(f"{service.id} is noted to wait for nothing any more", service.id)
    for service_id in sorted({task.service_id for task in made}):
        service = draft.service(service_id)
        if service is not None and service.is_job:
            check_job(world, draft, service)
        elif service is not None and any(is_exchanged(snap, task) for task in made if task.service_id == service_id):
            world.judge.updates.exchanged(service, draft.tasks_of(service_id))
    if draft.services:
        world.judge.updates.decided(draft)
    departures.check(world, draft)


def check_told_full(world: World, draft: Draft) -> None:
    """Nobody is told that a network is full by a decision that gives up an address of it."""
    told = [task for task in draft.puts.values() if task.status.err.startswith(FULL) and is_told(draft.snap, task)]
    for task in told:
        changed = [(old, draft.puts.get(old.id)) for old in draft.snap.tasks.values() if draft.changes(old)]
        left = {network_id for old, new in changed for network_id, _ in set(held(old)) - set(held(new))}
        for network_id in sorted(left):
            if task.status.err.startswith(f"{FULL} {draft.snap.networks[network_id].spec.name} "):
                words = f"{slot_of(task)} is told that {network_id} is full by who frees an address of it"
                raise world.story.fail(words, task.id, task.service_id)


def is_told(snap: Snapshot, task: Task) -> bool:
    """Whether a task is told something else than before."""
    old = snap.tasks.get(task.id)
    return old is None or old.status.err != task.status.err


def has_started(snap: Snapshot, service: Service) -> bool:
    """Whether a service goes back to what had begun: its update waited in vain."""
    status = service.update_status
    goes_back = status is not None and status.state is UpdateState.ROLLBACK_STARTED
    return goes_back and any(task.desired_state in STARTED for task in snap.tasks_of(service.id))


def sorted_out(world: World, snap: Snapshot, decision: Decision) -> Draft:
    """Return a decision sorted; no task is written twice."""
    draft = Draft(snap, {}, {}, {})
    for change in decision.changes:
        for single in change.changes if isinstance(change, Atomic) else (change,):
            if isinstance(single, Put) and isinstance(single.obj, Task):
                if single.obj.id in draft.puts:
                    raise world.story.fail("a task is written twice in one decision", single.obj.id)
                draft.puts[single.obj.id] = single.obj
            elif isinstance(single, Put) and isinstance(single.obj, Service):
                draft.services[single.obj.id] = single.obj
            elif isinstance(single, Delete) and (task := snap.tasks.get(single.id)) is not None:
                draft.deletes[task.id] = task
    return draft


def is_placed(old: Task | None, new: Task) -> bool:
    """Whether a task gets its node now."""
    return new.state is State.ASSIGNED and (old is None or old.state < State.ASSIGNED)


def is_released(old: Task | None, new: Task) -> bool:
    """Whether a task may start from now on."""
    return new.desired_state in STARTED and (old is None or old.desired_state is State.READY)


def is_exchanged(snap: Snapshot, task: Task) -> bool:
    """Whether an update makes a task for a slot it comes to in its turn: not one that moves, nor one that failed."""
    if task.update_started_at is None:
        return False
    slot = list(snap.tasks_at(task.service_id, task.slot_key))
    failed = any(oracle.is_wanted(old) and old.state.terminal for old in slot)
    return not failed and all(old.update_started_at != task.update_started_at for old in slot)


def check_new(world: World, draft: Draft, task: Task) -> None:
    """A new task is what its service's spec asks for now, where one is missing."""
    service = draft.snap.services.get(task.service_id)
    if service is None:
        raise world.story.fail(f"{task.id} is made for a service that is not there", task.id, task.service_id)
    about = (task.id, slot_of(task), service.id)
    ports = service.spec.endpoint_spec.ports if service.spec.endpoint_spec else ()
    opened = tuple(port for port in ports if port.publish_mode == "host")
    asked = (service.spec.task_template, service.spec_version, service.job_iteration, opened)
    if asked != (task.spec, task.spec_version, task.job_iteration, task.host_ports):
        raise world.story.fail(f"{slot_of(task)} is made of another spec than its service's", *about)
    world.judge.rebalances.check_new(draft, service, task)
    slot = list(draft.snap.tasks_at(task.service_id, task.slot_key))
    inherits = any(old.beside == task.beside for old in slot)
    if task.beside and not inherits and not world.judge.updates.starts_first(draft.service(service.id) or service):
        raise world.story.fail(f"{slot_of(task)} would run beside another, and its order forbids it", *about)
    if any(map(oracle.is_wanted, slot)):
        check_rollback(world, draft, task, slot)
    if service.is_global:
        node = draft.snap.nodes.get(str(task.slot_key))
        restarts = any(oracle.is_wanted(old) and old.state.terminal for old in slot)
        if node is None or (node.spec.availability != "active" and not restarts):
            raise world.story.fail(f"{slot_of(task)} is made for a node that takes no new task", *about)
    elif service.spec.mode.replicated is not None and not slot:
        check_lowest(world, draft, task)


def check_rollback(world: World, draft: Draft, task: Task, slot: list[Task]) -> None:
    """What a rollback goes back from is not restarted when it ends: the rollback exchanges it in its turn."""
    service = draft.service(task.service_id)
    status = status_of(service) if service is not None else None
    if status is None or status.state is not BACK or task.update_started_at == status.started_at:
        return
    left = [old for old in slot if oracle.is_wanted(old) and not oracle.is_wanted(draft.puts.get(old.id, old))]
    if left and all(is_to_go_back(world, draft, old) for old in left):
        raise world.story.fail(f"{slot_of(task)} is restarted though a rollback is to come to it", slot_of(task))


def is_to_go_back(world: World, draft: Draft, task: Task) -> bool:
    """Whether a task has ended by itself, and is not what its service is to be."""
    service = draft.service(task.service_id)
    unfit = task.state is State.REJECTED and task.id in world.judge.updates.ran_s  # It runs on until it is stopped.
    return task.state.terminal and not unfit and service is not None and oracle.outdated(draft.snap, service, task)


def check_lowest(world: World, draft: Draft, task: Task) -> None:
    """The lowest free slots are filled, so none beyond the number of replicas."""
    service = draft.service(task.service_id)
    if service is not None and task.slot > service.replicas:
        about = (task.id, task.service_id)
        raise world.story.fail(f"{slot_of(task)} is made, and there are to be {service.replicas}", *about)

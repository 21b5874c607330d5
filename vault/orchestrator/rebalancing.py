"""Rebalances: tasks move so that services, and nodes, have even shares again.  Docker's tasks stay where they are.

Pure.  `plan` says which tasks would move and why others stay; `begun` makes of that an update of each service that
exchanges just those tasks, under the service's own update settings: so many at a time, with its delay, order, monitor
and deadline, and paused when they fail.  What is left to do is in the service's `update_status`, so a new leader goes
on.  Called by the API, which plans beside the event loop: a plan looks at every task.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from vault.model.base import from_s
from vault.model.service import PlannedMove, Service, UpdateState, UpdateStatus
from vault.model.task import State, Task
from vault.orchestrator.dirty import host_ports
from vault.orchestrator.progress import IN_PROGRESS, PAUSED, config_of, current_status
from vault.orchestrator.update import is_due
from vault.orchestrator.work import Work
from vault.scheduler.fleet import Fleet
from vault.scheduler.level import Movable, level
from vault.scheduler.needs import Needs, needs_of
from vault.scheduler.rebalance import Move, even_out
from vault.store.changes import Put
from vault.store.snapshot import Snapshot

BEING_UPDATED: Final = "it is being updated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which tasks move, and which services were left out and why."""

    moves: tuple[Move, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()  # Name of the service, and the reason.
    versions: Mapping[str, int]  # Of the spec of each service that was looked at.


def plan(
    snap: Snapshot, services: Iterable[Service], *, onto: Collection[str] | None, nodes: bool, now_s: float
) -> Plan:
    """Return what would make services evenly spread.

    onto: the nodes that tasks may move to; None = any.  nodes: whether all nodes are to have about as many tasks, too.
    """
    fleet = fleet_of(snap)
    now = from_s(now_s)
    moves: list[Move] = []
    skipped: list[tuple[str, str]] = []
    left: list[Movable] = []
    versions: dict[str, int] = {}
    for service in sorted(services, key=lambda service: service.id):
        reason = hindrance(service) or (BEING_UPDATED if is_to_be_updated(snap, service, now_s=now_s) else "")
        if reason:
            skipped.append((service.spec.name, reason))
            continue
        versions[service.id] = spec_version(service)
        tasks = movable(snap, service)
        if not tasks:
            continue
        needs = needs_now(service, tasks[0])
        planned = even_out(fleet, needs, tasks, now, onto)
        moves += planned
        going_to = {move.task.id: move.to for move in planned}
        as_planned = [replace(task, node_id=going_to.get(task.id, task.node_id)) for task in tasks]
        left.append(Movable(fleet.fit(needs), as_planned))
    if nodes:
        moves = joined(moves, level(fleet, left, now, onto))
    return Plan(moves=tuple(moves), skipped=tuple(skipped), versions=versions)


def joined(moves: Iterable[Move], later: Iterable[Move]) -> list[Move]:
    """Return moves and later ones so that no task moves twice, nor to where it is."""
    found = {move.task.id: move for move in moves}
    for move in later:
        first = found.pop(move.task.id, move)
        if first.task.node_id != move.to:
            found[move.task.id] = Move(first.task, move.to)
    return list(found.values())


def hindrance(service: Service) -> str:
    """Return why a service's tasks are not to be moved now; "" when they may be."""
    if service.is_job:
        return "the tasks of a job end by themselves"
    if service.is_global:
        return "a global service has one task on every node that will do"
    status = current_status(service)
    if status is not None and status.state in IN_PROGRESS:
        return "it is being rebalanced already" if status.moves else BEING_UPDATED
    if status is not None and status.state in PAUSED and not status.moves:
        return f"its {'update' if status.state is UpdateState.PAUSED else 'rollback'} is paused"
    return ""


def is_to_be_updated(snap: Snapshot, service: Service, *, now_s: float) -> bool:
    """Whether an update is due that has not begun yet: it is not to run, nor to fail, as a rebalance."""
    if all(task.spec_version == service.spec_version for task in snap.tasks_of(service.id) if task.wanted):
        return False
    return is_due(Work(snap, service, now_s=now_s, new_id=no_id))


def no_id() -> str:
    """Refuse to make a task: a plan makes none."""
    raise AssertionError("a plan makes no task")


def begun(snap: Snapshot, moves: Iterable[Move], versions: Mapping[str, int], *, now_s: float) -> tuple[Put, ...]:
    """Return the changes that begin to move tasks.

    Services that changed since the plan are left as they are, and those of which a task would move to a node that takes
    none any more.
    """
    planned: dict[str, list[PlannedMove]] = {}
    for move in moves:
        planned.setdefault(move.task.service_id, []).append(PlannedMove(task_id=move.task.id, node_id=move.to))
    found: list[Put] = []
    for service_id, mine in sorted(planned.items()):
        service = snap.services.get(service_id)
        if not all(takes_tasks(snap, move.node_id) for move in mine):
            continue
        if service is None or spec_version(service) != versions[service_id] or hindrance(service):
            continue
        status = UpdateStatus(
            state=UpdateState.UPDATING,
            started_at=from_s(now_s),
            message="rebalance in progress",
            spec_version=service.spec_version,
            deadline=config_of(service, UpdateState.UPDATING).deadline or 0,
            moves=tuple(mine),
        )
        found.append(Put(replace(service, update_status=status)))
    return tuple(found)


def fleet_of(snap: Snapshot) -> Fleet:
    """Return what all nodes carry."""
    fleet = Fleet()
    for node in snap.nodes.values():
        fleet.describe(node.id, node)
    for task in snap.tasks.values():
        if task.node_id or task.failed_before:
            fleet.count(task, 1)
    return fleet


def movable(snap: Snapshot, service: Service) -> list[Task]:
    """Return the tasks of a service that might move: each alone in its slot, on a node that takes tasks."""
    by_slot: dict[int | str, list[Task]] = {}
    for task in snap.tasks_of(service.id):
        if task.wanted:
            by_slot.setdefault(task.slot_key, []).append(task)
    alone = [tasks[0] for tasks in by_slot.values() if len(tasks) == 1]
    found = [task for task in alone if State.ASSIGNED <= task.state <= State.RUNNING and is_served(snap, task)]
    return sorted(found, key=lambda task: task.id)


def is_served(snap: Snapshot, task: Task) -> bool:
    """Whether a task's node takes new tasks: of others nothing is taken, either."""
    return takes_tasks(snap, task.node_id)


def takes_tasks(snap: Snapshot, node_id: str) -> bool:
    """Whether a node is there, and takes new tasks."""
    node = snap.nodes.get(node_id)
    return node is not None and node.ready


def needs_now(service: Service, task: Task) -> Needs:
    """Return what the tasks of a service ask for as they would be made now; task: one of them."""
    fresh = replace(
        task,
        spec=service.spec.task_template,
        spec_version=service.spec_version,
        host_ports=host_ports(service.spec.endpoint_spec),
    )
    return needs_of(fresh)


def spec_version(service: Service) -> int:
    """Return which spec of a service is in force."""
    return service.spec_version.index if service.spec_version else 0

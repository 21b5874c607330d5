"""The constraint enforcer: a running task whose node no longer fits is rejected, so that another runs elsewhere.

Pure.  Makes one step of a task's life, RUNNING -> REJECTED.  Called by `vault.orchestrator.rounds` as the first stage.
"""

from collections.abc import Collection, Iterator
from datetime import timedelta

from msgspec.structs import replace

from vault.model.base import from_s
from vault.model.ids import Kind, NewID
from vault.model.node import Node
from vault.model.service import Placement
from vault.model.task import State, Task, TaskStatus
from vault.scheduler.constraint import node_matches, parse_stored
from vault.scheduler.needs import reserved
from vault.scheduler.stock import Stock
from vault.store.changes import Put
from vault.store.decision import NOTHING, Decision
from vault.store.snapshot import Key, Snapshot

COMMIT = timedelta(seconds=10)  # A task is decided on so long before it is made, and the node may change in between.
UNFIT = "assigned node no longer meets constraints"  # Whoever is rejected so runs until it is asked to stop.


def enforce(snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
    """Return the tasks to reject: on nodes that changed, of services that did, and those that began to run unfit."""
    nodes = set(snap.nodes) if changed is None else {object_id for kind, object_id in changed if kind is Kind.NODE}
    rejected: dict[str, Task] = {}
    for task in concerned(snap, changed or ()):
        node = snap.nodes.get(task.node_id)
        if task.node_id in nodes or not is_enforced(task) or node is None or node.spec.availability != "active":
            continue  # A node that is paused keeps what it has.
        if not fits(snap, task):
            rejected[task.id] = task
        elif (Kind.TASK, task.id) in (changed or ()) and node.updated_at > task.created_at - COMMIT:
            nodes.add(task.node_id)  # It may have less room than when the task was placed.
    for node_id in nodes:
        rejected.update((task.id, task) for task in unfit_on(snap, snap.nodes.get(node_id)))
    if not rejected:
        return NOTHING
    status = TaskStatus(timestamp=from_s(now_s), state=State.REJECTED, message=UNFIT, err=UNFIT)
    return Decision(
        changes=tuple(
            Put(replace(task, status=replace(status, container_status=task.status.container_status)))
            for _, task in sorted(rejected.items())
        )
    )


def concerned(snap: Snapshot, changed: Collection[Key]) -> Iterator[Task]:
    """Yield the tasks that changed, and those of services that did and say where they may run."""
    for kind, object_id in changed:
        if kind is Kind.TASK and (task := snap.tasks.get(object_id)) is not None:
            yield task
        elif kind is Kind.SERVICE and (service := snap.services.get(object_id)) is not None:
            placement = service.spec.task_template.placement
            if placement is not None and placement.constraints:
                yield from snap.tasks_of(object_id)


def is_enforced(task: Task) -> bool:
    """Whether a task is running and is to go on running."""
    return task.state is State.RUNNING and task.released


def unfit_on(snap: Snapshot, node: Node | None) -> Iterator[Task]:
    """Yield the running tasks that an active node no longer has the properties or the room for."""
    if node is None or node.spec.availability != "active":
        return
    free_cpus, free_memory = node.description.resources.nano_cpus, node.description.resources.memory_bytes
    free = Stock()
    free.describe(node.description.resources.generic_resources)
    for task in sorted(filter(is_enforced, snap.tasks_on(node.id)), key=lambda task: (task.created_at, task.id)):
        nano_cpus, memory_bytes = reserved(task.spec)
        too_much = (nano_cpus and nano_cpus > free_cpus) or (memory_bytes and memory_bytes > free_memory)
        if too_much or not free.holds(task.generic_resources) or not fits(snap, task):
            yield task
        else:
            free_cpus, free_memory = free_cpus - nano_cpus, free_memory - memory_bytes
            free.count(task.generic_resources, 1)


def fits(snap: Snapshot, task: Task) -> bool:
    """Whether a task's node meets the present constraints of its service, or those it was placed by.

    An update moves the tasks that only the present ones forbid; while it is paused they stay.
    """
    node, service = snap.nodes.get(task.node_id), snap.services.get(task.service_id)
    if node is None or service is None:
        return True
    present, own = service.spec.task_template.placement, task.spec.placement
    return meets(present, node) or (own != present and meets(own, node))


def meets(placement: Placement | None, node: Node) -> bool:
    """Whether a node satisfies the constraints of a placement."""
    return placement is None or node_matches(parse_stored(placement.constraints), node)

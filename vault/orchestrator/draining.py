"""How far a drain is: what still runs on a node, and which of the tasks that left it have no other in their place.

Pure.  Asked for by the API, for those who wait.  What left is known by the node's own tasks: those that were asked to
stop since the node was drained, as long as the history of their slots is kept.
"""

from dataclasses import dataclass
from datetime import datetime

from vault.model.node import Node
from vault.model.task import State, Task
from vault.orchestrator.work import made
from vault.store.snapshot import Snapshot

NOT_RESTARTED = "its restart policy lets no other take its place"


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A task that left the node, or is to leave it, and what has become of its slot."""

    task: Task  # The one in its place that was made last; itself when there is none.
    reason: str  # Why that does not run; "" while nothing speaks against it.
    hopeless: bool  # Whether nothing but a change of the cluster will make it run.


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """What is left to do."""

    leaving: tuple[Task, ...]  # Still there.
    awaited: tuple[Awaited, ...]  # Not there any more, and not running elsewhere yet.


def progress(snap: Snapshot, node: Node) -> Drain:
    """Return how far the drain of a node is, by name of task."""
    since = node.drained_at or node.created_at
    tasks = sorted(snap.tasks_on(node.id), key=lambda task: (task.service_name, str(task.slot_key), task.id))
    gone = {(task.service_id, task.slot_key): task for task in tasks if has_left(snap, task, since)}
    found = (successor(snap, task) for task in gone.values())
    return Drain(
        leaving=tuple(task for task in tasks if is_there(task, node)),
        awaited=tuple(one for one in found if one is not None),
    )


def is_there(task: Task, node: Node) -> bool:
    """Whether a task is, or may come to be, on its node; of a node that is down nobody knows, so others replace it."""
    return not task.state.terminal and (task.wanted or (task.state >= State.ASSIGNED and node.status.state != "down"))


def has_left(snap: Snapshot, task: Task, since: datetime) -> bool:
    """Whether a task was asked to leave its node since a moment, and its slot is still wanted."""
    service = snap.services.get(task.service_id)
    return (
        service is not None
        and not service.is_global
        and task.desired_state is State.SHUTDOWN
        and task.stop_asked_at is not None
        and task.stop_asked_at >= since
    )


def successor(snap: Snapshot, task: Task) -> Awaited | None:
    """Return what is in the slot of a task that left; None when that runs, has done its work, or is not wanted."""
    slot = list(snap.tasks_in(task.service_id, task.slot))
    wanted = [other for other in slot if other.wanted]
    if any(other.state is State.RUNNING or other.done for other in wanted):
        return None
    if wanted:
        newest = max(wanted, key=made)
        waits = newest.state < State.ASSIGNED and bool(newest.status.err)
        return Awaited(task=newest, reason=newest.status.err, hopeless=waits)
    newest = max(slot, key=made)
    if newest.desired_state is State.REMOVE or newest.state is State.COMPLETE:
        return None
    return Awaited(task=newest, reason=NOT_RESTARTED, hopeless=True)

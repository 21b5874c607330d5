"""Orphans: tasks whose node is gone for good will never be heard of again.

Pure but for a cache of what it can rebuild.  Makes one step of a task's life, ASSIGNED..RUNNING -> ORPHANED.  Called
by `vault.orchestrator.rounds` as a stage.
"""

from datetime import timedelta

from msgspec.structs import replace

from vault.model.base import from_s
from vault.model.ids import Kind, NewID
from vault.model.task import State, Task, TaskStatus
from vault.store.changes import Put, Relied
from vault.store.decision import NOTHING, Decision
from vault.store.snapshot import Key, Snapshot

DOWN_LIMIT = timedelta(hours=24)


class Orphans:
    """Gives up the tasks of removed nodes at once, and those of nodes that have been down for a day.

    Each is given up only if its node has not come back by the time that this is stored.
    """

    def __init__(self) -> None:
        self._down: set[str] = set()

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        """Return the tasks that are orphans now, and when the next may be."""
        if changed is None:
            nodes = set(snap.nodes) | set(snap.by_node)
        else:
            nodes = {object_id for kind, object_id in changed if kind is Kind.NODE}
            tasks = snap.tasks
            placed = (tasks.get(object_id) for kind, object_id in changed if kind is Kind.TASK)
            on = {task.node_id for task in placed if task and task.node_id}
            nodes |= {node_id for node_id in on if node_id not in snap.nodes}
        if not nodes and not self._down:
            return NOTHING
        now = from_s(now_s)
        self._down = {node_id for node_id in self._down | nodes if is_down(snap, node_id)}
        gone = {node_id for node_id in nodes if node_id not in snap.nodes}
        again_s: list[float] = []
        for node_id in self._down:
            node = snap.nodes[node_id]
            since = node.down_since or node.updated_at
            if since + DOWN_LIMIT <= now:
                gone.add(node_id)
            else:
                again_s.append((since + DOWN_LIMIT).timestamp())
        status = TaskStatus(timestamp=now, state=State.ORPHANED, message="orphaned")
        return Decision(
            changes=tuple(
                Put(
                    replace(task, status=replace(status, container_status=task.status.container_status)),
                    relied_on(snap, node_id),
                )
                for node_id in sorted(gone)
                for task in sorted(snap.tasks_on(node_id), key=lambda task: task.id)
                if is_out_there(task)
            ),
            ask_again_s=min(again_s, default=None),
        )


def is_down(snap: Snapshot, node_id: str) -> bool:
    """Whether the node exists and is down."""
    node = snap.nodes.get(node_id)
    return node is not None and node.status.state == "down"


def relied_on(snap: Snapshot, node_id: str) -> tuple[Relied, ...]:
    """Return what giving up the tasks of a node relies on: that it is still down; who was removed never comes back."""
    node = snap.nodes.get(node_id)
    return () if node is None else (Relied(Kind.NODE, node_id, node.version.index),)


def is_out_there(task: Task) -> bool:
    """Whether the task was last seen on its node, not ended."""
    return State.ASSIGNED <= task.state <= State.RUNNING

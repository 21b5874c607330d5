"""The scheduler: on which node a task runs.

Pure but for a cache of what nodes carry, which any snapshot can rebuild.  Makes one step of a task's life, PENDING ->
ASSIGNED, and keeps the reason on each task that fits nowhere.  Called by `vault.orchestrator.rounds` as the last stage.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import islice

from msgspec.structs import replace

from vault.model.base import from_s
from vault.model.ids import Kind, NewID
from vault.model.task import State, Task, TaskStatus
from vault.scheduler.filters import explain, first_failed
from vault.scheduler.load import Load, load_of
from vault.store.changes import Put
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot

MAX_CHANGES = 256  # Tasks placed or told a reason in one decision; the next, about its outcome, goes on.
MAX_FAILURES = 5  # From here on a node's recent failures count against it.
Rank = tuple[int, int, int, str]
Group = tuple[str, int]  # Service and spec version: its tasks are alike.


class Scheduler:
    """Places the tasks that have no node, and confirms those that were made for one."""

    def __init__(self) -> None:
        self._loads: dict[str, Load] = {}
        self._pending: dict[str, None] = {}
        self._counted: dict[str, Task] = {}  # Tasks on nodes, as counted: what was placed may have been refused.

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        """Return the tasks that got a node, and the reasons why others did not."""
        if not self._sync(snap, changed):
            return Decision()
        now = from_s(now_s)
        done: list[Task] = []
        for tasks in self._groups(snap):
            done.extend(islice(self._place(tasks, now), MAX_CHANGES - len(done)))
            if len(done) == MAX_CHANGES:
                break
        self._counted.update({task.id: task for task in done if task.state is State.ASSIGNED})
        return Decision(changes=tuple(map(Put, done)))

    def _sync(self, snap: Snapshot, changed: set[Key] | None) -> bool:
        """Bring the cache up to a snapshot; return whether a pending task may have better luck now."""
        if changed is None:
            self._loads, self._pending, self._counted = {}, {}, {}
            changed = {(kind, object_id) for kind in (Kind.NODE, Kind.TASK) for object_id in snap.objects[kind]}
        news = False
        for kind, object_id in changed:
            if kind is Kind.TASK:
                news |= self._sync_task(object_id, snap.tasks.get(object_id))
        for node_id in {object_id for kind, object_id in changed if kind is Kind.NODE}:
            news = True
            self._loads.pop(node_id, None)
            if (node := snap.nodes.get(node_id)) is not None:
                self._loads[node_id] = load_of(snap, node)
        return news and bool(self._pending)

    def _sync_task(self, task_id: str, task: Task | None) -> bool:
        """Count a task as it is now, not as it was counted before; return whether that may help one that is pending."""
        old = self._counted.pop(task_id, None)
        if old is not None and old.node_id in self._loads:
            self._loads[old.node_id].count(old, -1)
        if task is not None and task.node_id:
            self._counted[task_id] = task
            if task.node_id in self._loads:
                self._loads[task.node_id].count(task, 1)
        if task is not None and is_pending(task):
            self._pending[task_id] = None
            return True
        self._pending.pop(task_id, None)
        return old is not None

    def _groups(self, snap: Snapshot) -> Iterable[list[Task]]:
        """Return the pending tasks in groups that are alike, those with a node of their own first."""
        groups: dict[tuple[bool, Group], list[Task]] = {}
        for task_id in sorted(self._pending):
            task = snap.tasks[task_id]
            key = (not task.node_id, (task.service_id, task.spec_version.index if task.spec_version else 0))
            groups.setdefault(key, []).append(task)
        return (groups[key] for key in sorted(groups))

    def _place(self, tasks: list[Task], now: datetime) -> Iterator[Task]:
        """Yield the tasks of a group as they become; those that stay as they are are left out."""
        if tasks[0].node_id:
            yield from (done for task in tasks if (done := self._confirm(task, now)) is not None)
            return
        nodes = self._ranked(tasks[0], now)
        reason = ""
        for task in tasks:
            if (load := take_best(nodes, task, now)) is not None:
                yield assign(task, load, now, "scheduler assigned task to node")
                continue
            reason = reason or self._reason(task)  # The same for the rest: they are alike.
            if task.status.err != reason:
                yield replace(task, status=replace(task.status, err=reason))

    def _reason(self, task: Task) -> str:
        failed = (first_failed(task, load) for load in self._loads.values())
        return explain(place for place in failed if place is not None)

    def _confirm(self, task: Task, now: datetime) -> Task | None:
        load = self._loads.get(task.node_id)
        failed = first_failed(task, load) if load is not None else None
        if load is not None and failed is None:
            return assign(task, load, now, "scheduler confirmed task can run on preassigned node")
        reason = explain([] if failed is None else [failed])
        return replace(task, status=replace(task.status, err=reason)) if task.status.err != reason else None

    def _ranked(self, task: Task, now: datetime) -> list[tuple[Rank, Load]]:
        nodes = [(rank(task, load, now), load) for load in self._loads.values() if first_failed(task, load) is None]
        heapify(nodes)
        return nodes


def is_pending(task: Task) -> bool:
    """Whether a task waits for the scheduler."""
    return task.state is State.PENDING and task.wanted


def rank(task: Task, load: Load, now: datetime) -> Rank:
    """Return how well a node suits a task, the best being least: spread the service first, then the load.

    A node where tasks of this service and spec failed five times in the last five minutes goes last.
    """
    failures = load.recent_failures(task, now)
    bad = failures if failures >= MAX_FAILURES else 0
    return (bad, load.active_of[task.service_id], load.active, load.node.id)


def take_best(nodes: list[tuple[Rank, Load]], task: Task, now: datetime) -> Load | None:
    """Return the best node of a heap that may take one more such task, and put the node back where it belongs then."""
    while nodes:
        _, load = heappop(nodes)
        if first_failed(task, load) is None:
            heappush(nodes, (rank_after(task, load, now), load))
            return load
    return None


def rank_after(task: Task, load: Load, now: datetime) -> Rank:
    """Return a node's rank with one more task of the service."""
    bad, same, active, node_id = rank(task, load, now)
    return (bad, same + 1, active + 1, node_id)


def assign(task: Task, load: Load, now: datetime, message: str) -> Task:
    """Return the task on its node, and count it there."""
    status = TaskStatus(timestamp=now, state=State.ASSIGNED, message=message)
    assigned = replace(task, node_id=load.node.id, status=status)
    load.count(assigned, 1)
    return assigned

"""The scheduler: on which node a task runs.

Pure but for caches of what nodes carry and who waits, which any snapshot can rebuild.  Makes one step of a task's life,
PENDING -> ASSIGNED, and keeps the reason on each task that fits nowhere.  Called by `vault.orchestrator.rounds` as the
last stage.
"""

from collections.abc import Iterator
from itertools import chain, islice, repeat
from math import inf

from msgspec.structs import replace

from vault.model.base import from_s
from vault.model.ids import Kind, NewID
from vault.model.task import State, Task, TaskStatus
from vault.scheduler.filters import PASSES, explain
from vault.scheduler.fleet import Fit, Fleet
from vault.scheduler.load import Load
from vault.scheduler.needs import GroupKey, Needs, group_of, is_limited, needs_of
from vault.scheduler.spread import spread
from vault.scheduler.waiting import Group
from vault.store.changes import Put
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot

MAX_CHANGES = 256  # Tasks placed or told a reason in one decision; the next, about its outcome, goes on.
MAX_LOOKS = 4_000  # Nodes compared with what a task needs in one decision, about 3 ms; one group may finish its own.
MAX_READ = 750  # Tasks and nodes read in one decision, about 8 ms; the next reads on.
KEPT_CHANGES = 4_096  # Of nodes' room; a group that is further behind looks at every node again.
ASSIGNED = "scheduler assigned task to node"
CONFIRMED = "scheduler confirmed task can run on preassigned node"


class Scheduler:
    """Places the tasks that have no node, and confirms those that were made for one."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._fleet = Fleet()
        self._all: Iterator[Key] = iter(())  # Of the first snapshot, yet to be read.
        self._begins = True  # Until all of it has been read.
        self._unread: list[Key] = []  # What changed since; nothing is placed before all is read.
        self._groups: dict[GroupKey, Group] = {}
        self._queue: dict[GroupKey, None] = {}  # Groups to look at, in order.
        self._own: dict[str, dict[str, None]] = {}  # Node -> waiting tasks that were made for it.
        self._own_queue: dict[str, None] = {}  # Nodes whose own tasks are to be looked at.
        self._waits_in: dict[str, GroupKey | str] = {}  # Task -> its group, or its own node.
        self._seen = 0  # Up to where the fleet's changes have woken who waits for them.

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        """Return the tasks that got a node, and the reasons why others did not."""
        if not self._sync(snap, changed):
            return Decision(ask_again_s=now_s)
        self._wake(now_s)
        round_ = Round(self._fleet, snap, now_s)
        while self._own_queue and not round_.over:
            node_id = next(iter(self._own_queue))
            del self._own_queue[node_id]
            if not round_.confirm(node_id, self._own.get(node_id, {})):
                self._own_queue[node_id] = None
        while self._queue and not round_.over:
            key = next(iter(self._queue))
            del self._queue[key]
            if not round_.serve(self._groups[key]):
                self._queue[key] = None  # Others come first now: a large service holds up nobody.
        for task in round_.done:
            if task.state is State.ASSIGNED:
                self._leave(task.id)
        self._trim()
        return Decision(changes=tuple(map(Put, round_.done)), ask_again_s=self._again_s(now_s))

    # What is so.

    def _sync(self, snap: Snapshot, changed: set[Key] | None) -> bool:
        """Bring the caches up to a snapshot; return whether all of it has been read."""
        if changed is None:
            self._forget()
            # Walking a map of a snapshot costs 6 us an object, so it is done a bit at a time too.
            self._all = chain(zip(repeat(Kind.NODE), snap.nodes), zip(repeat(Kind.TASK), snap.tasks))
        else:
            # Sorted, since it may not all be read at once: equal changes, equal decisions.
            self._unread += sorted(key for key in changed if key[0] is Kind.TASK or key[0] is Kind.NODE)
        read = list(islice(self._all, MAX_READ))
        if (more := MAX_READ - len(read)) > 0:
            read += self._unread[-more:]
            del self._unread[-more:]
        for kind, object_id in sorted(read):  # The first snapshot's are in an order of its own.
            if kind is Kind.TASK:
                self._sync_task(object_id, snap.tasks.get(object_id))
            else:
                self._fleet.describe(object_id, snap.nodes.get(object_id))
        if len(read) == MAX_READ:
            return False
        if self._begins:
            self._begins = False
            self._put_in_order()
        return True

    def _put_in_order(self) -> None:
        """Let tasks wait as they would if all had been read at once: a map gives its objects in an order of its own."""
        for group in self._groups.values():
            group.tasks, group.untold, group.aside = map(in_order, (group.tasks, group.untold, group.aside))
        self._groups = dict(sorted(self._groups.items(), key=lambda one: next(iter(one[1].tasks))))
        self._queue = {key: None for key in self._groups if key in self._queue}
        own = {node_id: in_order(tasks) for node_id, tasks in self._own.items()}
        self._own = dict(sorted(own.items(), key=lambda one: next(iter(one[1]))))
        self._own_queue = {node_id: None for node_id in self._own if node_id in self._own_queue}

    def _sync_task(self, task_id: str, task: Task | None) -> None:
        """Count a task as it is now, not as it was counted before, and note whether it waits."""
        counted = self._fleet.counted  # What was placed may have been refused.
        old = counted.get(task_id)
        if old is not None and task is not None and weighs_the_same(old, task):
            counted[task_id] = task
            return
        if old is not None:
            del counted[task_id]
            self._fleet.count(old, -1)
        if task is not None and (task.node_id or task.failed_before):
            counted[task_id] = task
            self._fleet.count(task, 1)
        if task is not None and is_pending(task):
            self._enter(task)
        else:
            self._leave(task_id)

    def _enter(self, task: Task) -> None:
        if task.node_id:
            self._waits_in[task.id] = task.node_id
            self._own.setdefault(task.node_id, {})[task.id] = None
            self._own_queue[task.node_id] = None
            return
        key = group_of(task)
        self._waits_in[task.id] = key
        group = self._groups.setdefault(key, Group())
        group.tasks[task.id] = None
        group.untold[task.id] = None
        if task.beside and is_limited(task):
            group.aside[task.id] = None
        self._queue[key] = None

    def _leave(self, task_id: str) -> None:
        where = self._waits_in.pop(task_id, None)
        if isinstance(where, str):
            self._own[where].pop(task_id, None)
            if not self._own[where]:
                del self._own[where]
        elif where is not None and (group := self._groups.get(where)) is not None:
            group.tasks.pop(task_id, None)
            group.untold.pop(task_id, None)
            group.aside.pop(task_id, None)
            if not group.tasks:
                del self._groups[where]
                self._queue.pop(where, None)

    def _wake(self, now_s: float) -> None:
        """Queue who waits for nodes that changed, or for the time to hear a new reason."""
        if self._own:
            for load in self._fleet.changed[self._seen - self._fleet.changed_before :]:
                if load.id in self._own:
                    self._own_queue[load.id] = None
        self._seen = self._fleet.changes_end
        for key, group in self._groups.items():
            if group.is_due(self._fleet, now_s):
                self._queue[key] = None

    def _trim(self) -> None:
        """Drop the record of changes that nobody waits for, or that is longer than a look at every node."""
        stuck = any(group.marks is not None for group in self._groups.values())
        if not stuck:
            self._fleet.forget_changes(self._seen)
        elif len(self._fleet.changed) > 2 * KEPT_CHANGES:
            self._fleet.forget_changes(min(self._seen, self._fleet.changes_end - KEPT_CHANGES))

    def _again_s(self, now_s: float) -> float | None:
        """Return when there is more to do even if nothing changes."""
        if self._queue or self._own_queue:
            return now_s
        quiet_s = min((group.quiet_until_s for group in self._groups.values() if group.late), default=inf)
        return None if quiet_s == inf else max(quiet_s, now_s)


class Round:
    """One decision in the making."""

    def __init__(self, fleet: Fleet, snap: Snapshot, now_s: float) -> None:
        self.done: list[Task] = []
        self._fleet = fleet
        self._snap = snap
        self._now_s = now_s
        self._now = from_s(now_s)
        self._looks_end = fleet.looks + MAX_LOOKS

    @property
    def over(self) -> bool:
        """Whether the decision is large enough."""
        return len(self.done) >= MAX_CHANGES or self._fleet.looks >= self._looks_end

    def confirm(self, node_id: str, tasks: dict[str, None]) -> bool:
        """Place the tasks that were made for a node, or say why not; return whether all were looked at."""
        load = self._fleet.loads.get(node_id)
        for task_id in tasks:
            if self.over:
                return False
            task = self._snap.tasks[task_id]
            fit = self._fleet.fit(needs_of(task))
            counts = [0] * (PASSES + 1)
            if load is not None and load.node is not None:
                failed = fit.first_failed(load)
                if failed == PASSES or fit.beside(task) is load:
                    self._assign(task, fit.needs, load, CONFIRMED)
                    continue
                counts[failed] = 1
            self._tell(task, explain(counts))
        return True

    def serve(self, group: Group) -> bool:
        """Place the tasks of a group, or say why not; return whether all of that is done."""
        fit = self._fleet.fit(needs_of(self._snap.tasks[next(iter(group.tasks))]))
        if group.marks is not None:
            group.follow(fit)
            if group.marks.room:
                group.marks = None
        if group.marks is None and not self._place(group, fit):
            return False
        if group.marks is not None:
            if not self._place_beside(group, fit):
                return False
            group.note_reason(self._now_s)
        return self._tell_group(group)

    def _place(self, group: Group, fit: Fit) -> bool:
        """Place what can be placed; what is left has marks then.  Return whether the budget was enough for that."""
        tasks = [self._snap.tasks[task_id] for task_id in islice(group.tasks, MAX_CHANGES - len(self.done))]
        rest: list[Task] = []
        for task in tasks:
            if self.over:
                return False
            if (load := self._aim(task, fit)) is None:
                rest.append(task)
            else:
                self._take(group, task, fit.needs, load)
        nodes = spread(fit, self._now) if rest else None  # Beside all that went where a rebalance has chosen.
        for task in rest:
            if self.over:
                return False
            if nodes is None or (load := nodes.take()) is None:
                group.follow(fit)
                return True
            self._take(group, task, fit.needs, load)
        return not group.tasks

    def _place_beside(self, group: Group, fit: Fit) -> bool:
        """Place what has room only where it takes over; return whether the budget was enough for all of that."""
        for task_id in list(group.aside):
            if self.over:
                return False
            del group.aside[task_id]
            if task_id not in group.tasks:
                continue  # It is gone.
            task = self._snap.tasks[task_id]
            if (load := fit.beside(task)) is not None:
                self._take(group, task, fit.needs, load)
            else:
                old = self._fleet.counted.get(task.beside)
                group.aside_on.setdefault(old.node_id if old is not None else "", {})[task_id] = None
        return True

    def _take(self, group: Group, task: Task, needs: Needs, load: Load) -> None:
        """Put a task of a group on its node."""
        del group.tasks[task.id]
        group.untold.pop(task.id, None)
        group.aside.pop(task.id, None)
        self._assign(task, needs, load, ASSIGNED)

    def _aim(self, task: Task, fit: Fit) -> Load | None:
        """Return the node that was chosen for a task by a rebalance, if it will do."""
        load = self._fleet.loads.get(task.aims_at) if task.aims_at else None
        return load if load is not None and fit.first_failed(load) == PASSES else None

    def _assign(self, task: Task, needs: Needs, load: Load, message: str) -> None:
        """Put a task on its node, and count it there."""
        given = load.stock.choose(needs.generic) if needs.generic and load.stock is not None else ()
        status = TaskStatus(timestamp=self._now, state=State.ASSIGNED, message=message)
        assigned = replace(task, node_id=load.id, status=status, generic_resources=given)
        if (before := self._fleet.counted.get(task.id)) is not None:
            self._fleet.count(before, -1)  # It told of failures before it had a node.
        self._fleet.counted[task.id] = assigned
        self._fleet.count(assigned, 1)
        self.done.append(assigned)

    def _tell_group(self, group: Group) -> bool:
        """Tell tasks why they wait; return whether all know."""
        while group.marks is not None and group.untold:
            if len(self.done) >= MAX_CHANGES:
                return False
            task_id = next(iter(group.untold))
            del group.untold[task_id]
            self._tell(self._snap.tasks[task_id], group.reason)
        return True

    def _tell(self, task: Task, reason: str) -> None:
        if task.status.err != reason:
            self.done.append(replace(task, status=replace(task.status, err=reason)))


def in_order(ids: dict[str, None]) -> dict[str, None]:
    """Return ids in their order."""
    return dict.fromkeys(sorted(ids))


def is_pending(task: Task) -> bool:
    """Whether a task waits for the scheduler."""
    return task.state is State.PENDING and task.wanted


def weighs_the_same(old: Task, new: Task) -> bool:
    """Whether a task on a node takes as much of it as before: its state may have moved on meanwhile."""
    return (
        State.ASSIGNED <= old.state <= State.RUNNING
        and State.ASSIGNED <= new.state <= State.RUNNING
        and old.node_id == new.node_id
        and old.wanted == new.wanted
        and old.spec is new.spec
        and old.generic_resources == new.generic_resources
    )

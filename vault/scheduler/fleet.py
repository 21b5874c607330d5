"""All nodes with what they carry, in the order in which they are tried.

A cache that any snapshot can rebuild: each task is counted once, and uncounted as it was counted.  Work follows what
changed: a task costs the logarithm of the number of nodes, and what a node is is compared with what tasks ask for only
once while neither changes.  Used by `schedule`, and by the planner of rebalances for what a move would do.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping
from datetime import datetime
from itertools import count

from vault.model.node import Node
from vault.model.task import Failure, State, Task
from vault.scheduler.failures import FAILURE_WINDOW, failure_of, has_failed
from vault.scheduler.filters import PASSES, first_failed, fixed_place
from vault.scheduler.load import Load
from vault.scheduler.needs import Fixed, GroupKey, Needs, group_of
from vault.scheduler.tree import Tree, tree_of

MAX_FAILURES = 5  # From here on a node's recent failures count against it.
KEPT_FIXED = 1_024  # Different demands whose outcome on nodes is remembered.
KEPT_TREES = 16
NO_TASKS: Mapping[str, int] = {}
Known = dict[str, tuple[Node | None, int]]  # Node -> the node as it was, and which filter it failed then.


class Fleet:
    """What every node carries, by the tasks that were counted."""

    def __init__(self) -> None:
        self.loads: dict[str, Load] = {}  # Of nodes, and of what was a node while tasks are still there.
        self.order: list[tuple[int, str]] = []  # Wanted tasks and id of each node, ascending.
        self.changed: list[Load] = []  # Whose room changed, since `changed_before` such changes.
        self.changed_before = 0
        self.counted: dict[str, Task] = {}  # Tasks on nodes or told of failures; who counts one keeps it here.
        self.looks = 0  # How often a node was compared with what a task needs.
        self._tasks_of: dict[str, dict[str, int]] = {}  # Service -> node -> wanted tasks.
        self._exchanging: dict[tuple[str, str], dict[str, str]] = {}  # Service and node -> task -> whom it replaces.
        # Group -> node -> task that failed there -> when, as so many tell: itself, and one that comes after it.
        self._failures: dict[GroupKey, dict[str, dict[str, dict[datetime, int]]]] = {}
        self._fixed: dict[Fixed, Known] = {}
        self._trees: dict[tuple[str, ...], Tree] = {}
        self._places = count()
        self._free_places: list[int] = []

    @property
    def places(self) -> int:
        """One more than the highest place of a node."""
        return len(self.loads) + len(self._free_places)

    # What is there.

    def describe(self, node_id: str, node: Node | None) -> None:
        """Take a node as it is now; None when it is gone."""
        if node is None and node_id not in self.loads:
            return
        load = self._load(node_id)
        old = load.node
        if (old is None) != (node is None):
            self._list(load, node is not None)
        load.describe(node)
        if old is None or node is None or _labels(old) != _labels(node):
            self._trees.clear()
        self.changed.append(load)
        self._forget_unused(load)

    def count(self, task: Task, by: int) -> None:
        """Count a task that is or is being put on a node, or was told of failures (`by` 1); uncount it (-1)."""
        if task.state.terminal:
            if has_failed(task):
                self._count_failure(group_of(task), failure_of(task), by)
            return
        for failure in task.failed_before:
            self._count_failure(group_of(task), failure, by)
        if task.state < State.ASSIGNED:
            return  # It has no node, or is a global service's that is not confirmed yet.
        load = self._load(task.node_id)
        load.count(task, by)
        if task.wanted:
            if load.node is not None:
                self._list(load, listed=False)
            load.active += by
            if load.node is not None:
                self._list(load, listed=True)
            if task.beside:  # Whether it has a limit or not: a later spec of its service may.
                self._count_exchange(task, by)
            nodes = self._tasks_of.setdefault(task.service_id, {})
            nodes[load.id] = nodes.get(load.id, 0) + by
            if not nodes[load.id]:
                del nodes[load.id]
                if not nodes:
                    del self._tasks_of[task.service_id]
        self.changed.append(load)
        self._forget_unused(load)

    def forget_changes(self, seen: int) -> None:
        """Drop the record of changes before `seen`, a value that `changes_end` had."""
        if seen > self.changed_before:
            del self.changed[: seen - self.changed_before]
            self.changed_before = seen

    @property
    def changes_end(self) -> int:
        """How many changes of room there have been."""
        return self.changed_before + len(self.changed)

    # What would do.

    def tasks_of(self, service_id: str) -> Mapping[str, int]:
        """Return how many tasks of a service are wanted on each node that has some."""
        return self._tasks_of.get(service_id, NO_TASKS)

    def replicas(self, service_id: str, node_id: str) -> int:
        """Return how many replicas of a service with a limit are on a node; one that is being replaced there is one."""
        tasks = self.tasks_of(service_id).get(node_id, 0)
        if not tasks or not (exchanging := self._exchanging.get((service_id, node_id))):
            return tasks
        return tasks - sum(1 for replaced in exchanging.values() if self.is_on(node_id, self.counted.get(replaced)))

    def is_on(self, node_id: str, task: Task | None) -> bool:
        """Whether a task is counted as one that is wanted on a node."""
        return (
            task is not None
            and task.node_id == node_id
            and task.wanted
            and State.ASSIGNED <= task.state <= State.RUNNING
        )

    def failing(self, group: GroupKey, now: datetime) -> dict[str, int]:
        """Return the nodes where tasks of a group failed five times or more in the last five minutes, and how often."""
        after = now - FAILURE_WINDOW
        found: dict[str, int] = {}
        for node_id, failed in self._failures.get(group, {}).items():
            recent = sum(1 for moments in failed.values() if max(moments) > after)
            if recent >= MAX_FAILURES:
                found[node_id] = recent
        return found

    def fit(self, needs: Needs) -> "Fit":
        """Return how nodes suit the tasks of a group."""
        known = self._fixed.get(needs.fixed)
        if known is None:
            if len(self._fixed) >= KEPT_FIXED:
                self._fixed.clear()
            known = self._fixed[needs.fixed] = {}
        return Fit(self, needs, known)

    def tree(self, preferences: tuple[str, ...]) -> Tree:
        """Return the nodes by the labels that tasks are to be spread over."""
        tree = self._trees.get(preferences)
        if tree is None:
            if len(self._trees) >= KEPT_TREES:
                self._trees.clear()
            nodes = [load.node for load in self.loads.values() if load.node is not None]
            tree = self._trees[preferences] = tree_of(nodes, preferences)
        return tree

    def figures(self) -> tuple[object, ...]:
        """Return all that was counted, to be compared with what another counted."""
        loads = {load.id: load.figures() for load in self.loads.values()}
        return loads, self.order, self._tasks_of, self._failures, self._exchanging

    # Inside.

    def _load(self, node_id: str) -> Load:
        load = self.loads.get(node_id)
        if load is None:
            place = self._free_places.pop() if self._free_places else next(self._places)
            load = self.loads[node_id] = Load(id=node_id, place=place)
        return load

    def _list(self, load: Load, listed: bool) -> None:
        """Put a node into the order, or take it out."""
        if listed:
            insort(self.order, (load.active, load.id))
        else:
            del self.order[bisect_left(self.order, (load.active, load.id))]

    def _forget_unused(self, load: Load) -> None:
        if load.node is None and not load.held and not load.active:
            del self.loads[load.id]
            self._free_places.append(load.place)

    def _count_exchange(self, task: Task, by: int) -> None:
        key = (task.service_id, task.node_id)
        tasks = self._exchanging.setdefault(key, {})
        if by > 0:
            tasks[task.id] = task.beside
        else:
            tasks.pop(task.id, None)
        if not tasks:
            del self._exchanging[key]

    def _count_failure(self, key: GroupKey, failure: Failure, by: int) -> None:
        nodes = self._failures.setdefault(key, {})
        failed = nodes.setdefault(failure.node_id, {})
        moments = failed.setdefault(failure.task_id, {})
        moments[failure.at] = moments.get(failure.at, 0) + by
        if not moments[failure.at]:
            del moments[failure.at]
        if not moments:
            del failed[failure.task_id]
        if not failed:
            del nodes[failure.node_id]
        if not nodes:
            del self._failures[key]


class Fit:
    """How nodes suit the tasks of a group, as long as nothing but what nodes carry changes."""

    def __init__(self, fleet: Fleet, needs: Needs, known: Known) -> None:
        self.fleet = fleet
        self.needs = needs
        self._known = known

    def fixed(self, load: Load) -> int:
        """Return the first filter that a node fails by what it is; `filters.PASSES` if there is none."""
        known = self._known.get(load.id)
        if known is None or known[0] is not load.node:
            known = self._known[load.id] = (load.node, fixed_place(self.needs.fixed, load.node))
        return known[1]

    def first_failed(self, load: Load) -> int:
        """Return the first filter that a node fails for one more task; `filters.PASSES` if it may have it."""
        self.fleet.looks += 1
        same = self.fleet.replicas(self.needs.service_id, load.id) if self.needs.max_replicas else 0
        return first_failed(self.needs, load, fixed=self.fixed(load), same=same)

    def beside(self, task: Task) -> Load | None:
        """Return the node of the task that another may run beside, if it will do for both: they are one replica."""
        old = self.fleet.counted.get(task.beside)
        load = self.fleet.loads.get(old.node_id) if old is not None else None
        if load is None or not self.fleet.is_on(load.id, old):
            return None
        self.fleet.looks += 1
        others = self.fleet.replicas(self.needs.service_id, load.id) - 1
        return load if first_failed(self.needs, load, fixed=self.fixed(load), same=others) == PASSES else None

    def same(self, node_id: str) -> int:
        """Return how many tasks of the service are wanted on a node."""
        return self.fleet.tasks_of(self.needs.service_id).get(node_id, 0)


def _labels(node: Node) -> tuple[dict[str, str], dict[str, str]]:
    return node.spec.labels, node.description.engine.labels

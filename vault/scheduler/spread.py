"""Which node is best for the next task of a group: spread the service first, then the load.

Used by one decision while it is being made; whoever takes a node counts the task there before taking the next one.

Without preferences: nodes where the group keeps failing go last; then those with fewer tasks of the service; then those
with fewer tasks; then by id.  With preferences the tasks of the service are first spread evenly over the values of the
first label, those of each value over the values of the second, and so on; a branch without room leaves its share to
the others.
"""

from collections.abc import Mapping
from datetime import datetime
from heapq import heapify, heappop, heapreplace
from typing import Protocol

from vault.scheduler.filters import PASSES
from vault.scheduler.fleet import Fit
from vault.scheduler.load import Load
from vault.scheduler.tree import Tree

Rank = tuple[int, int, int, str]  # Failures (0 if they are few), tasks of the service, tasks, id.


class Source(Protocol):
    """Nodes, the best first."""

    def take(self) -> Load | None:
        """Return the node for one more task; None when no node has room."""
        ...


def spread(fit: Fit, now: datetime) -> Source:
    """Return the nodes for the tasks of a group."""
    failing = fit.fleet.failing(fit.needs.group, now)
    tree = fit.fleet.tree(fit.needs.preferences) if fit.needs.preferences else None
    if tree is None or not tree.below:
        return Everywhere(fit, failing)
    return Branches(fit, failing, tree)


class Ranked:
    """Some nodes, all of them ranked at the first question."""

    def __init__(self, fit: Fit, failing: Mapping[str, int], nodes: list[str]) -> None:
        self._fit = fit
        self._failing = failing
        self._nodes: list[str] | None = nodes
        self._heap: list[Rank] = []

    def add(self, node_id: str) -> None:
        """Take in a node before the first question."""
        assert self._nodes is not None
        self._nodes.append(node_id)

    def take(self) -> Load | None:
        """Return the node for one more task."""
        if self._nodes is not None:
            tasks, loads = self._fit.fleet.tasks_of(self._fit.needs.service_id), self._fit.fleet.loads
            self._heap = [(self._failing.get(id_, 0), tasks.get(id_, 0), loads[id_].active, id_) for id_ in self._nodes]
            heapify(self._heap)
            self._nodes = None
        while self._heap:
            failures, same, active, node_id = self._heap[0]
            load = self._fit.fleet.loads[node_id]
            if self._fit.first_failed(load) == PASSES:
                heapreplace(self._heap, (failures, same + 1, active + 1, node_id))
                return load
            heappop(self._heap)  # What it carries only grows while a decision is being made.
        return None


class Everywhere:
    """All nodes.  Those without a task of the service are found by walking the fleet's order, without ranking them."""

    def __init__(self, fit: Fit, failing: Mapping[str, int]) -> None:
        self._fit = fit
        fleet = fit.fleet
        known = {*fleet.tasks_of(fit.needs.service_id), *failing}
        nodes = [node_id for node_id in known if node_id in fleet.loads and fleet.loads[node_id].node is not None]
        self._known = known  # Ranked nodes: the walk leaves them out.
        self._ranked = Ranked(fit, failing, nodes)
        self._at = 0

    def take(self) -> Load | None:
        """Return the node for one more task."""
        fleet = self._fit.fleet
        order = fleet.order
        while self._at < len(order):
            node_id = order[self._at][1]
            if node_id not in self._known:
                load = fleet.loads[node_id]
                if self._fit.first_failed(load) == PASSES:
                    self._known.add(node_id)
                    self._ranked.add(node_id)
                    return load  # Counting the task moves it on in the order: the next node comes to its place.
            self._at += 1
        return self._ranked.take()


class Branches:
    """The branches of a tree, filled evenly; among equals the one whose nodes have fewer tasks is first."""

    def __init__(self, fit: Fit, failing: Mapping[str, int], tree: Tree) -> None:
        tasks, loads = fit.fleet.tasks_of(fit.needs.service_id), fit.fleet.loads
        self._heap: list[tuple[int, float, str, Source]] = []
        for value, branch in tree.below.items():
            same = sum(tasks.get(node_id, 0) for node_id in branch.nodes) if tasks else 0
            active = sum(loads[node_id].active for node_id in branch.nodes) / len(branch.nodes)
            source: Source = Branches(fit, failing, branch) if branch.below else Ranked(fit, failing, branch.nodes)
            self._heap.append((same, active, value, source))
        heapify(self._heap)

    def take(self) -> Load | None:
        """Return the node for one more task."""
        while self._heap:
            same, active, value, source = self._heap[0]
            load = source.take()
            if load is not None:
                heapreplace(self._heap, (same + 1, active, value, source))
                return load
            heappop(self._heap)
        return None

"""Which tasks move so that all nodes have about as many, without making any service less evenly spread.

Pure; goes on where `rebalance.even_out` has spread each service by itself: of services with few tasks nothing else
says on which nodes they are.  A task moves only from a node with more tasks of its service to one with fewer, and only
within a branch of its preferences, so no service is spread worse; only to a node that has two tasks less, so each move
helps and none is ever taken back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush

from vault.model.task import Task
from vault.scheduler.filters import PASSES
from vault.scheduler.fleet import Fit, Fleet
from vault.scheduler.rebalance import Move, apply, worth
from vault.scheduler.tree import Tree

MAX_TRIES = 500_000  # Looks at a service and two nodes, about a second; what is found by then is a plan, too.


@dataclass(frozen=True, slots=True)
class Movable:
    """A service and those of its tasks that may be moved: none on a node that takes no new ones."""

    fit: Fit
    tasks: Sequence[Task]


def level(fleet: Fleet, services: Sequence[Movable], now: datetime, onto: Collection[str] | None = None) -> list[Move]:
    """Return the moves, each of which helps after those before it; count them on the fleet."""
    search = Search(fleet, services, now)
    open_ = [(load.active, load.id) for load in fleet.loads.values() if load.node is not None and load.node.ready]
    heap = [one for one in open_ if onto is None or one[1] in onto]
    heapify(heap)
    moves: list[Move] = []
    helped, not_helped = 0, list[str]()  # Moves when these nodes began to be looked at; those that none helped.
    while heap and search.tries < MAX_TRIES:
        _, node_id = heappop(heap)
        move = search.move_to(node_id)
        if move is not None:
            moves.append(move)
            heappush(heap, (fleet.loads[node_id].active, node_id))
        else:
            not_helped.append(node_id)
        if not heap and len(moves) > helped:  # What a service gave away since may let a task of it come.
            heap = [(fleet.loads[one].active, one) for one in not_helped]
            heapify(heap)
            helped, not_helped = len(moves), []
    return moves


class Search:
    """The tasks that may still be moved, by node."""

    def __init__(self, fleet: Fleet, services: Iterable[Movable], now: datetime) -> None:
        self.tries = 0
        self._fleet = fleet
        self._fits: dict[str, Fit] = {}
        self._failing: dict[str, Mapping[str, int]] = {}
        self._branches: dict[tuple[str, ...], dict[str, int]] = {}  # Preferences -> node -> its branch.
        self._on: dict[str, dict[str, list[Task]]] = {}  # Node -> service -> tasks, the one that moves first last.
        for service in services:
            needs = service.fit.needs
            self._fits[needs.service_id] = service.fit
            self._failing[needs.service_id] = fleet.failing(needs.group, now)
            self._branches.setdefault(needs.preferences, branches_of(fleet.tree(needs.preferences)))
            for task in sorted(service.tasks, key=worth, reverse=True):
                self._on.setdefault(task.node_id, {}).setdefault(needs.service_id, []).append(task)

    def move_to(self, node_id: str) -> Move | None:
        """Return, and count, the move to a node that helps most; None if none helps."""
        target = self._fleet.loads[node_id]
        for active, other in reversed(self._fleet.order):
            if active - target.active < 2:
                return None
            here = self._on.get(other, {})
            may = (tasks[-1] for service_id, tasks in here.items() if self._may(service_id, other, node_id))
            best = min(may, key=worth, default=None)
            if best is not None:
                return self._moved(best, node_id)
        return None

    def _may(self, service_id: str, source: str, target: str) -> bool:
        """Whether a task of a service may move from one node to another, and the service is spread no worse then."""
        self.tries += 1
        fit = self._fits[service_id]
        branch = self._branches[fit.needs.preferences]
        return (
            fit.same(target) < fit.same(source)
            and branch[target] == branch[source]
            and target not in self._failing[service_id]
            and fit.first_failed(self._fleet.loads[target]) == PASSES
        )

    def _moved(self, task: Task, node_id: str) -> Move:
        tasks = self._on[task.node_id][task.service_id]
        tasks.pop()
        if not tasks:
            del self._on[task.node_id][task.service_id]
        move = Move(task, node_id)
        apply(self._fleet, move, self._fits[task.service_id].needs)
        return move


def branches_of(tree: Tree) -> dict[str, int]:
    """Return a number for the last branch that each node is in."""
    found: dict[str, int] = {}
    todo, number = [tree], 0
    while todo:
        branch = todo.pop()
        if branch.below:
            todo += branch.below.values()
            continue
        number += 1
        found.update(dict.fromkeys(branch.nodes, number))
    return found

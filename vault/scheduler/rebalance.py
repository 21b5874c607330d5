"""Which tasks of a service move, and where to, so that it is spread evenly: as few as can be.

Pure; `fleet` is as the tasks are now, and is counted on as the moves are planned.  Called by `level` and, through it,
by the API.  A move is planned only to a node that passes every filter while the task still has its old place: what it
leaves behind is free only once it has ended.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from vault.model.task import State, Task
from vault.scheduler.filters import PASSES
from vault.scheduler.fleet import Fit, Fleet
from vault.scheduler.load import Load
from vault.scheduler.needs import Needs
from vault.scheduler.shares import Place, shares
from vault.scheduler.tree import Tree


@dataclass(frozen=True, slots=True)
class Move:
    """A task whose successor is to run on another node."""

    task: Task
    to: str  # Node.


def even_out(
    fleet: Fleet, needs: Needs, tasks: Sequence[Task], now: datetime, onto: Collection[str] | None = None
) -> list[Move]:
    """Return the moves that spread a service evenly, in an order in which each of them helps; count them on the fleet.

    needs: of its tasks as they would be made now.  tasks: those that may be moved.  onto: where to; None = anywhere.
    """
    fit = fleet.fit(needs)
    root = _places(fit, tasks, now, onto)
    total = root.has
    if not root.below or not root.low <= total <= root.high:
        return []
    wanted = shares(root, total)
    has = fleet.tasks_of(needs.service_id)
    coming = [node_id for node_id, count in wanted.items() for _ in range(count - has.get(node_id, 0))]
    going = _going(tasks, {node_id: has.get(node_id, 0) - count for node_id, count in wanted.items()})
    moves = [Move(task, to) for task, to in zip(going, _in_turns(coming), strict=True)]
    for move in moves:
        apply(fleet, move, needs)
    return moves


def apply(fleet: Fleet, move: Move, needs: Needs) -> None:
    """Count a move: the old task is not wanted any more, but has its place still; the new one has its own."""
    fleet.count(move.task, -1)
    fleet.count(replace(move.task, desired_state=State.SHUTDOWN), 1)
    load = fleet.loads[move.to]
    given = load.stock.choose(needs.generic) if needs.generic and load.stock is not None else ()
    fleet.count(replace(move.task, node_id=move.to, generic_resources=given), 1)


def worth(task: Task) -> tuple[bool, int, str]:
    """Sort key: which task is moved first, one that does not run yet, then the highest slot."""
    return (task.state is State.RUNNING, -task.slot, task.id)


def _going(tasks: Sequence[Task], surplus: dict[str, int]) -> list[Task]:
    """Return the tasks that leave, from the node with the largest surplus first."""
    on: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=worth):
        on.setdefault(task.node_id, []).append(task)
    leaving = _in_turns([node_id for node_id, count in surplus.items() for _ in range(max(count, 0))])
    return [on[node_id].pop(0) for node_id in leaving]


def _in_turns(node_ids: Sequence[str]) -> list[str]:
    """Return ids so that those that come most often are first, and take turns from when others come as often."""
    left: dict[str, int] = {}
    for node_id in node_ids:
        left[node_id] = left.get(node_id, 0) + 1
    numbered = [(number, node_id) for node_id, count in left.items() for number in range(count, 0, -1)]
    return [node_id for _, node_id in sorted(numbered, key=lambda one: (-one[0], one[1]))]


def _places(fit: Fit, tasks: Sequence[Task], now: datetime, onto: Collection[str] | None) -> Place:
    """Return the nodes in their branches, with what each can hold."""
    movable = Counter(task.node_id for task in tasks)
    failing = fit.fleet.failing(fit.needs.group, now)

    def place_of(name: str, tree: Tree, at_least: Callable[[int], int]) -> Place:
        if tree.below:
            return Place(name, below=[place_of(one, tree.below[one], at_least) for one in sorted(tree.below)])
        return Place(name, below=[leaf(node_id, at_least) for node_id in tree.nodes])

    def leaf(node_id: str, at_least: Callable[[int], int]) -> Place:
        load, has = fit.fleet.loads[node_id], fit.same(node_id)
        low = has - movable[node_id]
        closed = node_id in failing or (onto is not None and node_id not in onto)
        high = max(low, at_least(has), _most(fit, load, has, closed=closed))
        return Place(node_id, load.active, has=has, low=low, high=high)

    tree = fit.fleet.tree(fit.needs.preferences)
    root = place_of("", tree, lambda _: 0)
    # Where tasks are that should not be there, and no other node has room for them, they stay.
    return root if root.has <= root.high else place_of("", tree, lambda has: has)


def _most(fit: Fit, load: Load, has: int, *, closed: bool) -> int:
    """Return how many tasks of the service a node may have that has some.  closed: no more than these."""
    if fit.fixed(load) != PASSES:
        return 0
    most = has if closed else has + load.room(fit.needs)
    return min(most, fit.needs.max_replicas or most)

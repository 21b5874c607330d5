"""How tasks are shared evenly among branches and nodes while as few as possible move.  Pure.

Used by `rebalance`.  Even means: at each level, of two neighbours none has two tasks more than the other where one of
them might be moved.  That settles every share but for who has one more than others; who moves least has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Place:
    """A node, or a branch with places below it."""

    name: str
    load: float = 0.0  # Among equals those with less have one more.
    has: int = 0  # Tasks that are there now; of a branch, the sum.
    low: int = 0  # How many stay whatever happens.
    high: int = 0  # How many there can be.
    below: Sequence["Place"] = ()
    costs: dict[int, int] = field(default_factory=dict)  # Tasks -> how many of them would have to come.

    def __post_init__(self) -> None:
        if self.below:
            self.has = sum(place.has for place in self.below)
            self.low = sum(place.low for place in self.below)
            self.high = sum(place.high for place in self.below)


def shares(root: Place, total: int) -> dict[str, int]:
    """Return how many of `total` tasks each node is to have.  `root.low <= total <= root.high` must hold."""
    found: dict[str, int] = {}
    todo = [(root, total)]
    while todo:
        place, count = todo.pop()
        if place.below:
            todo += zip(place.below, split(place, count), strict=True)
        else:
            found[place.name] = count
    return found


def split(branch: Place, total: int) -> list[int]:
    """Return how many of a branch's tasks each place below it is to have."""
    level = _level(branch, total)
    counts = [_at(place, level) for place in branch.below]
    more = total - sum(counts)
    if more:
        open_ = [n for n, place in enumerate(branch.below) if place.low <= level < place.high]
        open_.sort(key=lambda n: (_extra(branch.below[n], level), branch.below[n].load, branch.below[n].name))
        for n in open_[:more]:
            counts[n] += 1
    return counts


def cost(place: Place, total: int) -> int:
    """Return how many tasks must come to a place, or move within it, for it to have `total`."""
    if not place.below:
        return max(0, total - place.has)
    known = place.costs.get(total)
    if known is None:
        counts = split(place, total)
        known = place.costs[total] = sum(cost(one, count) for one, count in zip(place.below, counts, strict=True))
    return known


def _extra(place: Place, level: int) -> int:
    return cost(place, level + 1) - cost(place, level)


def _at(place: Place, level: int) -> int:
    """Return how many tasks a place has when all are filled to a level, as far as they can be."""
    return min(max(level, place.low), place.high)


def _level(branch: Place, total: int) -> int:
    """Return the highest level to which `total` tasks fill all places."""
    low, high = 0, total
    while low < high:
        middle = (low + high + 1) // 2
        if sum(_at(place, middle) for place in branch.below) <= total:
            low = middle
        else:
            high = middle - 1
    return low

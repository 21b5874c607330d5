"""Tasks that wait for a node, in groups that are alike, and why.

Used by `schedule`.  A group that fits nowhere remembers which filter each node fails, so that a change of one node
costs one look and not one at every node.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from vault.scheduler.filters import PASSES, explain
from vault.scheduler.fleet import Fit, Fleet
from vault.scheduler.load import Load

ABSENT = PASSES + 1  # In `Marks`: no node has this place.
TOLD_AT_ONCE = 16  # Groups up to this size hear of each new reason at once,
TOLD_PER_S = 160  # larger ones so often that it comes to so many tasks a second.


class Marks:
    """The filter that each node fails for a group, one byte a node."""

    def __init__(self) -> None:
        self._places = bytearray()
        self._counts = [0] * (PASSES + 1)
        self._seen = -1  # Up to where the fleet's changes are known here.

    def follow(self, fit: Fit) -> Collection[Load]:
        """Look at the nodes that changed since the last look, at first at all; return them."""
        fleet = fit.fleet
        if self._seen < fleet.changed_before:
            self._places, self._counts = bytearray([ABSENT]) * fleet.places, [0] * (PASSES + 1)
            loads: Collection[Load] = fleet.loads.values()
        else:
            loads = dict.fromkeys(fleet.changed[self._seen - fleet.changed_before :])
        self._seen = fleet.changes_end
        self._look(fit, loads)
        return loads

    def is_behind(self, fleet: Fleet) -> bool:
        """Whether nodes have changed since the last look."""
        return self._seen != fleet.changes_end

    @property
    def room(self) -> bool:
        """Whether a node will do."""
        return self._counts[PASSES] > 0

    @property
    def reason(self) -> str:
        """Why no node will do."""
        return explain(self._counts)

    def _look(self, fit: Fit, loads: Iterable[Load]) -> None:
        places, counts = self._places, self._counts
        for load in loads:
            if load.place >= len(places):
                places.extend([ABSENT] * (load.place + 1 - len(places)))
            if (old := places[load.place]) != ABSENT:
                counts[old] -= 1
            if load.node is None:  # It is gone; its tasks may still be seen.
                places[load.place] = ABSENT
                continue
            places[load.place] = new = fit.first_failed(load)
            counts[new] += 1


@dataclass(slots=True)
class Group:
    """Tasks of one service and spec that wait."""

    tasks: dict[str, None] = field(default_factory=dict)
    marks: Marks | None = None  # None while there may be room.
    reason: str = ""  # What they are told.
    aside: dict[str, None] = field(default_factory=dict)  # Those that may have room beside others, to be looked at,
    aside_on: dict[str, dict[str, None]] = field(default_factory=dict)  # or once a node changes; "": any.
    untold: dict[str, None] = field(default_factory=dict)  # Tasks that may say something else.
    late: bool = False  # The marks say something else by now.
    quiet_until_s: float = 0.0  # Until then `reason` stays.

    def follow(self, fit: Fit) -> None:
        """Bring the marks up to the nodes; who waits for room beside another on one that changed is looked at again."""
        self.marks = self.marks or Marks()
        changed = self.marks.follow(fit)
        if self.aside_on:
            for node_id in ("", *(load.id for load in changed)):
                self.aside.update(self.aside_on.pop(node_id, {}))

    def note_reason(self, now_s: float) -> None:
        """Take over the reason from the marks; a large group is told of a change of it only after a while.

        Each change of a node may change a count in it, and each telling is a write for every task of the group.
        """
        assert self.marks is not None
        reason = self.marks.reason
        self.late = bool(reason != self.reason and self.reason and now_s < self.quiet_until_s)
        if reason == self.reason or self.late:
            return
        self.reason = reason
        self.untold = dict(self.tasks)
        self.quiet_until_s = now_s + (len(self.tasks) / TOLD_PER_S if len(self.tasks) > TOLD_AT_ONCE else 0.0)

    def is_due(self, fleet: Fleet, now_s: float) -> bool:
        """Whether a group that fits nowhere is to be looked at again."""
        return self.marks is not None and (self.marks.is_behind(fleet) or (self.late and now_s >= self.quiet_until_s))

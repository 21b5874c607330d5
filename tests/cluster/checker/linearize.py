"""Is there an order of operations, within their intervals, that the model allows?

Wing and Gong's search with Lowe's memory of what was tried (Lowe, "Testing for linearizability", 2017): depth first
over the operations that may come next, never twice from the same set of operations done and the same state.  One whose
outcome is unknown never has to be placed, and may be placed at any time after its call.

Two choices need no second thought.  An answered operation that fits and changes nothing is placed at once and never
elsewhere: every order with it later is one with it now.  One of unknown outcome that changes nothing is left out.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.cluster.checker.history import Operation

STEPS_MAX = 2_000_000
S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came to."""

    linearizable: bool | None  # None: not decided within the limits.
    steps: int
    longest: tuple[Operation, ...] = ()  # The longest order that was found.
    stuck: tuple[Operation, ...] = ()  # What could have come next, and fits nowhere.


@dataclass(slots=True)
class _Entry:
    """A call or a return in the list of events; removed and put back in constant time."""

    number: int
    returned: "_Entry | None"  # Of a call: its return, if it has one.
    before: "_Entry" = field(init=False)
    after: "_Entry | None" = field(init=False, default=None)

    def lift(self) -> None:
        """Take a call and its return out of the list."""
        for one in (self, self.returned):
            if one is not None:
                one.before.after = one.after
                if one.after is not None:
                    one.after.before = one.before

    def unlift(self) -> None:
        """Put both back."""
        for one in (self.returned, self):
            if one is not None:
                one.before.after = one
                if one.after is not None:
                    one.after.before = one


def linearize(
    operations: Sequence[Operation],
    start: S,
    step: Callable[[S, Operation], S | None],
    *,
    steps_max: int = STEPS_MAX,
    deadline_s: float | None = None,
) -> Found:
    """Search for an order.

    deadline_s: by the monotonic clock; the search gives up then, as it does after `steps_max` steps.
    """
    head = _events(operations)
    todo = sum(one.decided for one in operations)
    state, done, steps = start, 0, 0
    tried: set[tuple[int, S]] = set()
    placed: list[tuple[_Entry, S, bool]] = []  # The call, the state before it, and whether there is another choice.
    longest: tuple[Operation, ...] = ()
    stuck: tuple[Operation, ...] = ()
    entry = head.after
    while todo:
        steps += 1
        if steps > steps_max or (deadline_s is not None and steps % 4096 == 0 and time.monotonic() > deadline_s):
            return Found(linearizable=None, steps=steps, longest=longest)
        if entry is not None and entry.number >= 0:  # A call: try it here.
            one = operations[entry.number]
            after = step(state, one)
            idle = after == state
            if after is not None and (one.decided or not idle) and (done | 1 << entry.number, after) not in tried:
                memory = (done | 1 << entry.number, after)
                tried.add(memory)
                placed.append((entry, state, not idle))
                state, done, todo = after, memory[0], todo - one.decided
                entry.lift()
                entry = head.after
            else:
                entry = entry.after
            continue
        # A return, or the end: whatever comes next fits nowhere here, so the newest choice was wrong.
        if len(placed) >= len(longest):
            longest = tuple(operations[one.number] for one, *_ in placed)
            stuck = tuple(_candidates(head, operations))
        choice = False
        while not choice:
            if not placed:
                return Found(linearizable=False, steps=steps, longest=longest, stuck=stuck)
            entry, state, choice = placed.pop()
            done ^= 1 << entry.number
            todo += operations[entry.number].decided
            entry.unlift()
        assert entry is not None
        entry = entry.after
    return Found(linearizable=True, steps=steps, longest=tuple(operations[one.number] for one, *_ in placed))


def _events(operations: Sequence[Operation]) -> _Entry:
    """Return the head of the list of calls (number >= 0) and returns (-1), in the order of their times."""
    times: list[tuple[int, int, int, _Entry]] = []
    for number, one in enumerate(operations):
        returned = _Entry(-1, None) if one.decided else None
        # At one instant calls come first: what touches in time may be in either order.
        times.append((one.called_ns, 0, number, _Entry(number, returned)))
        if returned is not None:
            times.append((one.returned_ns, 1, number, returned))
    head = last = _Entry(-1, None)
    for *_, entry in sorted(times, key=lambda item: item[:3]):
        last.after, entry.before = entry, last
        last = entry
    return head


def _candidates(head: _Entry, operations: Sequence[Operation]) -> list[Operation]:
    found, entry = [], head.after
    while entry is not None and entry.number >= 0:
        found.append(operations[entry.number])
        entry = entry.after
    return found

"""Which nodes have been silent for too long.

Pure: it is told what was heard and what time it is.  Called by `vault.dispatcher.service`, every `patience.TICK_S`.
A node is silent once three of its heartbeats are missing, by a clock that stands still while this manager does, and
still silent one tick later: what had arrived by then has been read.
"""

from dataclasses import dataclass
from typing import Final

from vault.rpc.patience import LAG_LIMIT_S, Patience

MISSED: Final = 3  # Heartbeats.
# After a change of leader nodes have to find the new one first.  Docker gives them 6 heartbeats; with heartbeats of a
# second that is less than a node may need to notice that its manager is silent and to try the others.
MISSED_AT_TAKE_OVER: Final = 6
TAKE_OVER_S: Final = 10.0


def grace_at_take_over(period_s: float) -> float:
    """Return how long a new leader waits for a node's first word."""
    return max(MISSED_AT_TAKE_OVER * period_s, TAKE_OVER_S)


@dataclass(slots=True)
class _Expected:
    """A node that should be heard."""

    within_s: float
    until_s: float  # By the clock that stands still.
    suspected: bool = False


class Liveness:
    """Deadlines of nodes."""

    def __init__(self, *, now_s: float) -> None:
        self._clock = Patience(now_s=now_s)
        self._expected: dict[str, _Expected] = {}

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._expected

    def expect(self, node_id: str, *, within_s: float) -> None:
        """Let a node be heard within so many seconds."""
        self._expected[node_id] = _Expected(within_s, self._clock.listened_s + within_s)

    def heard(self, node_id: str, *, period_s: float) -> None:
        """Note a sign of life of a node that says it has one every so many seconds."""
        self.expect(node_id, within_s=MISSED * period_s)

    def forget(self, node_id: str) -> None:
        """Expect nothing of a node any more."""
        self._expected.pop(node_id, None)

    def silent(self, now_s: float) -> tuple[str, ...]:
        """Return the nodes that have been silent for too long, and forget them; to be asked every TICK_S."""
        late_s = self._clock.tick(now_s)
        clock_s = self._clock.listened_s
        if late_s > LAG_LIMIT_S:
            for expected in self._expected.values():
                expected.until_s, expected.suspected = clock_s + expected.within_s, False
            return ()
        gone = []
        for node_id, expected in self._expected.items():
            if expected.until_s >= clock_s:
                continue
            if expected.suspected:
                gone.append(node_id)
            expected.suspected = True
        for node_id in gone:
            del self._expected[node_id]
        return tuple(gone)

"""The cluster's time: this machine's clock, but never before what the store already says happened.  Reads clocks.

Deciders compare now with times in the store, which another leader with another clock may have written.  A leader whose
clock is an hour slow goes on from the newest of them, at its own pace, until its clock has caught up; so it neither
waits an hour nor stamps a change earlier than the one before.  Called by `vault.raftstore.store` and `replica`.
"""

from collections.abc import Callable


class Clock:
    """Seconds since 1970 that never go back within a process, nor behind what it was told of."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._last_s, self._at = wall(), monotonic()

    def now_s(self) -> float:
        """Return the time."""
        now_s, at = self._wall(), self._monotonic()
        if now_s < self._last_s:
            now_s = self._last_s + at - self._at
        self._last_s, self._at = now_s, at
        return now_s

    def saw(self, newest_s: float) -> None:
        """Go on from a time that is in the store."""
        if newest_s > self.now_s():
            self._last_s, self._at = newest_s, self._monotonic()

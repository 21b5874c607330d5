"""How long somebody has been silent, counted only while this process was able to hear.

Pure.  A process that was stopped, starved or busy cannot say of others that they were silent.  Used by the dispatcher
for its nodes and by the agent for its manager; each ticks one clock from a task of its own.
"""

from typing import Final

TICK_S: Final = 0.25
SLACK_S: Final = 0.1  # A tick may be late by so much and its time still counts in full.
LAG_LIMIT_S: Final = 1.0  # After a tick as late as this, everybody gets all of their time again.


class Patience:
    """A clock that stands still while this process does."""

    def __init__(self, *, now_s: float) -> None:
        self.listened_s = 0.0  # Time in which others could have been heard.
        self._last_s = now_s

    def tick(self, now_s: float) -> float:
        """Count the time since the last tick, which should be TICK_S; return how late this one is, in seconds."""
        passed_s = max(0.0, now_s - self._last_s)
        self._last_s = now_s
        self.listened_s += min(passed_s, TICK_S + SLACK_S)
        return max(0.0, passed_s - TICK_S)

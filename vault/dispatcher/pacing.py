"""How often something may be done: a few times at once, and evenly when it goes on.  Pure.

Used by `session` and `writer`.  What happens now and then is told without delay, also when one thing leads to the
next; of what happens all the time, what comes meanwhile is told together.
"""


class Allowance:
    """Counts what is done.  (The generic cell rate algorithm; ITU-T I.371.)"""

    def __init__(self, *, every_s: float, burst: int) -> None:
        """every_s: between two, on average.  burst: how many may be done at once after a rest."""
        self._every_s = every_s
        self._slack_s = (burst - 1) * every_s
        self._due_s = float("-inf")

    def pause_s(self, now_s: float) -> float:
        """Count one that was done now; return how long to wait before the next."""
        self._due_s = max(self._due_s, now_s) + self._every_s
        return max(0.0, self._due_s - now_s - self._slack_s)

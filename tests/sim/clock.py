"""Virtual time: what happens when, decided by nothing but the seed."""

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

START_S = 1_700_000_000.0


class Clock:
    """A queue of things to happen; time moves only from one to the next."""

    def __init__(self, seed: int) -> None:
        self.now_s = START_S
        self.random = Random(seed)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        """Let something happen later."""
        self._count += 1
        heappush(self._queue, (self.now_s + max(delay_s, 0.0), self._count, event))

    def run(self, duration_s: float) -> None:
        """Let `duration_s` seconds pass."""
        end_s = self.now_s + duration_s
        while self._queue and self._queue[0][0] <= end_s:
            at_s, _, event = heappop(self._queue)
            self.now_s = max(self.now_s, at_s)
            event()
        self.now_s = end_s

    def chance(self, probability: float) -> bool:
        """Return True as often as asked for."""
        return self.random.random() < probability

    def between(self, low: float, high: float) -> float:
        """Return a number in a range."""
        return self.random.uniform(low, high)

"""Virtual time: what happens when, decided by nothing but the seed."""

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

START_S = 1_700_000_000.0


class Clock:
    """A queue of things to happen; time moves only from one to the next."""

    def __init__(self, seed: int) -> None:
        self.now_s = START_S
        self.random = Random(seed)
        self.steps = 0  # Things that have happened.
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, delay_s: float, event: Callable[..., object], *args: object) -> None:
        """Let something happen later."""
        self._count += 1
        heappush(self._queue, (self.now_s + delay_s if delay_s > 0 else self.now_s, self._count, event, args))

    def run(self, duration_s: float) -> None:
        """Let `duration_s` seconds pass."""
        end_s, queue = self.now_s + duration_s, self._queue
        while queue and queue[0][0] <= end_s:
            self.now_s, _, event, args = heappop(queue)
            self.steps += 1
            event(*args)
        self.now_s = end_s

    def chance(self, probability: float) -> bool:
        """Return True as often as asked for."""
        return self.random.random() < probability

    def between(self, low: float, high: float) -> float:
        """Return a number in a range."""
        return low + (high - low) * self.random.random()

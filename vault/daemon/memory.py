"""Short pauses of Python's garbage collector: it looks once at what stays, and not again each time.

A collection of everything holds every thread for almost 1 us an object: 0.2 s with the sessions of a thousand nodes.
So what has survived one that took long is set aside, and the next looks only at what was made since.  What becomes
garbage among the old, in cycles, is found when memory has grown.

Not pure.  Called by `vault.daemon.compose`, for as long as vaultd serves.
"""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

FULL_AFTER: Final = 4  # Collections of the young that a full one follows, which then has few objects: 28,000 at most.
LONG_S: Final = 0.008  # What a collection may take of the processor, and go on with the same next time.
LOOK_S: Final = 60.0  # Between looks at how much memory is in use.
GROWTH: Final = 0.5  # By so much more, and
MARGIN_BYTES: Final = 64 * 1024 * 1024  # so much, since the last collection of everything there is another.
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Collector:
    """Sets aside what a long collection has left, and collects everything when memory has grown."""

    def __init__(self, resident_bytes: Callable[[], int], clock_s: Callable[[], float]) -> None:
        """resident_bytes: returns how much memory is in use.  clock_s: the processor time of the thread that asks."""
        self._resident_bytes = resident_bytes
        self._clock_s = clock_s
        self._begun_s = 0.0
        self._limit_bytes = 0
        self._usual = gc.get_threshold()

    def begin(self) -> None:
        """Set aside what there is, and from now on what each long collection leaves."""
        gc.freeze()
        self._usual = gc.get_threshold()
        gc.set_threshold(*self._usual[:2], FULL_AFTER)
        gc.callbacks.append(self._collected)
        self._note()

    def end(self) -> None:
        """Let the collector look at everything again."""
        gc.callbacks.remove(self._collected)
        gc.set_threshold(*self._usual)
        gc.unfreeze()

    def look(self) -> None:
        """Collect everything if memory has grown."""
        if self._resident_bytes() > self._limit_bytes:
            gc.unfreeze()
            gc.collect()
            self._note()

    def _note(self) -> None:
        self._limit_bytes = int(self._resident_bytes() * (1 + GROWTH)) + MARGIN_BYTES

    def _collected(self, phase: str, info: Mapping[str, int]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._begun_s = self._clock_s()
        elif self._clock_s() - self._begun_s > LONG_S:
            gc.freeze()


@asynccontextmanager
async def short_pauses() -> AsyncIterator[None]:
    """Keep the collector's pauses short meanwhile."""
    collector = Collector(resident_bytes, time.thread_time)
    collector.begin()
    looking = asyncio.create_task(_look(collector))
    try:
        yield
    finally:
        looking.cancel()
        collector.end()


async def _look(collector: Collector) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        collector.look()


def resident_bytes() -> int:
    """Return how much memory this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES

"""An event loop whose time is virtual: it jumps to the next thing that was asked for, so nothing ever sleeps.

For code that lives within one loop; threads would see time jump over their work.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class NothingMore(Exception):
    """Everybody waits, and nobody for a time: what was awaited will never come."""


class _Selector(selectors.DefaultSelector):
    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise NothingMore
        self.loop.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs as fast as it can; `time` is as late as what happened last."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now_s = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s

    def stall(self, seconds: float) -> None:
        """Let time pass in which this process did nothing."""
        self.now_s += seconds


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a story to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)


def loop() -> VirtualLoop:
    """Return the loop of the story that runs."""
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running

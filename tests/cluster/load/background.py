"""Loads in a thread with an event loop of its own, so that tests and faults may be plain, blocking code."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")
END_LIMIT_S = 120.0


class Load(Protocol):
    """What can be run and stopped."""

    async def run(self) -> None:
        """Run until stopped."""

    def stop(self) -> None:
        """End soon."""


class Background:
    """Runs loads while the body of `with` does other things; one that fails, fails the body's end."""

    def __init__(self, *loads: Load) -> None:
        self._loads = loads
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="load", daemon=True)
        self._running: list[Any] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._running = [asyncio.run_coroutine_threadsafe(load.run(), self._loop) for load in self._loads]
        return self

    def do(self, work: Coroutine[Any, Any, T], *, timeout_s: float = END_LIMIT_S) -> T:
        """Run something in the loads' own loop; return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def stop(self) -> None:
        """End the loads.  Raises what one of them raised."""
        for load in self._loads:
            self._loop.call_soon_threadsafe(load.stop)
        running, self._running = self._running, []
        for future in running:
            future.result(END_LIMIT_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(END_LIMIT_S)
            self._loop.close()

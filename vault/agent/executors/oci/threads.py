"""Threads for work that blocks, and turns for each task.

An operation that has begun is finished even when its caller is cancelled: the next one for the same task waits for it,
so that a removal never overtakes the preparation it undoes.  Called by `executor`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """A bounded number of threads."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="executor")

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Run `work` in a thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def close(self) -> None:
        """Wait for what has begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Turns:
    """One operation at a time for each key."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, list[None]]] = {}
        self._begun: set[asyncio.Task[Any]] = set()

    async def take(self, key: str, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run an operation in its turn; it goes on when the caller is cancelled, once it has begun."""
        async with self._waiting(key) as lock:
            await lock.acquire()
            job = asyncio.ensure_future(self._run(lock, operation))
            self._begun.add(job)
            job.add_done_callback(self._begun.discard)
            return await asyncio.shield(job)

    async def idle(self) -> None:
        """Return when no operation is under way."""
        while self._begun:
            await asyncio.wait(set(self._begun))

    @staticmethod
    async def _run(lock: asyncio.Lock, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await operation()
        finally:
            lock.release()

    @asynccontextmanager
    async def _waiting(self, key: str) -> AsyncIterator[asyncio.Lock]:
        """Keep a key's lock as long as anybody wants it."""
        lock, wanting = self._locks.setdefault(key, (asyncio.Lock(), []))
        wanting.append(None)
        try:
            yield lock
        finally:
            wanting.pop()
            if not wanting and not lock.locked():
                self._locks.pop(key, None)

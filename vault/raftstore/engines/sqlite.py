"""The engine of a swarm with one manager: the standard library's SQLite, in one thread of its own.

The thread does one job after the other and answers each with one wake-up of the event loop.  The log is moved into
the database (checkpoint) when nothing else is to do, or when it is full: never between a commit and its answer.
`sqlite_file` knows the file.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, Self, TypeVar

from vault.raftstore.engine import Commit, EngineStopped, Member
from vault.raftstore.engines.sqlite_file import SqliteFile

T = TypeVar("T")
IDLE_S: Final = 0.2  # Quiet time before the log is moved into the database.
Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class SqliteEngine:
    """Records in one SQLite file.  Make one with `create` or `open`; end it with `close`."""

    def __init__(self, directory: Path, file: SqliteFile) -> None:
        self._directory = directory
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._closed = False
        self._thread = Thread(target=self._work, name="vault-sqlite", daemon=True)
        self._thread.start()

    @classmethod
    async def create(cls, directory: Path) -> Self:
        """Make a new, empty store in a directory that exists and holds none."""
        return cls(directory, await asyncio.to_thread(SqliteFile, directory, fresh=True))

    @classmethod
    async def open(cls, directory: Path) -> Self:
        """Open the store in a directory.  Raises `StoreDamaged`."""
        return cls(directory, await asyncio.to_thread(SqliteFile, directory, fresh=False))

    async def head(self) -> bytes | None:
        """See `Engine`."""
        return await self._run(self._file.head)

    async def get(self, key: str) -> bytes | None:
        """See `Engine`."""
        return await self._run(lambda: self._file.get(key))

    async def load(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """See `Engine`."""
        head, after = await self.head(), 0
        while True:
            after, page = await self._run(partial(self._file.page, after, head))
            if not page:
                return
            yield page

    def commit(self, make: Callable[[], Commit]) -> Awaitable[Commit]:
        """See `Engine`."""
        return self._run(lambda: self._file.commit(make()))

    async def members(self) -> Sequence[Member]:
        """See `Engine`: this manager alone."""
        return (Member("self", leads=True),)

    async def close(self) -> None:
        """See `Engine`."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(EngineStopped("it was closed"))
        else:
            self._jobs.put((job, future))
        return future

    def _work(self) -> None:
        """The thread: do one job after the other; move the log into the database in between."""
        file = self._file
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_S if file.log_bytes else None)
            except Empty:
                file.checkpoint()
                continue
            if job is None:
                break
            self._do(*job)
            del job  # It may hold values of secrets.
            if file.log_is_full:
                file.checkpoint()
        file.close()

    def _do(self, work: Callable[[], Any], future: "asyncio.Future[Any]") -> None:
        """Do a job, and tell who waits for it."""
        try:
            result = work()
        except BaseException as error:  # Whatever it is, it belongs to the caller that waits for it.
            self._tell(_fail, future, error)
        else:
            self._tell(_finish, future, result)

    def _tell(self, settle: Callable[..., None], future: "asyncio.Future[Any]", outcome: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle, future, outcome)


def _finish(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)

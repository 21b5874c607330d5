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

from vault.raftstore.engine import Beat, Commit, EngineStopped, HeadMoved, Member, NotSupported, Reading, Seen
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
        self._ended: asyncio.Future[None] = self._loop.create_future()
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

    async def read(self) -> "SqliteReading":
        """See `Engine`."""
        return SqliteReading(self, await self.head())

    async def watch(self, after: Reading) -> AsyncIterator[Sequence[Seen | Beat]]:
        """See `Engine`: nobody else commits here, so this waits for the end."""
        await asyncio.shield(self._ended)
        raise EngineStopped("it was closed")
        yield ()

    async def beat(self, payload: bytes) -> None:
        """See `Engine`: nobody listens."""

    async def raft_leads(self) -> bool:
        """See `Engine`: one member leads."""
        return True

    async def page(self, after: int, head: bytes | None) -> tuple[int, list[tuple[str, bytes]]]:
        """Return the records in the next rows after row `after`, and the last row; see `SqliteFile.page`."""
        return await self._run(partial(self._file.page, after, head))

    def commit(self, make: Callable[[], Commit], *, brief: bool = False) -> Awaitable[Commit]:
        """See `Engine`."""
        return self._run(lambda: self._file.commit(make()))

    async def members(self) -> Sequence[Member]:
        """See `Engine`: this manager alone."""
        return (Member(id=1, name="self", leads=True),)

    async def add_member(self, peer_url: str) -> Member:
        """See `Engine`."""
        raise NotSupported

    async def promote_member(self, member_id: int) -> None:
        """See `Engine`."""
        raise NotSupported

    async def remove_member(self, member_id: int) -> None:
        """See `Engine`."""
        raise NotSupported

    async def transfer(self, member_id: int) -> None:
        """See `Engine`."""
        raise NotSupported

    async def close(self) -> None:
        """See `Engine`."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._ended.set_result(None)
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


class SqliteReading:
    """All records as of one head; `HeadMoved` once there is another."""

    def __init__(self, engine: SqliteEngine, head: bytes | None) -> None:
        self.head = head
        self._engine = engine

    async def get(self, key: str) -> bytes | None:
        """See `Reading`."""
        found = await self._engine.get(key)
        if await self._engine.head() != self.head:
            raise HeadMoved
        return found

    async def pages(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """See `Reading`."""
        after = 0
        while True:
            after, page = await self._engine.page(after, self.head)
            if not page:
                return
            yield page


def _finish(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)

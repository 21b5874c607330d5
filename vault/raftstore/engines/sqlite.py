"""The engine of a swarm with one manager: the standard library's SQLite, in one thread of its own.

WAL with `synchronous=FULL`: a commit is one write to the log and one fsync.  The log is moved into the database
(checkpoint) when nothing else is to do, or when it passes `WAL_BYTES`.  Locking is exclusive: no other process may
open the file, and no shared-memory file is needed that a full disk could break.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, Self, TypeVar

from vault.model.errors import DiskFull, OutcomeUnknown, StoreDamaged
from vault.raftstore.engine import Commit, EngineStopped, HeadMoved, Member

T = TypeVar("T")
PAGE_BYTES: Final = 4096
WAL_BYTES: Final = 16 * 1024 * 1024  # The log's usual size; only a commit larger than this makes it longer.
LOAD_BYTES: Final = 1024 * 1024
IDLE_S: Final = 0.2  # Quiet time before the log is moved into the database.
FILE_NAME: Final = "store.db"
_SCHEMA: Final = (
    "CREATE TABLE records (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL)",
)
_PUT: Final = "INSERT INTO records VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_DELETE: Final = "DELETE FROM records WHERE key = ?"
_FULL: Final = {sqlite3.SQLITE_FULL}
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class SqliteEngine:
    """Records in one SQLite file.  Make one with `create` or `open`; end it with `close`."""

    def __init__(self, directory: Path, connection: "_Connection") -> None:
        self._directory = directory
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._closed = False
        self._thread = Thread(target=self._work, name="vault-sqlite", daemon=True)
        self._thread.start()

    @classmethod
    async def create(cls, directory: Path) -> Self:
        """Make a new, empty store in a directory that exists and holds none."""
        return cls(directory, await asyncio.to_thread(_Connection, directory, fresh=True))

    @classmethod
    async def open(cls, directory: Path) -> Self:
        """Open the store in a directory.  Raises `StoreDamaged`."""
        return cls(directory, await asyncio.to_thread(_Connection, directory, fresh=False))

    async def head(self) -> bytes | None:
        """See `Engine`."""
        return await self._run(self._connection.head)

    async def get(self, key: str) -> bytes | None:
        """See `Engine`."""
        return await self._run(lambda: self._connection.get(key))

    async def load(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """See `Engine`."""
        head, after = await self.head(), ""
        while page := await self._run(partial(self._connection.page, after, head)):
            after = page[-1][0]
            yield page

    def commit(self, make: Callable[[], Commit]) -> Awaitable[Commit]:
        """See `Engine`."""
        return self._run(lambda: self._connection.commit(make()))

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
        connection = self._connection
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_S if connection.log_bytes else None)
            except Empty:
                connection.checkpoint()
                continue
            if job is None:
                break
            work, future = job
            try:
                result = work()
            except BaseException as error:  # Whatever it is, it belongs to the caller that waits for it.
                self._tell(_fail, future, error)
            else:
                self._tell(_finish, future, result)
            if connection.log_bytes > WAL_BYTES:
                connection.checkpoint()
        connection.close()

    def _tell(self, settle: Callable[..., None], future: "asyncio.Future[Any]", outcome: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle, future, outcome)


def _finish(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


class _Connection:
    """The SQLite connection, used by one thread at a time, and what an error of it means."""

    def __init__(self, directory: Path, *, fresh: bool) -> None:
        self.path = directory / FILE_NAME
        self.log_bytes = 0  # An upper estimate of what the log holds that the database does not.
        self.stopped: str = ""
        flags = os.O_CREAT | os.O_EXCL if fresh else 0
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600))  # SQLite's log copies the mode.
        except FileNotFoundError:
            raise StoreDamaged(f"{self.path} is missing: restore it from a backup") from None
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(fresh=fresh)
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error):
                raise self._meaning(error, while_committing=False) from None
            raise

    def _prepare(self, *, fresh: bool) -> None:
        if fresh:
            self._db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        for pragma in (
            "locking_mode=EXCLUSIVE",
            "journal_mode=WAL",
            "synchronous=FULL",
            "secure_delete=ON",
            "wal_autocheckpoint=0",
            f"journal_size_limit={2 * WAL_BYTES}",
            "temp_store=MEMORY",
        ):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        if fresh:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute("COMMIT")
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        else:
            self.log_bytes = 1  # A log left by a crash is moved soon.

    def head(self) -> bytes | None:
        """Return head, or None."""
        row = self._read("SELECT value FROM head")
        return row[0][0] if row else None

    def get(self, key: str) -> bytes | None:
        """Return one record, or None."""
        row = self._read("SELECT value FROM records WHERE key = ?", key)
        return row[0][0] if row else None

    def page(self, after: str, head: bytes | None) -> list[tuple[str, bytes]]:
        """Return the next records; raise `HeadMoved` if head is another."""
        if self.head() != head:
            raise HeadMoved
        rows: list[tuple[str, bytes]] = []
        size = 0
        self._check_running()
        try:
            for key, value in self._db.execute("SELECT key, value FROM records WHERE key > ? ORDER BY key", (after,)):
                rows.append((key, value))
                size += len(value)
                if size >= LOAD_BYTES or len(rows) >= 1024:
                    break
        except sqlite3.Error as error:
            raise self._meaning(error, while_committing=False) from None
        return rows

    def commit(self, commit: Commit) -> Commit:
        """Apply a commit durably."""
        self._check_running()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if not self._move_head(commit):
                self._db.execute("ROLLBACK")
                raise HeadMoved
            puts = [(write.key, write.value) for write in commit.writes if write.value is not None]
            deletes = [(write.key,) for write in commit.writes if write.value is None]
            if puts:
                self._db.executemany(_PUT, puts)
            if deletes:
                self._db.executemany(_DELETE, deletes)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._meaning(error, while_committing=True) from None
        size = sum(len(value) for _, value in puts if value is not None)
        self.log_bytes += size + 2 * PAGE_BYTES * (1 + len(commit.writes))
        return commit

    def _move_head(self, commit: Commit) -> bool:
        if commit.expected is None:
            sql = "INSERT INTO head SELECT 1, ? WHERE NOT EXISTS (SELECT 1 FROM head)"
            return self._db.execute(sql, (commit.head,)).rowcount == 1
        sql = "UPDATE head SET value = ? WHERE one = 1 AND value = ?"
        return self._db.execute(sql, (commit.head, commit.expected)).rowcount == 1

    def checkpoint(self) -> None:
        """Move the log into the database, so that it starts again from its beginning.

        A full disk only puts it off: the log holds everything.  Any other error stops the engine.
        """
        self.log_bytes = 0
        if self.stopped:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in _FULL:
                self.stopped = f"moving its log failed: {error.sqlite_errorname}"

    def close(self) -> None:
        """Let go; after a failed write without touching the disk again."""
        if not self.stopped:
            self._db.close()

    def _read(self, sql: str, *arguments: str) -> list[Any]:
        self._check_running()
        try:
            return self._db.execute(sql, arguments).fetchall()
        except sqlite3.Error as error:
            raise self._meaning(error, while_committing=False) from None

    def _check_running(self) -> None:
        if self.stopped:
            raise EngineStopped(self.stopped)

    def _meaning(self, error: sqlite3.Error, *, while_committing: bool) -> Exception:
        """Return what an SQLite error is to our callers; leaves no transaction open."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if code in _FULL:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return DiskFull()
        if code in _DAMAGE:
            self.stopped = f"{self.path} is damaged"
            return StoreDamaged(f"{self.path} is damaged ({name}): restore it from a backup")
        self.stopped = f"writing {self.path.name} failed: {name}"
        return OutcomeUnknown() if while_committing else EngineStopped(self.stopped)

"""One SQLite file of records: its pragmas, its transactions, and what its errors mean.  Blocking.

WAL with `synchronous=FULL`: a commit is one write to the log and one fsync.  The log is written out to its full size
when the file is opened, because the fsync of a file that does not grow is cheaper.  Locking is exclusive: no other
process may open the file, and no shared-memory file is needed that a full disk could break.
Records are rows in the order of their creation, and which row holds a key is kept in memory: a commit of many new
records fills one page after another, where an index over random keys would change a page for each of them.
Called by `vault.raftstore.engines.sqlite`, by one thread at a time.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from vault.model.errors import DiskFull, OutcomeUnknown, StoreDamaged, VaultError
from vault.raftstore.engine import Commit, EngineStopped, HeadMoved
from vault.raftstore.engines.sqlite_log import check_log

FILE_NAME: Final = "store.db"
PAGE_BYTES: Final = 4096
LOG_BYTES: Final = 4 * 1024 * 1024  # The log's usual size; only a larger commit makes it longer, for a while.
LOAD_BYTES: Final = 1024 * 1024
LOAD_ROWS: Final = 1024
_PRAGMAS: Final = (
    "locking_mode=EXCLUSIVE",
    "journal_mode=WAL",
    "synchronous=FULL",
    "secure_delete=ON",
    "wal_autocheckpoint=0",  # It would swallow errors; `checkpoint` does not.
    f"journal_size_limit={LOG_BYTES}",
    "temp_store=MEMORY",
)
_SCHEMA: Final = (
    "CREATE TABLE records (id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB NOT NULL)",
    "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL)",
)
_FIRST_HEAD: Final = "INSERT INTO head SELECT 1, ? WHERE NOT EXISTS (SELECT 1 FROM head)"
_MOVE_HEAD: Final = "UPDATE head SET value = ? WHERE id = 1 AND value = ?"
_PUT: Final = "INSERT OR REPLACE INTO records VALUES (?, ?, ?)"
_DELETE: Final = "DELETE FROM records WHERE id = ?"
_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)  # The latter when SQLite quotes a damaged schema.
_TROUBLE: Final = {  # Of the machine, not of the file.
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
}


class SqliteFile:
    """The file, open and locked.  After an error of the disk it is `stopped` and touches nothing any more."""

    def __init__(self, directory: Path, *, fresh: bool) -> None:
        """Open the file in `directory`; `fresh` makes it.  Raises `StoreDamaged`, `DiskFull` or `EngineStopped`."""
        self.path = directory / FILE_NAME
        self.log_bytes = 0  # About what the log holds and the database does not.
        self.stopped = ""  # Why.
        self._rows: dict[str, int] = {}
        self._last_row = 0
        flags = os.O_CREAT | os.O_EXCL if fresh else 0
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600))  # SQLite's log copies the mode.
        except FileNotFoundError:
            raise StoreDamaged(f"{self.path} is missing: restore it from a backup") from None
        check_log(Path(f"{self.path}-wal"))
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=1)
        self._db.text_factory = bytes
        try:
            self._prepare(fresh=fresh)
            self._read_rows()
        except _ERRORS as error:
            meaning = self._meaning(error, while_committing=False)
            self._db.close()
            raise meaning from None
        except VaultError:
            self._db.close()
            raise
        self._stretch_log()

    @property
    def log_is_full(self) -> bool:
        """Whether it is time to move the log, idle or not."""
        return self.log_bytes > LOG_BYTES

    def head(self) -> bytes | None:
        """Return head, or None."""
        return self._one("SELECT value FROM head")

    def get(self, key: str) -> bytes | None:
        """Return one record, or None."""
        row = self._rows.get(key)
        return None if row is None else self._one("SELECT value FROM records WHERE id = ?", row)

    def page(self, after: int, head: bytes | None) -> tuple[int, list[tuple[str, bytes]]]:
        """Return the records in the next rows after row `after`, and the last row; none = the end.

        Raises `HeadMoved` if head is not `head` any more.
        """
        if self.head() != head:
            raise HeadMoved
        records: list[tuple[str, bytes]] = []
        size_bytes = 0
        try:
            rows = self._db.execute("SELECT id, key, value FROM records WHERE id > ? ORDER BY id", (after,))
            for row, key, value in rows:
                records.append((self._text(key), self._blob(value)))
                after, size_bytes = row, size_bytes + len(value)
                if size_bytes >= LOAD_BYTES or len(records) >= LOAD_ROWS:
                    break
            rows.close()
        except _ERRORS as error:
            raise self._meaning(error, while_committing=False) from None
        return after, records

    def commit(self, commit: Commit) -> Commit:
        """Apply a commit durably, or raise and apply nothing; see `Engine.commit`."""
        self._check_running()
        puts: list[tuple[int, str, bytes]] = []
        deletes: list[tuple[int]] = []
        for key, value in commit.writes:
            row = self._rows.get(key)
            if value is not None:
                puts.append((self._last_row + 1 + len(puts) if row is None else row, key, value))
            elif row is not None:
                deletes.append((row,))
        try:
            self._transact(commit, puts, deletes)
        except _ERRORS as error:
            raise self._meaning(error, while_committing=True) from None
        for row, key, value in puts:
            self._rows[key] = row
            self.log_bytes += len(value)
        self._last_row += len(puts)
        for key, value in commit.writes:
            if value is None:
                self._rows.pop(key, None)
        self.log_bytes += PAGE_BYTES * (4 + len(deletes))
        return commit

    def checkpoint(self) -> None:
        """Move the log into the database, so that it starts again from its beginning.

        A full disk only puts it off: the log holds everything.  Any other error stops the file.
        """
        self.log_bytes = 0
        if self.stopped:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except _ERRORS as error:
            if _code(error) != sqlite3.SQLITE_FULL:
                self.stopped = f"moving its log failed: {_name(error)}"

    def close(self) -> None:
        """Let go; after an error of the disk without touching it again."""
        if not self.stopped:
            self.stopped = "it was closed"
            self._db.close()

    def _prepare(self, *, fresh: bool) -> None:
        """Set the pragmas; make the tables."""
        if fresh:
            self._db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        for pragma in _PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        if self._db.execute("PRAGMA journal_mode").fetchone()[0] != b"wal":
            raise EngineStopped(f"the file system under {self.path} cannot hold a write-ahead log")
        if fresh:
            for statement in ("BEGIN IMMEDIATE", *_SCHEMA, "COMMIT"):
                self._db.execute(statement)

    def _read_rows(self) -> None:
        """Learn which row holds a key; believe the file only if its tables are ours."""
        schema = [sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_master ORDER BY rowid")]
        if schema != [statement.encode() for statement in _SCHEMA]:
            raise self._damage("its tables are not ours")
        for row, key in self._db.execute("SELECT id, key FROM records"):
            if self._rows.setdefault(self._text(key), row) != row:
                raise self._damage("a key is there twice")
            self._last_row = max(self._last_row, row)

    def _stretch_log(self) -> None:
        """Write the log out to its usual size; SQLite takes zeros for the end of it.  If the disk is full, do not."""
        self.log_bytes = 1  # Whatever a crash left in it is moved soon.
        with contextlib.suppress(OSError), open(f"{self.path}-wal", "r+b", buffering=0) as log:
            size = log.seek(0, os.SEEK_END)
            missing = max(0, LOG_BYTES - size)
            written = 0
            try:
                written = log.write(bytes(missing))  # Less than asked for if the disk is full.
                os.fsync(log.fileno())
            finally:
                if written < missing:
                    log.truncate(size)

    def _transact(self, commit: Commit, puts: list[tuple[int, str, bytes]], deletes: list[tuple[int]]) -> None:
        execute = self._db.execute
        execute("BEGIN IMMEDIATE")
        if commit.expected is None:
            moved = execute(_FIRST_HEAD, (commit.head,))
        else:
            moved = execute(_MOVE_HEAD, (commit.head, commit.expected))
        if moved.rowcount != 1:
            execute("ROLLBACK")
            raise HeadMoved
        if puts:
            self._db.executemany(_PUT, puts)
        if deletes:
            self._db.executemany(_DELETE, deletes)
        execute("COMMIT")

    def _one(self, sql: str, *arguments: int) -> bytes | None:
        self._check_running()
        try:
            row = self._db.execute(sql, arguments).fetchone()
        except _ERRORS as error:
            raise self._meaning(error, while_committing=False) from None
        return None if row is None else self._blob(row[0])

    def _text(self, key: Any) -> str:
        if not isinstance(key, bytes) or not key.isascii():
            raise self._damage("a key is no text")
        return key.decode("ascii")

    def _blob(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise self._damage("a value is no bytes")
        return value

    def _check_running(self) -> None:
        if self.stopped:
            raise EngineStopped(self.stopped)

    def _meaning(self, error: Exception, *, while_committing: bool) -> VaultError:
        """Return what an SQLite error is to our callers; leaves no transaction open."""
        code = _code(error)
        if code == sqlite3.SQLITE_FULL:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return DiskFull()
        if code not in _TROUBLE:
            return self._damage(_name(error))
        self.stopped = f"{'writing' if while_committing else 'reading'} {self.path.name} failed: {_name(error)}"
        return OutcomeUnknown() if while_committing else EngineStopped(self.stopped)

    def _damage(self, why: str) -> StoreDamaged:
        self.stopped = f"{self.path} is damaged"
        return StoreDamaged(f"{self.path} is damaged ({why}): restore it from a backup")


def _code(error: Exception) -> int:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF  # Without SQLite's details.


def _name(error: Exception) -> str:
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    return name

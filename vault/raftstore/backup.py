"""Backups: all live records at one head, sealed as they are, with the root key locked; and stores made from them.

Never an engine's own snapshot, which would carry removed records along.  A backup is read back against the sum in its
head, when it is written and when it is restored.  A restored store begins a new generation, far behind every index
that the old cluster may still give, so that nothing of the old one can pass for new.
Not pure.  Called by `vault.daemon`; `backup_file` knows the bytes.
"""

import asyncio
import hmac
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final, Literal

from vault.crypto.errors import Altered, CryptoError, WrongPassphrase
from vault.crypto.ids import new_id
from vault.crypto.integrity import IntegrityKey, integrity_key
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.pae import pae
from vault.crypto.passphrase import unwrap_with_passphrase, wrap_with_passphrase
from vault.crypto.plaintext import Plaintext
from vault.crypto.unlocking import unlock_version_in, unwrap_with_unlock_key, wrap_with_unlock_key
from vault.model.errors import BadRequest, StoreDamaged
from vault.raftstore import files
from vault.raftstore.backup_file import BackupDamaged, Opening, Sink, Source
from vault.raftstore.codec import unframe
from vault.raftstore.engine import Commit, Engine, HeadMoved, Reading, Write
from vault.raftstore.engines.sqlite import SqliteEngine
from vault.raftstore.head import Tally
from vault.raftstore.load import difference, ledger_of, load
from vault.raftstore.opening import StoreExists, locked, named_errors, take_over
from vault.raftstore.store import Store

_LABEL: Final = b"vault/backup/1"
_TRIES: Final = 3
Way = Literal["unlock-key", "passphrase"]


class NothingToLockWith(BadRequest):
    """A backup that anybody could open is not written."""

    def __init__(self) -> None:
        super().__init__(
            "a backup is not written without a lock: give a passphrase, or turn autolock on "
            "(vault swarm update --autolock)"
        )


class OtherLock(BadRequest):
    """The backup is locked in another way than what was given opens."""

    def __init__(self, needed: str) -> None:
        super().__init__(f"this backup is locked with {needed}: give that")


class WrongKey(BadRequest):
    """The unlock key is none that opens it, or the locked key was altered."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, version: int) -> None:
        super().__init__(f"the unlock key does not open this backup, which waits for version {version} of it")
        self.version = version


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderUnlockKey:
    """The cluster's unlock key, and its version."""

    key: UnlockKey
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderPassphrase:
    """A passphrase, for this backup alone."""

    passphrase: Plaintext


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a store was made from; it is opened with `Store.open`."""

    root: RootKey
    cluster_id: str


async def write_backup(
    store: Store, root: RootKey, file: BinaryIO, *, lock: UnderUnlockKey | UnderPassphrase | None
) -> int:
    """Write everything committed to `file`, which is empty and seekable; return the number of records.

    Raises `NothingToLockWith`, `StoreDamaged` naming a record, `Unavailable`, or `OSError` of the file.
    """
    if lock is None:
        raise NothingToLockWith
    way: Way = "passphrase" if isinstance(lock, UnderPassphrase) else "unlock-key"
    wrapped = await asyncio.to_thread(_wrapped, root, lock)
    for _ in range(_TRIES):
        try:
            async with store.reading() as reading:
                return await _written(reading, store.cluster_id, root, file, way, wrapped)
        except HeadMoved:  # SQLite cannot go back to a head.
            continue
    async with store.reading(pause=True) as reading:
        return await _written(reading, store.cluster_id, root, file, way, wrapped)


async def restore_into(
    directory: Path, file: BinaryIO, *, key: UnlockKey | Plaintext, now: Callable[[], float]
) -> Restored:
    """Make the store of a swarm with one manager in `directory` from the backup in `file`.

    key: the unlock key or the passphrase that it is locked with.
    Raises `BackupDamaged`, `OtherLock`, `WrongPassphrase`, `WrongKey`, `StoreExists` or `DiskFull`; `directory`
    holds no store then, and never half of one.
    """
    source = await asyncio.to_thread(Source, file)
    opening = source.opening
    root = await asyncio.to_thread(_unwrapped, opening, key)
    async with AsyncExitStack() as undo:
        undo.enter_context(named_errors(directory))
        undo.callback(locked(directory).release)
        if files.read(directory) is not None:
            raise StoreExists(directory)
        content = files.EngineFile("sqlite", f"sqlite-{new_id()}")
        files.sweep(directory, keep="")
        undo.callback(_sweep, directory)
        (directory / content.directory).mkdir(mode=0o700)
        engine = await SqliteEngine.create(directory / content.directory)
        try:
            await _fill(engine, source, root, at_least=int(now()))
        finally:
            await engine.close()
        await asyncio.to_thread(files.sync_directory, directory / content.directory)
        files.write(directory, content)
    return Restored(root=root, cluster_id=opening.cluster_id)


def _sweep(directory: Path) -> None:
    """Delete what is no store."""
    content = files.read(directory)
    files.sweep(directory, keep="" if content is None else content.directory)


def _wrapped(root: RootKey, lock: UnderUnlockKey | UnderPassphrase) -> bytes:
    match lock:
        case UnderUnlockKey(key=key, version=version):
            return wrap_with_unlock_key(root, key, unlock_version=version)
        case UnderPassphrase(passphrase=passphrase):
            return wrap_with_passphrase(root, passphrase)


def _unwrapped(opening: Opening, key: UnlockKey | Plaintext) -> RootKey:
    """Return the root key of a backup."""
    try:
        if opening.lock == "passphrase":
            if not isinstance(key, Plaintext):
                raise OtherLock("a passphrase")
            return unwrap_with_passphrase(opening.wrapped, key)
        version = unlock_version_in(opening.wrapped)
        if not isinstance(key, UnlockKey):
            raise OtherLock(f"version {version} of the swarm's unlock key")
        return unwrap_with_unlock_key(opening.wrapped, key)
    except WrongPassphrase:
        raise
    except Altered:
        raise WrongKey(version) from None
    except CryptoError:
        raise BackupDamaged("the key in it was altered") from None


async def _written(reading: Reading, cluster_id: str, root: RootKey, file: BinaryIO, way: Way, wrapped: bytes) -> int:
    """Write a backup of a reading, and check what is written against its head."""
    ledger = await ledger_of(reading, root, cluster_id)
    assert reading.head is not None
    opening = Opening(
        cluster_id=cluster_id, lock=way, wrapped=wrapped, head=reading.head, count=ledger.head.tally.count
    )
    sink = await asyncio.to_thread(_begun, file, opening)
    counted = Tally()

    def add(page: Sequence[tuple[str, bytes]]) -> Tally:
        for key, value in page:
            sink.add(key, value)
        return counted.changed((), ((key, ledger.part(key, *unframe(key, value))) for key, value in page))

    async for page in reading.pages():
        counted = await asyncio.to_thread(add, page)
    if counted != ledger.head.tally:
        raise difference((), ledger.head.tally, counted)
    await asyncio.to_thread(sink.finish, _tag(ledger.integrity, sink.digest()))
    return counted.count


def _begun(file: BinaryIO, opening: Opening) -> Sink:
    file.seek(0)
    file.truncate()
    return Sink(file, opening)


async def _fill(engine: Engine, source: Source, root: RootKey, *, at_least: int) -> None:
    """Copy a backup into an empty engine and believe nothing of it; then begin a new generation."""
    opening = source.opening
    pages = source.pages()
    marks = 0
    expected: bytes | None = None
    while page := await asyncio.to_thread(next, pages, None):
        marks += 1
        commit = Commit(expected=expected, head=b"copy %d, no head yet" % marks, writes=[Write(*pair) for pair in page])
        expected = (await engine.commit(lambda commit=commit: commit)).head  # type: ignore[misc]
    tag, integrity = await asyncio.to_thread(source.tag), integrity_key(root, cluster_id=opening.cluster_id)
    if not hmac.compare_digest(tag, _tag(integrity, source.digest())):
        raise BackupDamaged("it was altered")
    await engine.commit(lambda: Commit(expected=expected, head=opening.head, writes=()))
    try:
        loaded = await load(engine, root=root, cluster_id=opening.cluster_id)
    except StoreDamaged as error:
        raise BackupDamaged(error.message) from None
    await take_over(engine, loaded, generation=at_least)


def _tag(integrity: IntegrityKey, digest: bytes) -> bytes:
    return integrity.mac(pae(_LABEL, digest))

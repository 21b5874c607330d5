"""Making a store, and opening one: directory, lock, engine, load, take-over.  Not pure.

Called by `vault.raftstore.store` alone.
"""

import asyncio
import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vault.crypto.ids import new_id
from vault.crypto.keyring import new_keyring
from vault.crypto.keys import RootKey
from vault.model.errors import Conflict, DiskFull, StoreDamaged, Unavailable
from vault.raftstore import files
from vault.raftstore.engine import Commit, Engine
from vault.raftstore.engines.sqlite import SqliteEngine
from vault.raftstore.head import Epoch
from vault.raftstore.ledger import Ledger, Sealed
from vault.raftstore.load import load
from vault.raftstore.lock import DirectoryLock
from vault.raftstore.proposals import Proposals
from vault.store.changes import Change
from vault.store.snapshot import Snapshot


class StoreExists(Conflict):
    """There already is a store in the directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} already holds the store of a swarm: leave that swarm first")


class StoreMissing(StoreDamaged):
    """There is no store in the directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} holds no store of a swarm: restore it from a backup, or leave the swarm")


class StoreUnusable(Unavailable):
    """The directory cannot be worked in."""

    def __init__(self, directory: Path, why: str) -> None:
        super().__init__(f"the store in {directory} cannot be used ({why}): check the directory and its rights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a store works on."""

    engine: Engine
    ledger: Ledger
    snapshot: Snapshot
    release: Callable[[], None]  # Lets others have the directory.


async def create(
    directory: Path, *, root: RootKey, cluster_id: str, now: Callable[[], float], changes: Sequence[Change]
) -> Opened:
    """Make a store; the last step, the engine file, makes it one."""
    async with AsyncExitStack() as undo:
        undo.enter_context(_named_errors(directory))
        lock = _lock(directory)
        undo.callback(lock.release)
        if files.read(directory) is not None:
            raise StoreExists(directory)
        files.sweep(directory, keep="")
        undo.callback(files.sweep, directory, keep="")
        content = files.EngineFile("sqlite", f"sqlite-{new_id()}")
        home = directory / content.directory
        home.mkdir(mode=0o700)
        engine = await SqliteEngine.create(home)
        undo.push_async_callback(engine.close)
        ledger, snapshot = await found(engine, root=root, cluster_id=cluster_id, now=now, changes=changes)
        await asyncio.to_thread(files.sync_directory, home)
        await asyncio.to_thread(files.write, directory, content)
        undo.pop_all()
        return Opened(engine=engine, ledger=ledger, snapshot=snapshot, release=lock.release)


async def open_store(directory: Path, *, root: RootKey, cluster_id: str) -> Opened:
    """Open a store and take the lead."""
    async with AsyncExitStack() as undo:
        undo.enter_context(_named_errors(directory))
        if files.read(directory) is None:
            raise StoreMissing(directory)
        lock = _lock(directory)
        undo.callback(lock.release)
        content = files.read(directory)
        if content is None:
            raise StoreMissing(directory)
        files.sweep(directory, keep=content.directory)
        engine = await SqliteEngine.open(directory / content.directory)
        undo.push_async_callback(engine.close)
        ledger, snapshot = await take_over(engine, root=root, cluster_id=cluster_id)
        undo.pop_all()
        return Opened(engine=engine, ledger=ledger, snapshot=snapshot, release=lock.release)


async def found(
    engine: Engine, *, root: RootKey, cluster_id: str, now: Callable[[], float], changes: Sequence[Change]
) -> tuple[Ledger, Snapshot]:
    """Commit keyring and first objects as index 1 of a new generation."""
    keyring = new_keyring(now_s=now())
    ledger = Ledger.fresh(cluster_id=cluster_id, root=root, keyring=keyring)
    batch = Proposals(Snapshot(), now).add(changes)
    epoch = Epoch(int(now()), 1)
    await _commit(engine, ledger, lambda: ledger.seal(batch.index, batch.contents, epoch=epoch, keyring=keyring))
    return ledger, batch.after


async def take_over(engine: Engine, *, root: RootKey, cluster_id: str) -> tuple[Ledger, Snapshot]:
    """Load everything, believing nothing, and become the one who may write: a commit that only changes the epoch."""
    loaded = await load(engine, root=root, cluster_id=cluster_id)
    ledger, index = loaded.ledger, loaded.snapshot.index + 1
    epoch = Epoch(ledger.head.epoch.generation, ledger.head.epoch.counter + 1)
    await _commit(engine, ledger, lambda: ledger.seal(index, {}, epoch=epoch))
    return ledger, loaded.snapshot.apply((), index=index, now_s=0)


async def _commit(engine: Engine, ledger: Ledger, seal: Callable[[], Sealed]) -> None:
    """Commit outside the store's queue, before there is one."""
    made: list[Sealed] = []

    def make() -> Commit:
        made.append(seal())
        return made[0].commit

    await engine.commit(make)
    ledger.accept(made[0])


def _lock(directory: Path) -> DirectoryLock:
    """Return the lock on the directory, which is made if need be."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    return DirectoryLock(directory)


@contextmanager
def _named_errors(directory: Path) -> Iterator[None]:
    """Turn what the operating system says into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull from None
        raise StoreUnusable(directory, error.strerror or type(error).__name__) from None

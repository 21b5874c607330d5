"""Making a store, and opening one: directory, lock, engine, load, take-over.  Not pure.

Called by `vault.raftstore.store`, and by `moving` and `backup`.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from vault.crypto.ids import new_id
from vault.crypto.keyring import new_keyring
from vault.crypto.keys import RootKey
from vault.model.base import EPOCH
from vault.model.errors import Conflict, DiskFull, StoreDamaged, Unavailable
from vault.raftstore import files
from vault.raftstore.engine import Commit, Engine, EngineStopped, Reading
from vault.raftstore.engines.sqlite import SqliteEngine
from vault.raftstore.head import Epoch, Head
from vault.raftstore.ledger import Ledger, Sealed
from vault.raftstore.load import Loaded, load
from vault.raftstore.lock import DirectoryLock
from vault.raftstore.proposals import Proposals
from vault.store.changes import Change
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)
GENERATION_INDEXES: Final = 2**32  # More than any leader that was left behind can have used.
RETRY_S: Final = 0.5


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


StartEtcd = Callable[[Path], Awaitable[Engine]]
"""Starts the member whose data is in a directory, and returns it as soon as it can be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a store works on."""

    engine: Engine
    root: RootKey
    ledger: Ledger
    snapshot: Snapshot
    newest: datetime = EPOCH  # The last time that any object was written.
    reading: Reading | None = None  # Where the watch begins.
    alone: bool = True  # The engine has one member, and always will have.
    directory: Path
    release: Callable[[], None]  # Lets others have the directory.


async def create(
    directory: Path, *, root: RootKey, cluster_id: str, now: Callable[[], float], changes: Sequence[Change]
) -> Opened:
    """Make a store; the last step, the engine file, makes it one."""
    async with AsyncExitStack() as undo:
        undo.enter_context(named_errors(directory))
        lock = locked(directory)
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
        return Opened(
            engine=engine, root=root, ledger=ledger, snapshot=snapshot, directory=directory, release=lock.release
        )


async def open_store(
    directory: Path,
    *,
    root: RootKey,
    cluster_id: str,
    now: Callable[[], float],
    start_etcd: StartEtcd | None,
    new_generation: bool,
) -> Opened:
    """Open a store; take the lead if the engine has one member."""
    async with AsyncExitStack() as undo:
        undo.enter_context(named_errors(directory))
        if files.read(directory) is None:
            raise StoreMissing(directory)
        lock = locked(directory)
        undo.callback(lock.release)
        content = files.read(directory)
        if content is None:
            raise StoreMissing(directory)
        files.sweep(directory, keep=content.directory)
        engine, alone = await _start(directory / content.directory, content.engine, start_etcd)
        undo.push_async_callback(engine.close)
        loaded = await load_when_possible(engine, root=root, cluster_id=cluster_id)
        snapshot = loaded.snapshot
        if alone or new_generation:
            snapshot = await take_over(engine, loaded, generation=int(now()) if new_generation else None)
        undo.pop_all()
        return Opened(
            engine=engine,
            root=root,
            ledger=loaded.ledger,
            snapshot=snapshot,
            newest=loaded.newest,
            reading=loaded.reading,
            alone=alone,
            directory=directory,
            release=lock.release,
        )


async def enter(
    directory: Path, *, root: RootKey, cluster_id: str, engine_directory: str, start_etcd: StartEtcd
) -> Opened:
    """Make a new manager's store, whose engine takes part in the others' consensus."""
    async with AsyncExitStack() as undo:
        undo.enter_context(named_errors(directory))
        lock = locked(directory)
        undo.callback(lock.release)
        if files.read(directory) is not None:
            raise StoreExists(directory)
        files.sweep(directory, keep=engine_directory)
        home = directory / engine_directory
        home.mkdir(mode=0o700, exist_ok=True)
        # First the file: a member that the others count on must be found again after a crash.
        await asyncio.to_thread(files.write, directory, files.EngineFile("etcd", engine_directory))
        engine = await start_etcd(home)
        undo.push_async_callback(engine.close)
        loaded = await load_when_possible(engine, root=root, cluster_id=cluster_id)
        undo.pop_all()
        return Opened(
            engine=engine,
            root=root,
            ledger=loaded.ledger,
            snapshot=loaded.snapshot,
            newest=loaded.newest,
            reading=loaded.reading,
            alone=False,
            directory=directory,
            release=lock.release,
        )


async def _start(home: Path, name: str, start_etcd: StartEtcd | None) -> tuple[Engine, bool]:
    """Return the engine in a directory, and whether it has one member for good."""
    if name == "sqlite":
        return await SqliteEngine.open(home), True
    if start_etcd is None:
        raise StoreUnusable(home, "it is one of several managers', and nothing was given to start etcd with")
    return await start_etcd(home), False


async def load_when_possible(engine: Engine, *, root: RootKey, cluster_id: str) -> Loaded:
    """Load everything; wait until enough other managers answer, if there are any."""
    while True:
        try:
            return await load(engine, root=root, cluster_id=cluster_id)
        except (EngineStopped, DiskFull):
            raise
        except Unavailable as error:
            logger.warning("store_not_read", extra={"reason": error.message})
            await asyncio.sleep(RETRY_S)


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


async def take_over(engine: Engine, loaded: Loaded, *, generation: int | None = None) -> Snapshot:
    """Become the one who may write, by a commit that only changes the epoch; return the snapshot after it.

    generation: begin a new one, at least this, far behind every index that was ever given.
    """
    ledger, index = loaded.ledger, loaded.snapshot.index + 1
    epoch = Epoch(ledger.head.epoch.generation, ledger.head.epoch.counter + 1)
    if generation is not None:
        epoch, index = new_generation(ledger.head, at_least=generation)
    await _commit(engine, ledger, lambda: ledger.seal(index, {}, epoch=epoch))
    return loaded.snapshot.apply((), index=index, now_s=0)


def new_generation(head: Head, *, at_least: int) -> tuple[Epoch, int]:
    """Return the epoch and the index of the first commit after a restore, or after the loss of the other managers."""
    return Epoch(max(head.epoch.generation + 1, at_least), 1), head.index + GENERATION_INDEXES


async def _commit(engine: Engine, ledger: Ledger, seal: Callable[[], Sealed]) -> None:
    """Commit outside the store's queue, before there is one."""
    made: list[Sealed] = []

    def make() -> Commit:
        made.append(seal())
        return made[0].commit

    await engine.commit(make)
    ledger.accept(made[0])


def locked(directory: Path) -> DirectoryLock:
    """Return the lock on the directory, which is made if need be."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    return DirectoryLock(directory)


@contextmanager
def named_errors(directory: Path) -> Iterator[None]:
    """Turn what the operating system says into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull from None
        raise StoreUnusable(directory, error.strerror or type(error).__name__) from None

"""Making a store, and opening one: directory, lock, engine, load, take-over.  Not pure.

Called by `vault.raftstore.store` alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from vault.crypto.ids import new_id
from vault.crypto.keyring import new_keyring
from vault.crypto.keys import RootKey
from vault.model.errors import Conflict, StoreDamaged
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a store works on."""

    engine: Engine
    ledger: Ledger
    snapshot: Snapshot
    lock: DirectoryLock


async def create(
    directory: Path, *, root: RootKey, cluster_id: str, now: Callable[[], float], changes: Sequence[Change]
) -> Opened:
    """Make a store; the last step, the engine file, makes it one."""
    async with AsyncExitStack() as undo:
        _make_private(directory)
        lock = DirectoryLock(directory)
        undo.callback(lock.release)
        if files.read(directory) is not None:
            raise StoreExists(directory)
        files.sweep(directory, keep="")
        content = files.EngineFile("sqlite", f"sqlite-{new_id()}")
        home = directory / content.directory
        home.mkdir(mode=0o700)
        undo.callback(files.sweep, directory, keep="")
        engine = await SqliteEngine.create(home)
        undo.push_async_callback(engine.close)
        ledger, snapshot = await _first_commit(engine, root, cluster_id, now, changes)
        await asyncio.to_thread(files.sync_directory, home)
        await asyncio.to_thread(files.write, directory, content)
        undo.pop_all()
        return Opened(engine=engine, ledger=ledger, snapshot=snapshot, lock=lock)


async def open_store(directory: Path, *, root: RootKey, cluster_id: str) -> Opened:
    """Open a store and take the lead."""
    async with AsyncExitStack() as undo:
        content = files.read(directory)
        if content is None:
            raise StoreMissing(directory)
        lock = DirectoryLock(directory)
        undo.callback(lock.release)
        files.sweep(directory, keep=content.directory)
        engine = await SqliteEngine.open(directory / content.directory)
        undo.push_async_callback(engine.close)
        loaded = await load(engine, root=root, cluster_id=cluster_id)
        epoch = loaded.ledger.head.epoch
        index = loaded.snapshot.index + 1
        taken = Epoch(epoch.generation, epoch.counter + 1)
        await commit(engine, loaded.ledger, lambda: loaded.ledger.seal(index, {}, epoch=taken))
        undo.pop_all()
        snapshot = loaded.snapshot.apply((), index=index, now_s=0)
        return Opened(engine=engine, ledger=loaded.ledger, snapshot=snapshot, lock=lock)


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)


async def _first_commit(
    engine: Engine, root: RootKey, cluster_id: str, now: Callable[[], float], changes: Sequence[Change]
) -> tuple[Ledger, Snapshot]:
    """Commit keyring and first objects as index 1 of a new generation."""
    keyring = new_keyring(now_s=now())
    ledger = Ledger.fresh(cluster_id=cluster_id, root=root, keyring=keyring)
    batch = Proposals(Snapshot(), now).add(changes)
    epoch = Epoch(int(now()), 1)
    await commit(engine, ledger, lambda: ledger.seal(batch.index, batch.contents, epoch=epoch, keyring=keyring))
    return ledger, batch.after


async def commit(engine: Engine, ledger: Ledger, seal: Callable[[], Sealed]) -> None:
    """Commit outside the store's queue, before there is one."""
    made: list[Sealed] = []

    def make() -> Commit:
        made.append(seal())
        return made[0].commit

    await engine.commit(make)
    ledger.accept(made[0])

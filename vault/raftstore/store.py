"""The store: one order of commits, two snapshots, and nothing acknowledged that is not durable.

Not pure: awaits the engine.  *Proposed* is committed plus queued, and what callers' checks see; *committed* is what
everybody reads.  One commit is under way at a time; what is asked for meanwhile gathers in the next (group commit).
Lives on one event loop.  Used by `vault.api`, `vault.dispatcher` and `vault.daemon`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Self

from vault.crypto.keyring import with_new_term
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext
from vault.model.errors import DiskFull, NotFound, OutcomeUnknown, OutOfSequence, VaultError
from vault.model.ids import Kind
from vault.raftstore import files, opening
from vault.raftstore.engine import Commit, EngineStopped
from vault.raftstore.keys import value_key
from vault.raftstore.opening import Opened
from vault.raftstore.proposals import Batch, Proposals
from vault.store.changes import Atomic, Change, Put, PutValue, kind_of
from vault.store.snapshot import Snapshot, Stale

logger = logging.getLogger(__name__)
INLINE_BYTES: Final = 64 * 1024  # Values up to this size are opened on the event loop, in less than 0.3 ms.
CHUNK_CHANGES: Final = 256  # A decider's proposal is taken in pieces of this size, so that the loop goes on.


Group = Sequence[Change | Atomic]
"""Changes that are applied together or not at all."""


class NoValue(NotFound, LookupError):
    """The secret or config does not exist, or not any more."""


class Store:
    """The records of one cluster.  Make one with `create` or `open`; end it with `close`."""

    def __init__(self, opened: Opened, now: Callable[[], float]) -> None:
        self._opened = opened
        self._engine, self._ledger = opened.engine, opened.ledger
        self._committed = opened.snapshot
        self._proposals = Proposals(opened.snapshot, now)
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._flying: Batch | None = None  # The batch that the engine is making durable.
        self._woken = False
        self._closing = False
        self._readers: list[asyncio.Future[None]] = []  # Of snapshots; done at the next commit, or the end.
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped: asyncio.Future[VaultError] = self._loop.create_future()

    @classmethod
    async def create(
        cls,
        directory: Path,
        *,
        root: RootKey,
        cluster_id: str,
        now: Callable[[], float],
        changes: Sequence[Change] = (),
    ) -> Self:
        """Make the store of a new cluster in `directory`, with `changes` in its first commit, and open it.

        Raises `StoreExists`, `DirectoryTaken` or `DiskFull`; `directory` holds no store then.
        """
        return cls(await opening.create(directory, root=root, cluster_id=cluster_id, now=now, changes=changes), now)

    @classmethod
    async def open(cls, directory: Path, *, root: RootKey, cluster_id: str, now: Callable[[], float]) -> Self:
        """Open the store in `directory` and take the lead: the epoch's counter goes up by 1.

        Raises `StoreDamaged` naming the record, `StoreMissing`, `DirectoryTaken` or `DiskFull`.
        """
        return cls(await opening.open_store(directory, root=root, cluster_id=cluster_id), now)

    @staticmethod
    def exists(directory: Path) -> bool:
        """Return whether `directory` holds a store.  Raises `StoreDamaged`."""
        return files.read(directory) is not None

    @staticmethod
    def destroy(directory: Path) -> None:
        """Remove the store that `directory` holds, if it does; it must not be open."""
        files.remove(directory)

    @property
    def committed(self) -> Snapshot:
        """The newest committed snapshot: all reads are answered from it."""
        return self._committed

    @property
    def epoch(self) -> tuple[int, int]:
        """Generation and counter of this leadership."""
        epoch = self._ledger.head.epoch
        return epoch.generation, epoch.counter

    async def submit(self, build: Callable[[Snapshot], Sequence[Change | Atomic]]) -> int:
        """Commit what `build` makes of the proposed snapshot, all or nothing; return the commit index.

        `build` runs at once and may raise a `VaultError`, to this caller only.  On return `committed` shows the write.
        Raises `OutOfSequence`, `TooLarge`, `DiskFull` (nothing written), `OutcomeUnknown`, `EngineStopped`.
        """
        self._check_running()
        changes = build(self._proposals.proposed)
        if not changes:
            return await self._settled()
        try:
            batch = self._proposals.add(changes)
        except Stale:
            raise OutOfSequence from None
        return await self._wait_for(batch)

    async def propose(self, changes: Iterable[Change | Atomic]) -> tuple[Change | Atomic, ...]:
        """Commit those of `changes` that are still true, each for itself; return the others, to be decided again.

        With a full disk none is, and all are returned.
        """
        rest = iter(changes)
        refused: list[Change | Atomic] = []
        taken: list[tuple[Group, asyncio.Future[int]]] = []
        while chunk := list(islice(rest, CHUNK_CHANGES)):
            self._check_running()
            for group in _groups(chunk) if not self._fits(chunk, taken) else ():
                if not self._fits(group, taken):
                    refused.extend(group)
            await asyncio.sleep(0)
        for (group, _), outcome in zip(taken, await _outcomes(taken), strict=True):
            if isinstance(outcome, DiskFull):
                refused.extend(group)
            elif isinstance(outcome, BaseException):
                raise outcome
        return tuple(refused)

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield the committed snapshot, then each newer one; a slow reader sees only the newest.

        Raises `EngineStopped` when the store has stopped or was closed.
        """
        seen: Snapshot | None = None
        while True:
            self._check_running()
            if self._committed is not seen:
                seen = self._committed
                yield seen
            else:
                reader: asyncio.Future[None] = self._loop.create_future()
                self._readers.append(reader)
                await reader

    async def value(self, kind: Kind, id: str) -> Plaintext:
        """Return the value of a secret or config.  Raises `NoValue`, or `StoreDamaged` naming the record."""
        key = value_key(kind, id)
        framed = await self._engine.get(key)
        # The ledger is as new as what was read: the engine answers in order, and so do its futures.
        part = self._ledger.live.get(key)
        if part is None:
            raise NoValue(kind, id)
        if framed is None or len(framed) <= INLINE_BYTES:
            return Plaintext(self._ledger.open(key, framed, part))
        return Plaintext(await asyncio.to_thread(self._ledger.open, key, framed, part))

    async def rotate_keyring(self) -> int:
        """Add a data key; what is written after it is sealed with the new one.  Return the commit index."""
        self._check_running()
        keyring = with_new_term(self._ledger.keyring, now_s=self._now())
        return await self._wait_for(self._proposals.add_keyring(keyring))

    async def stopped(self) -> VaultError:
        """Wait until the store has stopped by itself, and return why: the daemon must end then."""
        return await asyncio.shield(self._stopped)

    async def close(self) -> None:
        """Finish what was asked for, refuse what comes after, and let go of the directory."""
        self._closing = True
        await self._idle.wait()
        self._stop(EngineStopped("it was closed"))
        await self._engine.close()
        self._opened.release()

    def _fits(self, group: "Group", taken: "list[tuple[Group, asyncio.Future[int]]]") -> bool:
        """Propose changes together, unless one is stale; note in `taken` what will settle them."""
        try:
            batch = self._proposals.add(group)
        except Stale:
            return False
        taken.append((group, self._enlist(batch)))
        return True

    async def _settled(self) -> int:
        """Wait for what the proposed snapshot shows, and return its commit index."""
        waiting = self._proposals.queue[-1] if self._proposals.queue else self._flying
        if waiting is None:
            return self._committed.index
        return await self._wait_for(waiting)

    async def _wait_for(self, batch: Batch) -> int:
        return await self._enlist(batch)

    def _enlist(self, batch: Batch) -> "asyncio.Future[int]":
        """Return a future that the batch's end settles, and see to it that the batch is sent."""
        future: asyncio.Future[int] = self._loop.create_future()
        batch.waiters.append(future)
        self._idle.clear()
        if self._flying is None and not self._woken:
            self._woken = True
            self._loop.call_soon(self._send)  # Not now: what else this turn of the loop asks for goes along.
        return future

    def _send(self) -> None:
        """Hand the next batch to the engine, if it has none of ours."""
        self._woken = False
        if self._flying is not None or not self._proposals.queue:
            return
        batch = self._flying = self._proposals.queue.popleft()

        def make() -> Commit:
            batch.sealed = self._ledger.seal(batch.index, batch.contents, keyring=batch.keyring)
            return batch.sealed.commit

        asyncio.ensure_future(self._engine.commit(make)).add_done_callback(self._landed)

    def _landed(self, done: "asyncio.Future[Commit]") -> None:
        """Tell a batch's callers how it ended, and send the next."""
        batch, self._flying = self._flying, None
        assert batch is not None
        match done.exception():
            case None:
                self._accept(batch)
                self._send()
            case DiskFull() as error:
                logger.warning("store_disk_full")
                for failed in (batch, *self._proposals.reset(self._committed)):
                    _settle(failed, error)
            case error:
                logger.critical("store_stopped", exc_info=error)
                self._stop(error if isinstance(error, VaultError) else EngineStopped("a commit failed"))
                _settle(batch, error if isinstance(error, VaultError) else OutcomeUnknown())
        if self._flying is None and not self._proposals.queue:
            self._idle.set()

    def _accept(self, batch: Batch) -> None:
        assert batch.sealed is not None
        self._ledger.accept(batch.sealed)
        self._committed = batch.after
        for waiter in batch.waiters:  # Before the readers: an answer does not wait for what others make of it.
            if not waiter.done():
                waiter.set_result(batch.index)
        self._wake_readers()

    def _wake_readers(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)

    def _stop(self, error: VaultError) -> None:
        """Promise nothing more; tell everybody who waits."""
        if self._stopped.done():
            return
        self._stopped.set_result(error)
        for batch in self._proposals.reset(self._committed):
            _settle(batch, EngineStopped("a write before this one failed"))
        self._wake_readers()

    def _check_running(self) -> None:
        if self._closing:
            raise EngineStopped("it was closed")
        if self._stopped.done():
            raise EngineStopped(getattr(self._stopped.result(), "why", "a write failed"))


def _settle(batch: Batch, error: VaultError) -> None:
    for waiter in batch.waiters:
        if not waiter.done():
            waiter.set_exception(error)


async def _outcomes(taken: "list[tuple[Group, asyncio.Future[int]]]") -> list[int | BaseException]:
    return await asyncio.gather(*(future for _, future in taken), return_exceptions=True)


def _groups(changes: Iterable[Change | Atomic]) -> list[Group]:
    """Return the changes one by one, but each value together with the object it belongs to."""
    groups: list[list[Change | Atomic]] = []
    objects: dict[tuple[Kind, str], list[Change | Atomic]] = {}
    values: list[PutValue] = []
    for change in changes:
        if isinstance(change, PutValue):
            values.append(change)
            continue
        groups.append([change])
        if isinstance(change, Put):
            objects[kind_of(change.obj), change.obj.id] = groups[-1]
    for value in values:
        if (owner := objects.get((value.kind, value.id))) is not None:
            owner.append(value)
        else:
            groups.append([value])
    return list(groups)

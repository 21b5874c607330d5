"""The writer: one commit at a time, in order; who waits for a batch learns how it ended, all at once.

Not pure: awaits the engine.  While one commit is under way, what is asked for gathers in the next (group commit).  A
full disk fails what waits and the writer goes on; after any other failure it promises nothing more.
Lives on one event loop.  Called by `vault.raftstore.store`.
"""

import asyncio
import logging
from collections.abc import Callable

from vault.model.errors import DiskFull, OutcomeUnknown, VaultError
from vault.raftstore.engine import Commit, Engine, EngineStopped
from vault.raftstore.ledger import Ledger
from vault.raftstore.proposals import Batch, Proposals
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)


class Writer:
    """Takes batches from the queue of proposals to the engine."""

    def __init__(self, engine: Engine, ledger: Ledger, proposals: Proposals, committed: Snapshot) -> None:
        self.committed = committed
        self.stopped: asyncio.Future[VaultError] = asyncio.get_running_loop().create_future()
        self._engine, self._ledger, self._proposals = engine, ledger, proposals
        self._loop = asyncio.get_running_loop()
        self._flying: Batch | None = None  # What the engine is making durable.
        self._woken = False
        self._closing = False
        self._readers: list[asyncio.Future[None]] = []  # Done at the next commit, or the end.
        self._idle = asyncio.Event()
        self._idle.set()

    def check_running(self) -> None:
        """Raise `EngineStopped` after the end."""
        if self._closing:
            raise EngineStopped("it was closed")
        if self.stopped.done():
            raise EngineStopped(getattr(self.stopped.result(), "why", "a write failed"))

    def enlist(self, batch: Batch) -> "asyncio.Future[int]":
        """Return what the batch's end settles, and see to it that the batch is sent."""
        future: asyncio.Future[int] = self._loop.create_future()
        batch.waiters.append(future)
        self._idle.clear()
        if self._flying is None and not self._woken:
            self._woken = True
            self._loop.call_soon(self._send)  # Not now: what else this turn of the loop asks for goes along.
        return future

    async def settled(self) -> int:
        """Wait for everything that the proposed snapshot shows, and return its commit index."""
        newest = self._proposals.queue[-1] if self._proposals.queue else self._flying
        return self.committed.index if newest is None else await self.enlist(newest)

    async def changed(self) -> None:
        """Wait for the next commit, or the end."""
        reader: asyncio.Future[None] = self._loop.create_future()
        self._readers.append(reader)
        await reader

    async def close(self) -> None:
        """Finish what was asked for, and refuse what comes after."""
        self._closing = True
        await self._idle.wait()
        self._stop(EngineStopped("it was closed"))

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
            case DiskFull():
                logger.warning("store_disk_full")
                for failed in (batch, *self._proposals.reset(self.committed)):
                    _fail(failed, DiskFull)
            case error:
                logger.critical("store_stopped", exc_info=error)
                self._stop(error if isinstance(error, VaultError) else EngineStopped("a commit failed"))
                _fail(batch, lambda: error if isinstance(error, VaultError) else OutcomeUnknown())
        if self._flying is None and not self._proposals.queue:
            self._idle.set()

    def _accept(self, batch: Batch) -> None:
        assert batch.sealed is not None
        self._ledger.accept(batch.sealed)
        self.committed = batch.after
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
        if self.stopped.done():
            return
        self.stopped.set_result(error)
        for batch in self._proposals.reset(self.committed):
            _fail(batch, lambda: EngineStopped("a write before this one failed"))
        self._wake_readers()


def _fail(batch: Batch, error: Callable[[], VaultError]) -> None:
    for waiter in batch.waiters:
        if not waiter.done():
            waiter.set_exception(error())

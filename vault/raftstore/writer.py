"""The writer: one commit at a time, in order; who waits for a batch learns how it ended, all at once.

Not pure: awaits the engine.  While one commit is under way, what is asked for gathers in the next (group commit), which
waits a moment for a crowd of callers that was just answered: a commit among several managers costs each of them.  A
full disk fails what waits and the writer goes on; any other failure ends it.  A writer lives as long as one
leadership, and what it has made of the proposed snapshot ends with it.
Lives on one event loop.  Called by `vault.raftstore.store`; made by `vault.raftstore.leadership`.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Set
from typing import Final

from vault.model.errors import DiskFull, NotLeading, OutcomeUnknown, VaultError
from vault.raftstore.engine import Commit, Engine, EngineStopped, HeadMoved
from vault.raftstore.proposals import Batch, Proposals
from vault.raftstore.replica import Replica

logger = logging.getLogger(__name__)
BRIEF_WRITES: Final = 128  # A batch up to this size, and
BRIEF_BYTES: Final = 128 * 1024  # of so many bytes, is sealed in 3 ms at the most.
CROWD: Final = 4  # So many callers answered at once will ask again at once, as far as they do:
GATHER_S: Final = 0.004  # the next commit of several managers waits so long for them.  See docs/performance.md.


class Writer:
    """Takes batches from the queue of proposals to the engine.

    alone: no other manager can take over, so a failure is the end of the store and not only of this leadership.
    """

    def __init__(self, engine: Engine, replica: Replica, *, alone: bool) -> None:
        self.epoch = replica.ledger.head.epoch
        self.proposals = Proposals(replica.committed, replica.clock.now_s)
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[VaultError] = self._loop.create_future()  # Why it promises nothing more.
        self._engine, self._replica, self._alone = engine, replica, alone
        self._sealing = threading.Lock()  # The ledger is read by the engine's thread, and stays as it is meanwhile.
        self._flying: Batch | None = None  # What the engine is making durable.
        self._late: set[asyncio.Task[None]] = set()
        self._woken = False
        self._gathering: asyncio.TimerHandle | None = None  # Runs while the next commit waits for a crowd,
        self._crowd = 0  # of so many.
        self._paused = False
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def check_running(self) -> None:
        """Raise `EngineStopped` after the end, or `NotLeading` if only this leadership has ended."""
        if self._closing:
            raise EngineStopped("it was closed")
        if self.ended.done():
            raise self._refusal(getattr(self.ended.result(), "why", "a write failed"))

    def enlist(self, batch: Batch) -> "asyncio.Future[int]":
        """Return what the batch's end settles, and see to it that the batch is sent."""
        future: asyncio.Future[int] = self._loop.create_future()
        batch.waiters.append(future)
        self._idle.clear()
        if self._flying is None and not self._woken and (self._gathering is None or self._gathered()):
            self._woken = True
            self._loop.call_soon(self._send)  # Not now: what else this turn of the loop asks for goes along.
        return future

    def _gathered(self) -> bool:
        return sum(len(batch.waiters) for batch in self.proposals.queue) >= self._crowd

    async def settled(self) -> int:
        """Wait for everything that the proposed snapshot shows, and return its commit index."""
        queue = self.proposals.queue
        newest = queue[-1] if queue else self._flying
        return self._replica.committed.index if newest is None else await self.enlist(newest)

    async def pause(self) -> None:
        """Send nothing until `resume`; what is asked for gathers.  On return nothing is under way."""
        self._paused = True
        while self._flying is not None:
            await self._replica.changed()

    def resume(self, engine: Engine, *, alone: bool) -> None:
        """Go on, with another engine perhaps."""
        self._engine, self._alone, self._paused = engine, alone, False
        self._send()

    async def close(self) -> None:
        """Finish what was asked for, and refuse what comes after."""
        self._closing = True
        await self._idle.wait()
        self.end(EngineStopped("it was closed"))
        for task in self._late:
            task.cancel()

    def end(self, error: VaultError) -> None:
        """Promise nothing more; tell everybody whose batch was not sent.  What is under way ends as the engine says."""
        if self.ended.done():
            return
        self._stop_gathering()
        with self._sealing:
            self.ended.set_result(error)
        for batch in self.proposals.reset(self._replica.committed):
            _fail(batch, lambda: self._refusal("a write before this one failed"))
        self._settle_down()
        self._replica.wake()

    def overtaken(self, heads: Set[bytes]) -> None:
        """End, since another manager leads; heads: of all commits between ours and its first."""
        batch = self._flying
        self.end(HeadMoved())
        if batch is not None and (batch.sealed is None or batch.sealed.commit.head not in heads):
            _fail(batch, NotLeading)  # It came too late, and never will be applied.

    def abandon(self) -> None:
        """End, since nobody answers: whether what is under way happened will show only later."""
        batch = self._flying
        self.end(NotLeading())
        if batch is not None:
            _fail(batch, OutcomeUnknown)

    def _refusal(self, why: str) -> VaultError:
        return EngineStopped(why) if self._alone else NotLeading()

    def _send(self) -> None:
        """Hand the next batch to the engine, if it has none of ours."""
        self._woken = False
        self._stop_gathering()
        if self._flying is not None or self._paused or not self.proposals.queue:
            return
        batch = self._flying = self.proposals.queue.popleft()

        def make() -> Commit:
            with self._sealing:
                if self.ended.done():
                    raise HeadMoved
                batch.sealed = self._replica.ledger.seal(batch.index, batch.contents, keyring=batch.keyring)
            return batch.sealed.commit

        brief = len(batch.contents) <= BRIEF_WRITES and batch.size_bytes <= BRIEF_BYTES
        asyncio.ensure_future(self._engine.commit(make, brief=brief)).add_done_callback(self._landed)

    def _landed(self, done: "asyncio.Future[Commit]") -> None:
        """Tell a batch's callers how it ended, and send the next."""
        batch, self._flying = self._flying, None
        assert batch is not None
        match EngineStopped("a commit was broken off") if done.cancelled() else done.exception():
            case None if self.ended.done():
                task = self._loop.create_task(self._answer_late(batch))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
            case None:
                self._accept(batch)
                self._send_soon(len(batch.waiters))
            case DiskFull():
                logger.warning("store_disk_full")
                for failed in (batch, *self.proposals.reset(self._replica.committed)):
                    _fail(failed, DiskFull)
            case HeadMoved() if not self._alone:
                self.end(HeadMoved())
                _fail(batch, NotLeading)
            case error:
                if self._alone or not isinstance(error, VaultError):
                    logger.critical("store_stopped", exc_info=error)
                self.end(error if isinstance(error, VaultError) else EngineStopped("a commit failed"))
                _fail(batch, lambda: error if isinstance(error, VaultError) else OutcomeUnknown())
        self._settle_down()

    def _send_soon(self, answered: int) -> None:
        """Send the next batch; not before those who were just answered have had time to ask again, if they are many."""
        self._crowd = answered
        if self._alone or self._closing or answered < CROWD or self._gathered():
            self._send()
        else:
            self._gathering = self._loop.call_later(GATHER_S, self._send)

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _settle_down(self) -> None:
        """Note it when nothing is left to do."""
        if self._flying is None:
            if not self.proposals.queue:
                self._idle.set()
            if self._paused:
                self._replica.wake()

    def _accept(self, batch: Batch) -> None:
        assert batch.sealed is not None
        self._replica.accept(batch.sealed, batch.after)
        _answer(batch)  # Before the readers: an answer does not wait for what others make of it.
        self._replica.wake()

    async def _answer_late(self, batch: Batch) -> None:
        """Tell callers of a success that came after the end, when the replica shows it."""
        try:
            while self._replica.committed.index < batch.index:
                await self._replica.changed()
            _answer(batch)
        finally:
            _fail(batch, OutcomeUnknown)


def _answer(batch: Batch) -> None:
    for waiter in batch.waiters:
        if not waiter.done():
            waiter.set_result(batch.index)


def _fail(batch: Batch, error: Callable[[], VaultError]) -> None:
    for waiter in batch.waiters:
        if not waiter.done():
            waiter.set_exception(error())

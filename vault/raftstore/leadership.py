"""Leadership: this manager follows the others' commits, takes the lead when it is free, and leaves it when overtaken.

Not pure: awaits the engine and reads the loop's monotonic clock; `vigil` decides when.  Leading means having written
the newest epoch into head.  A leader that is overtaken learns it from a commit that was refused, from the watch, or
from a reader's round; whichever is first ends its writer at that instant, then `lead()` is cancelled and awaited, and
the replica goes on with what the watch shows.  A leader whose beats do not get through for 4 s, or whose commit's
outcome is unknown, leaves too.  Called by `vault.raftstore.store`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

from vault.crypto.keys import RootKey
from vault.model.errors import NoLeader, NotLeading, Unavailable, VaultError
from vault.raftstore.engine import Beat, Engine, EngineStopped, HeadMoved, Reading, Seen, WatchLost, cause_of
from vault.raftstore.head import Epoch, peek
from vault.raftstore.load import load
from vault.raftstore.replica import Replica
from vault.raftstore.rounds import Rounds
from vault.raftstore.vigil import BEAT_S, Pulse, Vigil
from vault.raftstore.writer import Writer

logger = logging.getLogger(__name__)
POLL_S: Final = 0.1  # How often a follower asks itself whether to take over.
BEAT_LIMIT_S: Final = 1.0
BEAT_RETRY_S: Final = 0.1
LOST_S: Final = 4.0  # Without a beat that got through, nobody hears this leader.
RETRY_S: Final = 0.5
REST_S: Final = 5.0  # After giving way, others come first.
SLOW_S: Final = 0.5  # A round that took longer may have missed beats.
Lead = Callable[[], Coroutine[Any, Any, None]]


class Leadership:
    """Who leads, and what this manager does about it.

    alone: the engine has this one member, so this manager leads from the start and cannot be replaced.
    """

    def __init__(
        self, engine: Engine, replica: Replica, reading: Reading | None, *, root: RootKey, node_id: str, alone: bool
    ) -> None:
        self.engine, self.replica, self.alone = engine, replica, alone
        self.writer: Writer | None = None
        self.stopped: asyncio.Future[VaultError] = asyncio.get_running_loop().create_future()
        self._root, self._node_id = root, node_id
        self._reading = reading  # Where the watch begins.
        self._clock = asyncio.get_running_loop().time
        self._vigil = Vigil(replica.ledger.head.epoch, self._clock())
        self._following = False
        self._ahead: list[Seen] = []  # What the watch showed while this manager led, and the writer did not yet know.
        self._rests_until = 0.0
        self._at_rest = asyncio.Event()  # Set while nothing of a leadership runs.
        self._at_rest.set()
        self._rounds = Rounds(self._round)
        if alone:
            self._begin()

    @property
    def leads(self) -> bool:
        """Whether this manager leads, as far as it knows."""
        return self.writer is not None and not self.writer.ended.done()

    @property
    def leader(self) -> str:
        """The node id of who leads, or ""."""
        return self._node_id if self.leads else self._vigil.leader(self._clock())

    @property
    def epoch(self) -> Epoch:
        """The epoch of this leadership as long as anything of it runs, or of the newest known."""
        return self.replica.ledger.head.epoch if self.writer is None else self.writer.epoch

    def check_running(self) -> None:
        """Raise `EngineStopped` when the store has stopped."""
        if self.stopped.done():
            raise EngineStopped(getattr(self.stopped.result(), "why", "a write failed"))

    def leading(self) -> Writer:
        """Return the writer; raises `NotLeading` or `EngineStopped`."""
        self.check_running()
        if self.writer is None:
            raise NotLeading(self.leader)
        self.writer.check_running()
        return self.writer

    async def barrier(self) -> None:
        """Wait until the replica is as new as this moment.  Raises `NotLeading`, `NoLeader` or `EngineStopped`."""
        self.leading()
        if not self.alone:
            await self._rounds.join()

    async def run(self, lead: Lead) -> None:
        """Follow, and lead when it is this manager's turn, until cancelled; raises what must end vaultd."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self._preside(lead))
        except BaseExceptionGroup as errors:
            error = cause_of(errors)
            if isinstance(error, VaultError):
                self._stop(error)
            raise error from None

    async def cede(self) -> None:
        """Give the lead away, if this manager has it: refuse what was not sent, and tell the others that it is free."""
        writer = self.writer
        if writer is None or self.alone:
            return
        self._rests_until = self._clock() + REST_S
        writer.end(NotLeading())
        await self._at_rest.wait()

    async def close(self) -> None:
        """Finish what was asked for, refuse what comes after, and let go of the engine."""
        if self.writer is not None:
            led = self.leads
            await self.writer.close()
            if led and not self.alone:
                await self._say(Pulse(self.writer.epoch, ""))
        self._stop(EngineStopped("it was closed"))
        await self.engine.close()

    def switch(self, engine: Engine, reading: Reading) -> None:
        """Go on with another engine that holds the same; the old one is closed by the caller."""
        self.engine, self._reading, self.alone = engine, reading, False

    def _begin(self) -> None:
        """Lead from now on."""
        self.writer = Writer(self.engine, self.replica, alone=self.alone)
        if self.alone:
            self.writer.ended.add_done_callback(lambda ended: self._stop(ended.result()) if self.alone else None)
        logger.info("leading", extra={"epoch": self.writer.epoch.counter, "index": self.replica.committed.index})

    def _stop(self, error: VaultError) -> None:
        if not self.stopped.done():
            self.stopped.set_result(error)
            self.replica.wake()

    # Following.

    async def _follow(self) -> None:
        """Hand on what the watch shows; when it is lost, read everything again."""
        reading = self._reading or await self._read_again()
        while True:
            engine = self.engine
            try:
                async with aclosing(engine.watch(reading)) as watch:  # type: ignore[type-var]
                    self._following = True
                    self._vigil.listen_anew(self._clock())
                    async for news in watch:
                        await self._hear(news)
                raise EngineStopped("its watch ended")
            except WatchLost:
                self._following = False
                logger.warning("watch_lost", extra={"index": self.replica.committed.index})
                reading = await self._read_again()
            except EngineStopped:
                if engine is self.engine:
                    raise
                assert self._reading is not None
                reading = self._reading

    async def _hear(self, news: Sequence[Seen | Beat]) -> None:
        """Take note of beats, and take over commits."""
        seen: list[Seen] = []
        for one in news:
            if isinstance(one, Beat):
                self._vigil.hear(one.payload, self._clock())
            else:
                self._vigil.see(peek(one.head)[0], self._clock())
                seen.append(one)
        if seen:
            await self._take(seen)

    async def _take(self, seen: Sequence[Seen]) -> None:
        """Move the replica on; while this manager leads, its writer does that, unless it was overtaken."""
        async with self.replica.moving:
            place = self.replica.ledger.head.index
            self._ahead = [one for one in (*self._ahead, *seen) if peek(one.head)[1] > place]
            if self.writer is not None and not self.writer.ended.done():
                if all(peek(one.head)[0] == self.writer.epoch for one in self._ahead):
                    return
                logger.warning("overtaken", extra={"epoch": self.writer.epoch.counter})
                self.writer.overtaken({one.head for one in self._ahead})
            ahead, self._ahead = self._ahead, []
            await self.replica.take(ahead)

    async def _read_again(self) -> Reading:
        """Begin anew with everything; or, while leading, where the ledger is.  Return where the watch goes on."""
        while True:
            try:
                if self.leads:
                    reading = await self.engine.read()
                    if await self._is_ours(reading.head):
                        return reading
                    continue
                loaded = await load(self.engine, root=self._root, cluster_id=self.replica.ledger.cluster_id)
                async with self.replica.moving:
                    if loaded.ledger.head.index >= self.replica.ledger.head.index:
                        self._ahead = []
                        self.replica.begin_again(loaded)
                        return loaded.reading
            except EngineStopped:
                raise
            except HeadMoved:
                pass
            except Unavailable as error:
                logger.warning("store_not_read", extra={"reason": error.message})
            await asyncio.sleep(RETRY_S)

    async def _is_ours(self, head: bytes | None) -> bool:
        """Return whether head is of this leadership, once the ledger has reached it; if it is not, the lead is lost."""
        writer = self.writer
        assert writer is not None
        epoch, index = peek(head or b"")
        if epoch != writer.epoch:
            writer.end(HeadMoved())
        while not writer.ended.done() and self.replica.committed.index < index:
            await self.replica.changed()
        return not writer.ended.done()

    async def _round(self) -> None:
        """Ask all members for head, for everybody who waits to read."""
        writer = self.leading()
        try:
            head = await self.engine.head()
        except EngineStopped:
            raise
        except Unavailable:
            raise NoLeader from None
        if head != self.replica.ledger.head_bytes and not await self._is_ours(head):
            raise NotLeading(self.leader)
        writer.check_running()

    # Leading.

    async def _preside(self, lead: Lead) -> None:
        """Wait for this manager's turn, lead, and wait again."""
        while True:
            if self.writer is None:
                await self._until_due()
                if not await self._take_over():
                    continue
            self._at_rest.clear()
            try:
                await self._serve(lead)
            finally:
                self._at_rest.set()
            await self._leave()

    async def _leave(self) -> None:
        """Become a follower."""
        writer, self.writer = self.writer, None
        assert writer is not None
        async with self.replica.moving:
            ahead, self._ahead = self._ahead, []
            with suppress(WatchLost):  # Then the watch itself will notice.
                await self.replica.take(ahead)
        if isinstance(writer.ended.result(), NotLeading):  # Nobody has overtaken it yet.
            await self._say(Pulse(writer.epoch, ""))

    async def _until_due(self) -> None:
        """Wait until nobody else leads, or seems to."""
        while True:
            await asyncio.sleep(POLL_S)
            beside = await self._is_beside()
            now = self._clock()
            if self._vigil.is_due(now, beside=beside) and self._following and now >= self._rests_until:
                return
            name = self._vigil.to_hand_to(now)
            if name and name != self._node_id:
                await self._hand_over(name)

    async def _is_beside(self) -> bool:
        try:
            return await self.engine.raft_leads()
        except EngineStopped:
            raise
        except Unavailable:
            return False

    async def _hand_over(self, name: str) -> None:
        """Let the engine's lead go to where the leader is, which saves it a hop for each commit."""
        try:
            for member in await self.engine.members():
                if member.name == name and not member.learner:
                    await self.engine.transfer(member.id)
        except EngineStopped:
            raise
        except Unavailable as error:
            logger.info("engine_lead_not_handed_over", extra={"reason": error.message})

    async def _take_over(self) -> bool:
        """Write a new epoch on top of what this replica shows; return whether it is ours."""
        replica, began = self.replica, self._clock()
        try:
            head = await self.engine.head()
            ledger = replica.ledger
            if head != ledger.head_bytes or self._clock() - began > SLOW_S or replica.moving.locked():
                return False
            epoch = Epoch(ledger.head.epoch.generation, ledger.head.epoch.counter + 1)
            sealed = ledger.seal(replica.committed.index + 1, {}, epoch=epoch)
            await self.engine.commit(lambda: sealed.commit)
        except EngineStopped:
            raise
        except Unavailable as error:
            logger.info("lead_not_taken", extra={"reason": error.message})
            return False
        async with replica.moving:
            if ledger is replica.ledger and ledger.head_bytes == sealed.commit.expected:
                after = replica.committed.apply((), index=sealed.head.index, now_s=0)
                replica.accept(sealed, after)
                replica.wake()
            if replica.ledger.head_bytes != sealed.commit.head:
                return False  # The watch has shown somebody else's epoch already.
            self._vigil.see(epoch, self._clock())
            self._begin()
        return True

    async def _serve(self, lead: Lead) -> None:
        """Beat and run `lead()` until the lead is lost; raise what is no reason to go on."""
        writer = self.writer
        assert writer is not None
        leading = asyncio.create_task(lead(), name="lead")
        beating = asyncio.create_task(self._beat(writer), name="beat")
        try:
            await asyncio.wait((leading, beating, writer.ended), return_when=asyncio.FIRST_COMPLETED)
            if not writer.ended.done():
                self._check_end(leading, beating)
                writer.abandon()
        finally:
            leading.cancel()
            beating.cancel()
            await asyncio.gather(leading, beating, return_exceptions=True)
        error = writer.ended.result()
        if self.alone or not _is_passing(error):
            raise error
        logger.warning("lead_lost", extra={"epoch": writer.epoch.counter, "reason": error.message})

    def _check_end(self, leading: "asyncio.Task[None]", beating: "asyncio.Task[None]") -> None:
        """Raise why leading ended, unless it is that the others do not answer now."""
        for job in (leading, beating):
            if not job.done():
                continue
            error = None if job.cancelled() else job.exception()
            if error is None and job is leading:
                raise AssertionError("what a leader runs does not end by itself")
            if error is not None and (self.alone or not _is_passing(error)):
                raise error
        self._rests_until = self._clock() + RETRY_S

    async def _beat(self, writer: Writer) -> None:
        """Say that this manager leads; return when that has not been heard for too long."""
        heard_at = self._clock()
        while True:
            heard = await self._say(Pulse(writer.epoch, self._node_id))
            now = self._clock()
            if heard:
                heard_at = now
            elif now - heard_at > LOST_S:
                return
            await asyncio.sleep(BEAT_S if heard else BEAT_RETRY_S)

    async def _say(self, pulse: Pulse) -> bool:
        """Send one beat; return whether it got through."""
        engine = self.engine
        try:
            async with asyncio.timeout(BEAT_LIMIT_S):
                await engine.beat(pulse.encode())
        except EngineStopped:
            if engine is self.engine:
                raise
            return False
        except (Unavailable, TimeoutError):
            return False
        return True


def _is_passing(error: BaseException) -> bool:
    """Return whether an error is only that other members do not answer now."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_passing(one) for one in error.exceptions)
    return isinstance(error, Unavailable) and not isinstance(error, EngineStopped)

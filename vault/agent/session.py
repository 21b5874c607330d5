"""One session with the leading manager, the node's end.

Not pure.  Called by `vault.agent.connection`, which opened it.  One task takes what the manager says, one says that the
node is alive, one reports, one watches whether the manager is still there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Final, Protocol

import msgspec

from vault.agent.logstream import send_log
from vault.agent.worker import Gap, Worker
from vault.model.errors import VaultError
from vault.model.node import NodeDescription
from vault.rpc.call import Call
from vault.rpc.messages import (
    Acknowledged,
    Announcement,
    Assignments,
    Beat,
    Described,
    FromManager,
    Heartbeat,
    LogsUnwanted,
    LogsWanted,
    ManagerAddress,
    ManagersAre,
    Pace,
    Welcome,
)
from vault.rpc.patience import LAG_LIMIT_S, TICK_S, Patience

logger = logging.getLogger(__name__)

MISSED: Final = 2  # Answers to heartbeats.
SLACK_S: Final = 1.0  # Beyond that: a manager under load is slow, not gone.
EARLY: Final = 0.1  # Heartbeats come up to so much of a period early, so that nodes do not all speak at once.
LOGS_MAX: Final = 64  # Logs that are read at one time.

Learn = Callable[[tuple[ManagerAddress, ...], str], Awaitable[None]]


class Dial(Protocol):
    """Calls a method of a manager."""

    def __call__(self, address: str, method: str, /) -> AbstractAsyncContextManager[Call]:
        """address: host:port."""
        ...


class Says(Protocol):
    """What the daemon says of this node and does with what it hears."""

    @property
    def description(self) -> Callable[[], NodeDescription]: ...
    @property
    def manager_ok(self) -> Callable[[], bool | None]: ...
    @property
    def announced(self) -> Callable[[Announcement], None]: ...


class ManagerSilent(Exception):
    """Nothing was heard of the manager for too long."""


class Session:
    """A session that was welcomed."""

    def __init__(
        self,
        call: Call,
        address: str,
        worker: Worker,
        *,
        dial: Dial,
        node: Says,
        learn: Learn,
        random: Random,
        period_s: float,
    ) -> None:
        self.address = address
        self._call = call
        self._worker = worker
        self._dial = dial
        self._node = node
        self._learn = learn
        self._random = random
        self._period_s = period_s
        self._paced = asyncio.Event()
        self._described = asyncio.Event()
        self._turn = asyncio.Lock()  # One task sends at a time.
        self._heard = 0  # Messages taken in.
        self._busy = False  # With one that came in.
        self._logs: dict[str, asyncio.Task[None]] = {}

    def beat(self) -> None:
        """Send the next heartbeat now: what it says has changed."""
        self._paced.set()

    def described(self) -> None:
        """Say anew what the node is."""
        self._described.set()

    async def run(self) -> None:
        """Talk until cancelled, or until the session ends.  Raises a `VaultError` or `ManagerSilent`."""
        work = (self._listen(), self._beat(), self._report(), self._describe(), self._watch())
        jobs = [asyncio.create_task(part) for part in work]
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in sorted(done, key=jobs.index):  # What the manager said last comes before what failed by it.
                job.result()
        finally:
            for job in (*jobs, *self._logs.values()):
                job.cancel()
            await asyncio.gather(*jobs, *self._logs.values(), return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            message = await self._call.receive(FromManager)
            self._heard += 1
            self._busy = True
            try:
                if not await self._take(message):
                    return
            finally:
                self._busy = False

    async def _take(self, message: FromManager) -> bool:
        """Do what a message says; return whether the session goes on."""
        match message:
            case Assignments():
                try:
                    await self._worker.assign(message)
                except Gap:
                    logger.warning("assignments_gap", extra={"sequence": message.sequence})
                    return False
            case Beat():
                pass
            case Acknowledged(number=number):
                self._worker.acknowledge(number)
            case Pace(heartbeat_s=period_s):
                self._period_s = period_s
                self._paced.set()
            case ManagersAre(managers=managers):
                await self._learn(managers, self.address)
            case Announcement():
                self._node.announced(message)
            case LogsWanted():
                self._open_log(message)
            case LogsUnwanted(id=wish_id):
                if (job := self._logs.get(wish_id)) is not None:
                    job.cancel()
            case Welcome():
                return False  # A second one makes no sense.
        return True

    async def _beat(self) -> None:
        while True:
            await self._send(Heartbeat(period_s=self._period_s, manager_ok=self._node.manager_ok()))
            self._paced.clear()
            early = self._random.random() * EARLY
            try:
                async with asyncio.timeout(self._period_s * (1 - early)):
                    await self._paced.wait()
            except TimeoutError:
                continue

    async def _report(self) -> None:
        async for report in self._worker.reports():
            await self._send(report)

    async def _describe(self) -> None:
        while True:
            await self._described.wait()
            self._described.clear()
            await self._send(Described(description=self._node.description()))

    async def _watch(self) -> None:
        """Raise once nothing was heard for two heartbeats, by a clock that stands still while this process does."""
        now = asyncio.get_running_loop().time
        clock, heard, since_s = Patience(now_s=now()), self._heard, 0.0
        while True:
            await asyncio.sleep(TICK_S)
            late_s = clock.tick(now())
            if self._busy or self._heard != heard or late_s > LAG_LIMIT_S:
                heard, since_s = self._heard, clock.listened_s
            elif clock.listened_s - since_s > MISSED * self._period_s + SLACK_S:
                raise ManagerSilent

    def _open_log(self, wanted: LogsWanted) -> None:
        if len(self._logs) >= LOGS_MAX or wanted.id in self._logs:
            return
        job = asyncio.create_task(self._log(wanted))
        self._logs[wanted.id] = job
        job.add_done_callback(lambda _: self._logs.pop(wanted.id, None))

    async def _log(self, wanted: LogsWanted) -> None:
        """Send a log; its troubles are its reader's, not the session's."""
        try:
            await send_log(self._worker, wanted, self._dial, self.address)
        except (VaultError, OSError) as error:
            logger.info("log_not_sent", extra={"task_id": wanted.task_id, "reason": type(error).__name__})

    async def _send(self, message: msgspec.Struct) -> None:
        async with self._turn:
            await self._call.send(message)

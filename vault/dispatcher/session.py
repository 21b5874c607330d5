"""One node's session, the manager's end: what it says is taken in at once, what it is told waits its turn.

Not pure.  Called by `vault.dispatcher.service`, once per node that is connected.  Three tasks: one reads and never
waits for anything but the node; one sends small messages, answers to heartbeats first of all; one makes and sends
assignments.  A session ends when any of them does, or by `end`.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection
from typing import Final, Protocol

import msgspec

from vault.dispatcher.pacing import Allowance
from vault.dispatcher.stream import Stream
from vault.model.errors import VaultError
from vault.model.node import NodeDescription
from vault.rpc.call import Call
from vault.rpc.messages import (
    Acknowledged,
    Announcement,
    Beat,
    Described,
    FromNode,
    Heartbeat,
    Hello,
    LogsUnwanted,
    LogsWanted,
    ManagerAddress,
    ManagersAre,
    NotUnderstood,
    Pace,
    Report,
    SessionSilent,
)

GATHER_S: Final = 0.05  # Differences are sent this often at most,
NETWORKS_S: Final = 0.01  # What is new of networks alone waits so long for what follows from the same cause.
BURST: Final = 4  # but some at once: a service, its address, its task and what others do about it follow each other.
WAITING_MAX: Final = 1024  # Small messages that wait for a node that does not read.

Notice = Announcement | LogsWanted | LogsUnwanted


class Desk(Protocol):
    """Where a session takes what its node says."""

    def heard(self, session: "Session", heartbeat: Heartbeat) -> None:
        """Note a heartbeat."""
        ...

    def reported(self, session: "Session", report: Report) -> None:
        """Write a report, and acknowledge it then."""
        ...

    def described(self, session: "Session", description: NodeDescription) -> None:
        """Write a node's description."""
        ...


class Session:
    """A connected node."""

    def __init__(self, call: Call, node_id: str, stream: Stream, desk: Desk) -> None:
        self.node_id = node_id
        self.manager_ok: bool | None = None  # As last told.
        self._call = call
        self._stream = stream
        self._desk = desk
        self._turn = asyncio.Lock()  # One task sends at a time; in the order they asked.
        self._stale = asyncio.Event()  # Something may have changed that the node has to be told.
        self._stale.set()
        self._urgent = asyncio.Event()  # And that of its tasks or values.
        self._urgent.set()
        self._small = asyncio.Event()
        self._beat = False
        self._acknowledged: int | None = None
        self._pace: float | None = None
        self._managers: tuple[ManagerAddress, ...] | None = None
        self._notices: deque[Notice] = deque()
        self._end: VaultError | None = None
        self._ended = asyncio.Event()

    def touch(self, tasks: Collection[str] | None = None) -> None:
        """Look whether there is news for the node, of some of its tasks; None = of any, its values or networks."""
        self._stream.touch(tasks)
        self._stale.set()
        self._urgent.set()

    def touch_networks(self) -> None:
        """Look whether there is news for the node of its networks alone, which is quicker."""
        self._stale.set()

    def acknowledge(self, number: int) -> None:
        """Tell the node that a report is written."""
        self._acknowledged = number
        self._small.set()

    def pace(self, period_s: float) -> None:
        """Tell the node how often to give a sign of life."""
        self._pace = period_s
        self._small.set()

    def managers(self, managers: tuple[ManagerAddress, ...]) -> None:
        """Tell the node which managers there are."""
        self._managers = managers
        self._small.set()

    def notify(self, notice: Notice) -> None:
        """Pass a message on; a node that takes none for too long loses its session."""
        if len(self._notices) >= WAITING_MAX:
            self.end(SessionSilent())
            return
        self._notices.append(notice)
        self._small.set()

    def end(self, why: VaultError) -> None:
        """End the session; the node is told why."""
        if self._end is None:
            self._end = why
            self._ended.set()

    async def run(self) -> None:
        """Serve the node until the session ends; raises why."""
        jobs = [asyncio.create_task(self._over())]
        try:
            jobs += [asyncio.create_task(work) for work in (self._listen(), self._answer(), self._assign())]
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            if self._end is not None:
                raise self._end
            for job in done:
                job.result()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def _over(self) -> None:
        await self._ended.wait()

    async def _listen(self) -> None:
        while True:
            match await self._call.receive(FromNode):
                case Heartbeat() as heartbeat:
                    self.manager_ok = heartbeat.manager_ok
                    self._desk.heard(self, heartbeat)
                    self._beat = True
                    self._small.set()
                case Report() as report:
                    self._desk.reported(self, report)
                case Described(description=description):
                    self._desk.described(self, description)
                case Hello():
                    raise NotUnderstood("a session has one Hello: begin another session for the next")

    async def _answer(self) -> None:
        while True:
            await self._small.wait()
            self._small.clear()
            for take in (self._take_beat, self._take_acknowledged, self._take_pace, self._take_managers):
                if (message := take()) is not None:
                    await self._send(message)
            while self._notices:
                await self._send(self._notices.popleft())
                if self._beat:
                    break
            if self._notices:
                self._small.set()

    async def _assign(self) -> None:
        allowance, now = Allowance(every_s=GATHER_S, burst=BURST), asyncio.get_running_loop().time
        while True:
            await self._stale.wait()
            if not self._urgent.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._urgent.wait(), NETWORKS_S)
            self._stale.clear()
            self._urgent.clear()
            while (message := await self._stream.next()) is not None:
                await self._send(message)
                if message.complete:
                    break
            if message is not None:
                if not self._stream.settled:
                    self._stale.set()
                await asyncio.sleep(allowance.pause_s(now()))

    async def _send(self, message: msgspec.Struct) -> None:
        async with self._turn:
            await self._call.send(message)

    def _take_beat(self) -> msgspec.Struct | None:
        beat, self._beat = self._beat, False
        return Beat() if beat else None

    def _take_acknowledged(self) -> msgspec.Struct | None:
        number, self._acknowledged = self._acknowledged, None
        return None if number is None else Acknowledged(number=number)

    def _take_pace(self) -> msgspec.Struct | None:
        period_s, self._pace = self._pace, None
        return None if period_s is None else Pace(heartbeat_s=period_s)

    def _take_managers(self) -> msgspec.Struct | None:
        managers, self._managers = self._managers, None
        return None if managers is None else ManagersAre(managers=managers)

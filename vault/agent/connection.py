"""This node's connection with whichever manager leads: found, kept, and found again, while the node is a member.

Not pure.  Run by the daemon on every node, on the leader too.  Tasks run on while no manager answers.  Files belong to
the daemon: what must outlast a restart goes through `Memory`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from vault.agent.managers import Backoff, Candidates
from vault.agent.session import Dial, ManagerSilent, Session
from vault.agent.worker import Replayed, Worker
from vault.model.errors import VaultError
from vault.model.node import NodeDescription
from vault.rpc.call import Call
from vault.rpc.errors import NotLeader, RemoteRefusal
from vault.rpc.messages import PROTOCOL, SESSION, Announcement, Hello, ManagerAddress, NodeRemoved, Welcome

logger = logging.getLogger(__name__)

ANSWER_S: Final = 3.0  # Connecting, and the answer to Hello.
STABLE_S: Final = 2.0  # A session that lasted so long was a success; two machines with one identity end each other's.


class Memory(Protocol):
    """What a node remembers across restarts."""

    @property
    def epoch(self) -> tuple[int, int]:
        """The highest epoch it has seen; (0, 0) at first."""
        ...

    @property
    def managers(self) -> tuple[ManagerAddress, ...]:
        """The managers it knows, the last leader first."""
        ...

    async def remember_epoch(self, epoch: tuple[int, int]) -> None:
        """Keep a higher epoch; durable on return."""
        ...

    async def remember_managers(self, managers: tuple[ManagerAddress, ...]) -> None:
        """Keep another list of managers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What the node says of itself, and what else it has to do with what managers say."""

    description: Callable[[], NodeDescription]
    addr: str = ""  # IP address it advertises; "" = the one it connects from.
    manager_ok: Callable[[], bool | None] = lambda: None
    announced: Callable[[Announcement], None] = lambda _: None


class Connection:
    """Looks for the leader and talks with it."""

    def __init__(self, worker: Worker, *, dial: Dial, memory: Memory, node: Node, random: Random | None = None) -> None:
        """dial: what calls a method of a manager at host:port, as `vault.rpc.client.Client.call` does."""
        self._worker = worker
        self._dial = dial
        self._memory = memory
        self._node = node
        random = random or Random()  # noqa: S311  It spreads load; nobody gains by guessing it.
        self._candidates = Candidates(memory.managers, random)
        self._backoff = Backoff(random.random)
        self._random = random
        self._epoch = memory.epoch
        self._session: Session | None = None
        self._stale = False  # Whether the description has changed since the last Hello.
        self._knock = asyncio.Event()

    @property
    def leader(self) -> str:
        """host:port of the manager it is connected with; "" while there is none."""
        return self._session.address if self._session is not None else ""

    @property
    def managers(self) -> tuple[ManagerAddress, ...]:
        """The managers it knows."""
        return self._candidates.managers

    def beat(self) -> None:
        """Send a heartbeat now: whether the manager here works has changed."""
        if self._session is not None:
            self._session.beat()

    def described(self) -> None:
        """Tell the managers that the node's description has changed; also when a session is just about to begin."""
        self._stale = True
        if self._session is not None:
            self._session.described()

    def know(self, managers: tuple[ManagerAddress, ...], *, leader: str = "") -> None:
        """Learn of managers from elsewhere, and try again at once when there is no connection."""
        self._candidates.know(managers, leader=leader)
        self._knock.set()

    async def run(self) -> None:
        """Stay connected until cancelled.

        Raises `NodeRemoved` once the leader has said so, after every task of this node has ended and its values are
        forgotten.
        """
        self._worker.begin(self._epoch)
        await self._worker.ready()
        while True:
            electing = await self._round()
            self._knock.clear()
            try:
                async with asyncio.timeout(self._backoff.pause_s(electing=electing)):
                    await self._knock.wait()
            except TimeoutError:
                continue

    async def _round(self) -> bool:
        """Try managers until one had a session with this node; return whether none was known to lead."""
        waiting = self._candidates.round()
        tried: set[str] = set()
        electing = False
        while waiting:
            address = waiting.pop(0)
            if address in tried:
                continue
            tried.add(address)
            try:
                if await self._visit(address):
                    return False
            except NotLeader as error:
                self._candidates.answered(address)
                electing = electing or not error.address
                if error.address:
                    waiting.insert(0, error.address)
        return electing

    async def _visit(self, address: str) -> bool:
        """Have a session with one manager; return whether there was one.  Raises `NotLeader` or `NodeRemoved`."""
        now = asyncio.get_running_loop().time
        begun_s: float | None = None
        try:
            async with self._open(address) as (call, welcome):
                begun_s = now()
                await self._stay(call, welcome, address)
        except NotLeader as error:
            if begun_s is None:
                raise
            self._candidates.hint(error.address)
        except (TimeoutError, ManagerSilent):
            self._candidates.unanswered(address)
            logger.warning("manager_silent", extra={"address": address})
        except Replayed:
            logger.warning("manager_of_the_past", extra={"address": address})
        except RemoteRefusal as error:
            if error.kind == NodeRemoved.__name__:
                logger.warning("node_removed", extra={"address": address})
                await self._worker.release()
                raise NodeRemoved from None
            logger.warning("session_refused", extra={"address": address, "reason": error.message})
        except VaultError as error:
            logger.info("session_ended", extra={"address": address, "reason": error.message})
        if begun_s is not None and now() - begun_s > STABLE_S:
            self._backoff.reset()
        return begun_s is not None

    @asynccontextmanager
    async def _open(self, address: str) -> AsyncIterator[tuple[Call, Welcome]]:
        """Connect and exchange greetings.  Raises `TimeoutError`, `Replayed` or what the manager answers."""
        dialled: AbstractAsyncContextManager[Call] = self._dial(address, SESSION)
        async with asyncio.timeout(ANSWER_S) as limit, dialled as call:
            generation, counter = self._epoch
            self._stale = False  # What Hello says from here on is the newest, unless `described` is called again.
            await call.send(
                Hello(
                    protocol=PROTOCOL,
                    description=self._node.description(),
                    addr=self._node.addr,
                    generation=generation,
                    counter=counter,
                )
            )
            welcome = await call.receive(Welcome)
            limit.reschedule(None)
            yield call, welcome

    async def _stay(self, call: Call, welcome: Welcome, address: str) -> None:
        epoch = (welcome.generation, welcome.counter)
        if epoch < self._epoch:
            raise Replayed
        if epoch > self._epoch:
            self._epoch = epoch
            await self._remembered(self._memory.remember_epoch(epoch))
        self._worker.begin(epoch)
        self._candidates.answered(address)
        await self._learn(welcome.managers, address)
        session = Session(
            call, address, self._worker, dial=self._dial, node=self._node, learn=self._learn, random=self._random,
            period_s=welcome.heartbeat_s,
        )  # fmt: skip
        logger.info("session_begun", extra={"address": address, "epoch": f"{epoch[0]}.{epoch[1]}"})
        self._session = session
        if self._stale:
            session.described()
        try:
            await session.run()
        finally:
            self._session = None

    async def _learn(self, managers: tuple[ManagerAddress, ...], address: str) -> None:
        known = self._candidates.know(managers, leader=address)
        if known != self._memory.managers:
            await self._remembered(self._memory.remember_managers(known))

    async def _remembered(self, writing: Awaitable[None]) -> None:
        """Write; a node whose disk is full still does its work."""
        try:
            await writing
        except OSError as error:
            logger.warning("not_remembered", extra={"reason": error.strerror})

"""Simulated nodes: each a member with a certificate of its own and a real TLS stream, none with containers.

A node says Hello and its heartbeats, takes its assignments, and reports each task as far as it is wanted: READY while
it is held there, then RUNNING, or SHUTDOWN.  The manager cannot tell it from a node that has containers.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

from bench.client import Failed
from vault.model.base import from_s
from vault.model.errors import VaultError
from vault.model.node import NodeDescription, NodeResources, Platform
from vault.model.task import ContainerStatus, State, Task, TaskStatus
from vault.rpc.call import Call
from vault.rpc.client import Client
from vault.rpc.credentials import Credentials
from vault.rpc.first_contact import fetch_root
from vault.rpc.joining import join
from vault.rpc.messages import PROTOCOL, SESSION, Assignments, FromManager, Heartbeat, Hello, Message, Report, Welcome

JOINING: Final = 16  # Nodes that join at one time.
EARLY: Final = 0.1  # As `vault.agent.session` spreads its heartbeats.
AGAIN_S: Final = 1.0
SlotKey = tuple[str, int]  # Service and slot.


@dataclass(slots=True)
class Held:
    """A task as its node knows it."""

    task: Task
    reported: State | None = None

    @property
    def wanted(self) -> bool:
        """Whether it is one of the tasks that fill a slot."""
        ended = self.reported is not None and self.reported.terminal
        return not ended and self.task.desired_state <= State.RUNNING


@dataclass
class Ledger:
    """Which slots are filled on living nodes, by how many tasks; and when each was last filled."""

    tasks_of: dict[SlotKey, set[str]] = field(default_factory=dict)
    at_s: dict[SlotKey, float] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, held: Held) -> None:
        """Take note of a task that came or changed."""
        key = (held.task.service_id, held.task.slot)
        tasks = self.tasks_of.setdefault(key, set())
        if held.wanted and held.task.id not in tasks:
            tasks.add(held.task.id)
            self.at_s[key] = time.monotonic()
        elif not held.wanted:
            tasks.discard(held.task.id)
        if held.wanted and held.reported is State.RUNNING:
            self.running.add(held.task.id)
        else:
            self.running.discard(held.task.id)
        self.changed.set()

    def forget(self, held: Held) -> None:
        """Take a task out: its node dropped it, or died."""
        self.tasks_of.get((held.task.service_id, held.task.slot), set()).discard(held.task.id)
        self.running.discard(held.task.id)
        self.changed.set()

    def filled(self) -> int:
        """Return how many slots have a task."""
        return sum(1 for tasks in self.tasks_of.values() if tasks)

    def doubled(self) -> list[SlotKey]:
        """Return the slots that have more than one."""
        return [key for key, tasks in self.tasks_of.items() if len(tasks) > 1]


class SimulatedNode:
    """One member of the swarm."""

    def __init__(self, number: int, ledger: Ledger, random: Random) -> None:
        self.hostname = f"sim-{number:04d}"
        self.node_id = ""
        self.tasks: dict[str, Held] = {}
        self._ledger = ledger
        self._random = random
        self._client: Client | None = None
        self._reports = 0
        self._sending = asyncio.Lock()
        self.welcomed = asyncio.Event()

    async def join(self, token: str, address: str) -> None:
        """Become a worker by its token, as `vault swarm join` does.  Raises what refuses it."""
        joined = await join(
            token=token,
            addresses=[address],
            fetch_root=fetch_root,
            client_for=lambda trust: Client(Credentials(trust=trust)),
            now=lambda: datetime.now(UTC),
            hostname=self.hostname,
            addr="127.0.0.1",
        )
        self.node_id = joined.identity.node_id
        credentials = Credentials(trust=joined.trust, certificate=joined.certificate, key=joined.tls_key)
        self._client = Client(credentials)

    async def run(self, address: str) -> None:
        """Keep a session until cancelled; then nothing more is said, as when its power fails."""
        assert self._client is not None, "a node joins before it runs"
        try:
            while True:
                with suppress(VaultError, TimeoutError):
                    async with self._client.call(address, SESSION) as call:
                        await self._session(call)
                await asyncio.sleep(AGAIN_S)
        finally:
            self.welcomed.clear()
            await self._client.close()

    def die(self) -> None:
        """Have no tasks any more; whoever runs the node cancels that."""
        for held in self.tasks.values():
            self._ledger.forget(held)
        self.tasks = {}

    async def _session(self, call: Call) -> None:
        resources = NodeResources(nano_cpus=8 * 10**9, memory_bytes=32 << 30)
        platform = Platform(os="linux", architecture="x86_64")
        description = NodeDescription(hostname=self.hostname, platform=platform, resources=resources)
        await call.send(Hello(protocol=PROTOCOL, description=description, addr="127.0.0.1"))
        welcome = await call.receive(Welcome)
        self.welcomed.set()
        beating = asyncio.create_task(self._beat(call, welcome.heartbeat_s))
        try:
            seen: set[str] = set()
            while True:
                message: Message = await call.receive(FromManager)
                if isinstance(message, Assignments):
                    await self._take(call, message, seen)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, call: Call, period_s: float) -> None:
        while True:
            await asyncio.sleep(period_s * (1 - self._random.random() * EARLY))
            await self._send(call, Heartbeat(period_s=period_s))

    async def _take(self, call: Call, message: Assignments, seen: set[str]) -> None:
        """Do what a message says, and report it."""
        seen.update(task.id for task in message.put_tasks)
        gone = list(message.remove_tasks)
        if message.full and message.complete:
            gone += [task_id for task_id in self.tasks if task_id not in seen]
        for task_id in gone:
            if (held := self.tasks.pop(task_id, None)) is not None:
                self._ledger.forget(held)
        statuses = []
        for task in message.put_tasks:
            held = self.tasks.setdefault(task.id, Held(task))
            held.task = task
            if (status := self._step(held)) is not None:
                statuses.append((task.id, status))
            self._ledger.note(held)
        if statuses:
            self._reports += 1
            now = from_s(time.time())
            await self._send(call, Report(number=self._reports, sent_at=now, statuses=tuple(statuses)))

    def _step(self, held: Held) -> TaskStatus | None:
        """Bring a task where it is wanted; return what there is to report."""
        desired = held.task.desired_state
        state = State.SHUTDOWN if desired > State.RUNNING and desired is not State.COMPLETE else desired
        if held.reported is state or held.task.state.terminal or (held.reported and held.reported.terminal):
            return None
        held.reported = state
        container = ContainerStatus(container_id=hashlib.sha256(held.task.id.encode()).hexdigest(), pid=2)
        return TaskStatus(timestamp=from_s(time.time()), state=state, message=state.value, container_status=container)

    async def _send(self, call: Call, message: Message) -> None:
        async with self._sending:
            await call.send(message)


async def all_joined(nodes: Iterable[SimulatedNode], token: str, address: str) -> None:
    """Let every node join, a few at a time.  Raises `Failed`."""
    turns = asyncio.Semaphore(JOINING)

    async def one(node: SimulatedNode) -> None:
        async with turns:
            try:
                await node.join(token, address)
            except VaultError as error:
                raise Failed(f"{node.hostname} cannot join: {error.message}") from error

    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(one(node))

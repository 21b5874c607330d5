"""An executor, images and networks that live in memory, driven by the test."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vault.agent.executors.port import Adopted, ContainerNotRunning, Exit, NetworkView, Probed
from vault.agent.health import KeptHealth
from vault.agent.images.credentials import Ask, Credentials, nobody
from vault.agent.machine import Machine
from vault.agent.values import Values
from vault.agent.worker import Worker
from vault.crypto import Plaintext
from vault.model.container import HealthConfig
from vault.model.errors import NoSuch
from vault.model.overlay import OverlayChange
from vault.model.service import PortConfig
from vault.model.task import ContainerStatus, State, Task, TaskStatus
from vault.network.node import TaskNetwork
from vault.network.overlay.state import OverlayState
from vault.rpc.messages import Assignments

NODE = {"id": "n1", "hostname": "host", "os": "linux", "architecture": "x86_64"}


@dataclass
class FakeConfig:
    """What an image says of its containers: of their health, and nothing else."""

    healthcheck: HealthConfig | None = None
    shell: tuple[str, ...] = ()


@dataclass
class FakeImage:
    """An image without layers."""

    config: FakeConfig = field(default_factory=FakeConfig)


@dataclass
class FakeExecutor:
    """Containers are entries of a dict; `end` makes one exit."""

    running: dict[str, asyncio.Future[Exit]] = field(default_factory=dict)
    prepared: dict[str, tuple[Mapping[str, Plaintext], Mapping[str, Plaintext], NetworkView]] = field(
        default_factory=dict
    )
    mounted: dict[str, dict[str, object]] = field(default_factory=dict)
    found: tuple[Adopted, ...] = ()
    calls: list[str] = field(default_factory=list)
    known: set[str] | None = None
    refuse: Exception | None = None
    preparing: asyncio.Event = field(default_factory=asyncio.Event)
    takes_s: float = 0.0  # To stop.
    probed: Callable[[str], Awaitable[Probed]] | None = None  # Answers probes, by task.
    kept: dict[str, KeptHealth] = field(default_factory=dict)

    async def probe(self, task_id: str, command: Sequence[str], *, timeout_s: float) -> Probed:
        if self.running[task_id].done():
            raise ContainerNotRunning(task_id)
        self.calls.append(f"probe {task_id}: {' '.join(command)}")
        assert self.probed is not None
        return await self.probed(task_id)

    async def keep_health(self, task_id: str, kept: KeptHealth) -> None:
        self.kept[task_id] = kept

    async def prepare(self, task, *, image, secrets, configs, network, mounted):  # type: ignore[no-untyped-def]
        self.calls.append(f"prepare {task.id}")
        self.preparing.set()
        if self.refuse:
            raise self.refuse
        self.prepared[task.id] = (secrets, configs, network)
        self.mounted[task.id] = dict(mounted)
        return ContainerStatus(container_id="c" * 64)

    async def log_details(self, task_id: str) -> Mapping[str, str]:
        return {"tag": task_id}

    async def start(self, task_id: str) -> ContainerStatus:
        self.calls.append(f"start {task_id}")
        self.running[task_id] = asyncio.get_running_loop().create_future()
        return ContainerStatus(container_id="c" * 64, pid=7)

    async def wait(self, task_id: str) -> Exit:
        if task_id not in self.running:
            raise NoSuch("container", task_id)
        return await asyncio.shield(self.running[task_id])

    async def stop(self, task_id: str, *, grace_s: float | None = None, signal: str = "") -> None:
        self.calls.append(f"stop {task_id}")
        await asyncio.sleep(self.takes_s)
        self.end(task_id, 143)

    async def remove(self, task_id: str) -> None:
        self.calls.append(f"remove {task_id}")
        self.prepared.pop(task_id, None)
        self.running.pop(task_id, None)

    async def adopt(self) -> tuple[Adopted, ...]:
        return self.found

    async def reap(self, known: Collection[str]) -> tuple[str, ...]:
        self.known = set(known)
        return ()

    def end(self, task_id: str, code: int) -> None:
        if not self.running[task_id].done():
            self.running[task_id].set_result(Exit(code=code, finished_at=datetime.now(UTC)))


@dataclass
class FakeImages:
    """Has every image but those called missing; `slow` blocks until set.  Asks for credentials before and after."""

    shown: list[Credentials | None] = field(default_factory=list)
    slow: asyncio.Event | None = None
    config: FakeConfig = field(default_factory=FakeConfig)

    def find(self, reference: str) -> FakeImage | None:
        return None if reference == "missing" else FakeImage(self.config)

    async def ensure(self, reference: str, *, ask: Ask = nobody) -> FakeImage:
        self.shown.append(ask())
        if self.slow:
            await self.slow.wait()
        self.shown.append(ask())
        if reference == "missing":
            raise NoSuch("image", "missing:latest")
        return FakeImage(self.config)


@dataclass
class FakeNetworks:
    """Remembers what was made."""

    made: dict[str, tuple[PortConfig, ...]] = field(default_factory=dict)
    applied: list[OverlayChange] = field(default_factory=list)
    told: OverlayState = field(default_factory=OverlayState)  # What came of it.
    slow: asyncio.Event | None = None  # `apply` waits for it.
    meanwhile: asyncio.Event | None = None  # `create` waits for it.
    refuse: Exception | None = None

    async def apply(self, change: OverlayChange) -> None:
        self.applied.append(change)
        if self.slow is not None:
            await self.slow.wait()
        self.told = self.told.applied(change)

    def planned(self, task: Task) -> TaskNetwork | None:
        addresses = tuple(a.partition("/")[0] for one in task.networks_attachments for a in one.addresses)
        if not addresses and not task.host_ports:
            return None
        return TaskNetwork(
            namespace=Path("/run/netns") / task.id,
            addresses=addresses,
            resolver=bool(addresses),
            gateway="172.20.0.1" if task.id in self.made else "",
        )

    async def create(self, task: Task) -> TaskNetwork | None:
        if self.meanwhile is not None:
            await self.meanwhile.wait()
        if self.refuse:
            raise self.refuse
        if (planned := self.planned(task)) is not None:
            self.made[task.id] = task.host_ports
        return planned

    def published(self, task_id: str) -> tuple[PortConfig, ...]:
        return self.made.get(task_id, ())

    async def remove(self, task_id: str) -> None:
        self.made.pop(task_id, None)

    async def reap(self, known: Collection[str]) -> None:
        self.made = {task_id: ports for task_id, ports in self.made.items() if task_id in known}


class World:
    """A worker with fakes around it, and what it reported."""

    def __init__(self) -> None:
        self.executor, self.images, self.networks = FakeExecutor(), FakeImages(), FakeNetworks()
        values = Values(lambda sealed, message: Plaintext(sealed.payload))
        self.worker = Worker(
            Machine(
                executor=self.executor,  # type: ignore[arg-type]
                images=self.images,  # type: ignore[arg-type]
                networks=self.networks,
                values=values,
                node=NODE,
            )
        )
        self.seen: dict[str, list[TaskStatus]] = {}
        self._sequence = 0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> "World":
        self._jobs = [asyncio.create_task(self.worker.run()), asyncio.create_task(self._collect())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    async def _collect(self) -> None:
        async for report in self.worker.reports():
            for task_id, status in report.statuses:
                self.seen.setdefault(task_id, []).append(status)
            self.worker.acknowledge(report.number)
            self._changed.set()

    async def assign(self, *tasks: Task, full: bool = False, **fields: object) -> None:
        first = self._sequence == 0 or full
        self._sequence = 1 if first else self._sequence + 1
        await self.worker.assign(
            Assignments(
                full=first,
                generation=1,
                counter=1,
                applies_to=self._sequence - 1,
                sequence=self._sequence,
                put_tasks=tasks,
                **fields,  # type: ignore[arg-type]
            )
        )

    async def until(self, task_id: str, state: State) -> TaskStatus:
        """Return the status once the task was reported in `state`."""
        async with asyncio.timeout(5):
            while True:
                for status in self.seen.get(task_id, []):
                    if status.state is state:
                        return status
                self._changed.clear()
                await self._changed.wait()

    async def called(self, call: str) -> None:
        """Return once the executor was asked for `call`."""
        async with asyncio.timeout(5):
            while call not in self.executor.calls:
                await asyncio.sleep(0)

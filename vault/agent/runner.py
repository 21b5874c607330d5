"""One task on this node: does what `vault.agent.step` says, one action at a time, and reports what it sees.

Not pure.  Called by `vault.agent.worker`, one runner a task.  An error ends the task, never the agent.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from vault.agent.executors.port import (
    HOST_NETWORK,
    LOOPBACK_ONLY,
    RESOLVER,
    Executor,
    Exit,
    HostEntry,
    Image,
    NetworkView,
    Phase,
)
from vault.agent.expand import expanded
from vault.agent.step import Action, Local, ending, next_action
from vault.agent.template import TemplateFailed
from vault.agent.values import Values
from vault.model.errors import VaultError
from vault.model.ids import TaskID
from vault.model.node import EncryptionMeans
from vault.model.overlay import OverlayChange
from vault.model.service import PortConfig
from vault.model.task import ContainerStatus, PortStatus, State, Task, TaskStatus
from vault.network.node import TaskNetwork

logger = logging.getLogger(__name__)


class Images(Protocol):
    """Where images come from."""

    def find(self, reference: str) -> Image | None:
        """Return the local image, or None."""
        ...

    async def ensure(self, reference: str) -> Image:
        """Return the local image, or pull it; raises a `VaultError`."""
        ...


class Networks(Protocol):
    """The networks of the node."""

    async def create(self, task: Task) -> TaskNetwork | None:
        """Make the task's namespace with its links and published ports; None when it has none of either."""
        ...

    def published(self, task_id: str) -> tuple[PortConfig, ...]:
        """Return the ports that are open for a task, with the numbers that were chosen."""
        ...

    async def apply(self, change: OverlayChange) -> None:
        """Follow what the managers tell of overlay networks; tasks told with it start once this returns.

        One call at a time, each to its end.  What the kernel refuses is tried again from here: nothing is raised.
        """
        ...

    async def remove(self, task_id: str) -> None:
        """Remove a task's namespace, links and ports; nothing to do is no error."""
        ...

    async def reap(self, known: Collection[str]) -> None:
        """Remove what belongs to no known task."""
        ...


class Encryption(Protocol):
    """Encryption of overlay networks."""

    @property
    def means(self) -> EncryptionMeans | None:
        """What this node says of it; None when it cannot encrypt."""
        ...

    def follow(self, changed: Callable[[], None]) -> None:
        """Call something whenever `means` is another than before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a runner works with."""

    executor: Executor
    images: Images
    networks: Networks
    values: Values
    encryption: Encryption | None = None
    node: Mapping[str, str]  # id, hostname, os, architecture: for templates.


class Runner:
    """Carries one task along its steps."""

    def __init__(self, machine: Machine, local: Local, report: Callable[[str, TaskStatus], None]) -> None:
        self.local = local
        self.container = local.task.status.container_status or ContainerStatus()
        self.started_at: datetime | None = None
        self.image: Image | None = None  # What it was prepared from.
        self.mounted: dict[str, Image] = {}  # The images that it mounts, by what its spec calls them.
        self._machine = machine
        self._report = report
        self._changed = asyncio.Event()

    @property
    def task_id(self) -> TaskID:
        """The id of the task."""
        return TaskID(self.local.task.id)

    @property
    def published_ports(self) -> tuple[PortConfig, ...]:
        """The host's ports that lead to the task, with their real numbers."""
        return self._machine.networks.published(self.task_id)

    def tell(self, task: Task) -> None:
        """Take note of what is wanted now."""
        self.local = replace(self.local, task=task, dropped=False)
        self._changed.set()

    def find_images(self) -> None:
        """Look up what an earlier vaultd prepared it from."""
        images = self._machine.images
        self.image = images.find(self.local.task.spec.container_spec.image)
        with contextlib.suppress(TemplateFailed):  # Then it was never prepared.
            names = _mounted_images(expanded(self.local.task, self._machine.node))
            self.mounted = {name: image for name in names if (image := images.find(name)) is not None}

    def resume(self) -> None:
        """Take note, and say, that its container runs."""
        self._observe(State.RUNNING, "started")

    def drop(self) -> None:
        """Take note that the managers have dropped the task."""
        self.local = replace(self.local, dropped=True)
        self._changed.set()

    async def run(self) -> None:
        """Act until the task is forgotten."""
        while (action := next_action(self.local)) is not Action.FORGET:
            self._changed.clear()
            match action:
                case Action.HOLD:
                    await self._changed.wait()
                case Action.PREPARE:
                    await self._guard(self._prepare(), State.REJECTED)
                case Action.START:
                    await self._guard(self._start(), State.FAILED)
                case Action.WATCH:
                    await self._watch()
                case Action.STOP:
                    await self._stop()
                case Action.DISCARD:
                    await self._remove()
                    self._observe(State.SHUTDOWN, "shutdown")
                case Action.END:
                    await self._end()
        await self._remove()

    async def _prepare(self) -> None:
        task, machine = self.local.task, self._machine
        self._observe(State.ACCEPTED, "accepted")
        self._observe(State.PREPARING, "preparing")
        self.image = image = await machine.images.ensure(task.spec.container_spec.image)
        filled = expanded(task, machine.node)
        for name in _mounted_images(filled):
            self.mounted[name] = await machine.images.ensure(name)
        secrets, configs = machine.values.for_task(task, machine.node)
        network = await self._network(task)
        self.container = await machine.executor.prepare(
            filled, image=image, secrets=secrets, configs=configs, network=network, mounted=self.mounted
        )
        self.local = replace(self.local, phase=Phase.PREPARED)
        self._observe(State.READY, "prepared")

    async def _network(self, task: Task) -> NetworkView:
        if any(attachment.network.driver == "host" for attachment in task.networks_attachments):
            return HOST_NETWORK
        made = await self._machine.networks.create(task)
        if made is None:
            return LOOPBACK_ONLY
        return NetworkView(
            namespace=made.namespace,
            hosts=tuple(HostEntry(address=address) for address in made.addresses),
            nameservers=(RESOLVER,) if made.resolver else (),
            options=("ndots:0",) if made.resolver else (),
        )

    async def _start(self) -> None:
        self._observe(State.STARTING, "starting")
        self.container = await self._machine.executor.start(self.task_id)
        self.started_at = datetime.now(UTC)
        self.local = replace(self.local, phase=Phase.RUNNING)
        self._observe(State.RUNNING, "started")

    async def _watch(self) -> None:
        ended = asyncio.ensure_future(self._machine.executor.wait(self.task_id))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({ended, changed}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                self._ended(ended.result())
        finally:
            ended.cancel()
            changed.cancel()

    async def _stop(self) -> None:
        await self._machine.executor.stop(self.task_id)
        self._ended(await self._machine.executor.wait(self.task_id))

    def _ended(self, exit_: Exit) -> None:
        self.local = replace(self.local, phase=Phase.EXITED, exit=exit_)

    async def _end(self) -> None:
        await self._machine.networks.remove(self.task_id)
        if self.local.phase is not Phase.EXITED:
            await self._machine.executor.remove(self.task_id)
            self.local = replace(self.local, phase=None)
        end = ending(self.local)
        self.container = ContainerStatus(container_id=self.container.container_id, exit_code=end.exit_code)
        self._observe(end.state, end.message, end.err)

    async def _remove(self) -> None:
        await self._machine.networks.remove(self.task_id)
        await self._machine.executor.remove(self.task_id)
        self.local = replace(self.local, phase=None, exit=None)

    async def _guard(self, work: Coroutine[Any, Any, None], on_error: State) -> None:
        """Run `work`; end the task when it fails, break it off when the task is no longer wanted."""
        job = asyncio.ensure_future(work)
        try:
            while not job.done() and self.local.wanted:
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({job, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                self._changed.clear()
        finally:
            job.cancel()
        try:
            await job
        except asyncio.CancelledError:
            if (current := asyncio.current_task()) is not None and current.cancelling():
                raise
        except VaultError as error:
            await self._failed(on_error, error.message)
        except Exception as error:  # The task ends here; the agent and its other tasks go on.
            logger.exception("task_step_failed", extra={"task_id": self.task_id})
            await self._failed(on_error, f"internal error ({type(error).__name__}): see the log of vaultd on this node")

    async def _failed(self, state: State, err: str) -> None:
        await self._remove()
        self._observe(state, "preparing" if state is State.REJECTED else "starting", err)

    def _observe(self, state: State, message: str, err: str = "") -> None:
        self.local = replace(self.local, state=max(state, self.local.state))
        running = state in (State.STARTING, State.RUNNING)
        status = TaskStatus(
            timestamp=datetime.now(UTC),
            state=self.local.state,
            message=message,
            err=err,
            container_status=self.container if self.container.container_id else None,
            port_status=PortStatus(ports=self.published_ports) if running else PortStatus(),
        )
        self._report(self.local.task.id, status)


def _mounted_images(task: Task) -> list[str]:
    """Return the images that a task mounts, once each, in the order of its mounts."""
    return list(dict.fromkeys(mount.source for mount in task.spec.container_spec.mounts if mount.type == "image"))

"""One task on this node: does what `vault.agent.step` says, one action at a time, and reports what it sees.

Not pure.  Called by `vault.agent.worker`, one runner a task.  An error ends the task, never the agent.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from vault.agent.executors.port import (
    HOST_NETWORK,
    LOOPBACK_ONLY,
    RESOLVER,
    Adopted,
    Exit,
    HostEntry,
    Image,
    NetworkView,
    Phase,
)
from vault.agent.happenings import Happening
from vault.agent.health import Health, HealthStatus, KeptHealth, check_of
from vault.agent.images.credentials import Credentials, credentials_for
from vault.agent.machine import Machine
from vault.agent.probing import Monitor, part_of
from vault.agent.step import UNHEALTHY, Action, Local, adopted, ending, next_action
from vault.model.container import HOST_GATEWAY
from vault.model.errors import VaultError
from vault.model.ids import TaskID
from vault.model.service import PortConfig
from vault.model.task import ContainerStatus, PortStatus, State, Task, TaskStatus
from vault.store.expand import expanded
from vault.store.template import TemplateFailed

logger = logging.getLogger(__name__)


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
        self._kept: KeptHealth | None = None  # Of a container that is prepared.
        self._monitor: Monitor | None = None  # Of one that runs.

    @property
    def task_id(self) -> TaskID:
        """The id of the task."""
        return TaskID(self.local.task.id)

    @property
    def published_ports(self) -> tuple[PortConfig, ...]:
        """The host's ports that lead to the task, with their real numbers."""
        return self._machine.networks.published(self.task_id)

    @property
    def health(self) -> Health | None:
        """How its container stands, by which results of probes; None when it has no health check, or does not run."""
        return self._monitor.health if self._monitor is not None else None

    def adopt(self, found: Adopted) -> None:
        """Take over what an earlier vaultd left."""
        self.container, self.started_at = found.container, found.started_at
        self._find_images()
        kept = found.health
        if kept is None and found.phase is Phase.RUNNING and self.image is not None:
            kept = self._unprobed(self.image)
        self.local = adopted(self.local, found.phase, found.exit, kept.status if kept is not None else None)
        if kept is not None and found.phase is Phase.RUNNING:
            age = datetime.now(UTC) - found.started_at if found.started_at is not None else timedelta()
            self._monitor_from(kept, age_s=age.total_seconds(), first_part=part_of(self.task_id))

    def tell(self, task: Task) -> None:
        """Take note of what is wanted now."""
        self.local = replace(self.local, task=task, dropped=False)
        self._changed.set()

    def _find_images(self) -> None:
        """Look up what an earlier vaultd prepared it from."""
        images = self._machine.images
        self.image = images.find(self.local.task.spec.container_spec.image)
        with contextlib.suppress(TemplateFailed):  # Then it was never prepared.
            names = _mounted_images(expanded(self.local.task, self._machine.node))
            self.mounted = {name: image for name in names if (image := images.find(name)) is not None}

    def drop(self) -> None:
        """Take note that the managers have dropped the task."""
        self.local = replace(self.local, dropped=True)
        self._changed.set()

    async def run(self) -> None:
        """Act until the task is forgotten."""
        try:
            await self._act()
        finally:
            await self._end_probing()

    async def _act(self) -> None:
        while (action := next_action(self.local)) is not Action.FORGET:
            self._changed.clear()
            match action:
                case Action.HOLD:
                    await self._changed.wait()
                case Action.PREPARE:
                    await self._guard(self._prepare(), State.REJECTED)
                case Action.START:
                    await self._guard(self._start(), State.FAILED)
                case Action.SERVE:
                    self._observe(State.RUNNING, "started")
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
        self.image = image = await self._pull(task.spec.container_spec.image)
        filled = expanded(task, machine.node)
        for name in _mounted_images(filled):
            self.mounted[name] = await self._pull(name)
        secrets, configs = machine.values.for_task(task, machine.node)
        linking = [self._link(task)]
        if any(entry.startswith(HOST_GATEWAY) for entry in task.spec.container_spec.hosts):
            await linking.pop()  # That address alone is not known before.
        # At once: each takes some 10 ms, and it is known before what the network will be.
        *linked, prepared = await asyncio.gather(
            *linking,
            machine.executor.prepare(
                filled,
                image=image,
                secrets=secrets,
                configs=configs,
                network=self._network(task),
                mounted=self.mounted,
            ),
            return_exceptions=True,
        )
        for result in (*linked, prepared):
            if isinstance(result, BaseException):
                raise result
        assert isinstance(prepared, ContainerStatus)
        self.container = prepared
        self._kept = kept = self._unprobed(image)
        if kept is not None:
            await machine.executor.keep_health(self.task_id, kept)
        self.local = replace(self.local, phase=Phase.PREPARED, health=kept.status if kept is not None else None)
        self._observe(State.READY, "prepared")

    async def _pull(self, name: str) -> Image:
        task, values = self.local.task, self._machine.values

        def ask() -> Credentials | None:
            return credentials_for(values.registry_auth(task), name, of=task.spec.container_spec.image)

        return await self._machine.images.ensure(name, ask=ask)

    async def _link(self, task: Task) -> None:
        if not _is_on_host(task):
            await self._machine.networks.create(task)

    def _network(self, task: Task) -> NetworkView:
        """Return the network as the container will see it, which need not be there yet."""
        if _is_on_host(task):
            return HOST_NETWORK
        planned = self._machine.networks.planned(task)
        if planned is None:
            return LOOPBACK_ONLY
        return NetworkView(
            namespace=planned.namespace,
            hosts=tuple(HostEntry(address=address) for address in planned.addresses),
            gateway=planned.gateway,
            nameservers=(RESOLVER,) if planned.resolver else (),
            options=("ndots:0",) if planned.resolver else (),
        )

    async def _start(self) -> None:
        self._observe(State.STARTING, "starting")
        self.container = await self._machine.executor.start(self.task_id)
        self.started_at = datetime.now(UTC)
        self.local = replace(self.local, phase=Phase.RUNNING)
        self._tell("start")
        if self._kept is not None:
            self._monitor_from(self._kept, age_s=0.0)

    async def _watch(self) -> None:
        ended = asyncio.ensure_future(self._machine.executor.wait(self.task_id))
        changed = asyncio.ensure_future(self._changed.wait())
        probing = self._monitor.begin() if self._monitor is not None else None
        try:
            await asyncio.wait({ended, changed, *([probing] if probing else ())}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                self._ended(ended.result())
            elif probing is not None and probing.done():
                probing.result()  # Raises what must not have happened: the runner begins again, and the probes with it.
        finally:
            ended.cancel()
            changed.cancel()

    # Health.

    def _unprobed(self, image: Image) -> KeptHealth | None:
        """Return the health of a fresh container; None when it has no check."""
        check = check_of(self.local.task.spec.container_spec.healthcheck, image.config.healthcheck, image.config.shell)
        return None if check is None else KeptHealth(check=check, status=HealthStatus.STARTING, failing_streak=0)

    def _monitor_from(self, kept: KeptHealth, *, age_s: float, first_part: float = 1.0) -> None:
        executor, task_id = self._machine.executor, self.task_id
        self._monitor = Monitor(
            kept,
            age_s=age_s,
            first_part=first_part,
            probe=lambda check: executor.probe(task_id, check.command, timeout_s=check.timeout_s),
            changed=self._health_changed,
        )

    async def _end_probing(self) -> None:
        if self._monitor is not None:
            await self._monitor.end()

    async def _health_changed(self, kept: KeptHealth) -> None:
        await self._machine.executor.keep_health(self.task_id, kept)  # Before anybody hears of it.
        if kept.status is not self.local.health:
            self.local = replace(self.local, health=kept.status)
            self._changed.set()
            self._tell(f"health_status: {kept.status.value}")

    # The end.

    async def _stop(self) -> None:
        await self._end_probing()
        if self.local.unhealthy and self.local.wanted:
            self._observe(self.local.state, "started", UNHEALTHY)  # It serves nobody any more, however long it takes.
        await self._machine.executor.stop(self.task_id)
        self._ended(await self._machine.executor.wait(self.task_id))

    def _ended(self, exit_: Exit) -> None:
        self.local = replace(self.local, phase=Phase.EXITED, exit=exit_)
        self._tell("die", exitCode=str(exit_.code))

    async def _end(self) -> None:
        await self._end_probing()
        await self._machine.networks.remove(self.task_id)
        if self.local.phase is not Phase.EXITED:
            await self._machine.executor.remove(self.task_id)
            self.local = replace(self.local, phase=None)
        end = ending(self.local)
        self.container = ContainerStatus(container_id=self.container.container_id, exit_code=end.exit_code)
        self._observe(end.state, end.message, end.err)

    async def _remove(self) -> None:
        await self._end_probing()
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

    def _tell(self, action: str, **details: str) -> None:
        container_id, now = self.container.container_id, datetime.now(UTC)
        self._machine.happenings.tell(
            Happening(
                action=action,
                at=now,
                task=self.local.task,
                image=self.image,
                container_id=container_id,
                details=details,
            )
        )

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
            unhealthy=self.local.unhealthy,
        )
        self._report(self.local.task.id, status)


def _is_on_host(task: Task) -> bool:
    """Whether a task has the node's own network."""
    return any(attachment.network.driver == "host" for attachment in task.networks_attachments)


def _mounted_images(task: Task) -> list[str]:
    """Return the images that a task mounts, once each, in the order of its mounts."""
    return list(dict.fromkeys(mount.source for mount in task.spec.container_spec.mounts if mount.type == "image"))

"""The `oci` executor: runs the blocking work in threads, watches conmon, and gives each task its turns.

Not pure.  Makes the agent's steps from PREPARING to the end of a task real; called by `vault.agent.runner` and, for
exec and logs, by `vault.api`.
"""

import asyncio
import logging
import os
import weakref
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vault.agent.executors.oci import adoption, cgroup, execs, healthfile, removal
from vault.agent.executors.oci.conmon import Conmon, send_signal
from vault.agent.executors.oci.launching import Started, launch
from vault.agent.executors.oci.logkeeping import Logs
from vault.agent.executors.oci.paths import Roots, TaskPaths
from vault.agent.executors.oci.prepare import Wanted, Workshop, host_limits, own_capabilities, prepare
from vault.agent.executors.oci.probes import FAILED, Probes
from vault.agent.executors.oci.record import Record, open_process, read_record
from vault.agent.executors.oci.runtime import Runtime, RuntimeFailed
from vault.agent.executors.oci.seccomp import FilterNotLoaded, Profile, kernel_version
from vault.agent.executors.oci.session import Session
from vault.agent.executors.oci.streams import until_exit
from vault.agent.executors.oci.threads import Threads, Turns
from vault.agent.executors.port import (
    LOOPBACK_ONLY,
    NOTHING_MOUNTED,
    Adopted,
    ContainerNotRunning,
    ExecSession,
    ExecSpec,
    Exit,
    Image,
    NetworkView,
    NoSuchContainer,
    Probed,
    ProcessInfo,
    TaskRejected,
    TaskStartFailed,
    Usage,
)
from vault.agent.health import KeptHealth
from vault.agent.logs import LogLine, LogQuery
from vault.agent.volumes import VolumeStore
from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.model.ids import ConfigID, SecretID, TaskID
from vault.model.kernel_words import signal_number
from vault.model.task import ContainerStatus, Task
from vault.tmpfs.kernel import KernelMemoryFiles
from vault.tmpfs.port import MemoryFiles

logger = logging.getLogger(__name__)
PARALLEL: Final = 4
KILL_TIMEOUT_S: Final = 10.0
KILLED: Final = 137
END_SEEN_S: Final = 0.5  # After a container's processes are killed, at the latest.


@dataclass(slots=True, kw_only=True)
class _Live:
    """A container that was started and whose end is awaited or known."""

    record: Record
    ended: asyncio.Future[Exit]
    cleaned: asyncio.Future[None]
    watch: asyncio.Task[None] | None = None


class OciExecutor:
    """`Executor` by crun under conmon.  Made by `open`, in the event loop it is used in."""

    def __init__(self, roots: Roots, runtime: Runtime, conmon: Conmon, shop: Workshop, *, parallel: int) -> None:
        self._roots = roots
        self._runtime = runtime
        self._conmon = conmon
        self._shop = shop
        self._threads = Threads(parallel)  # For what may take long: preparing, starting, removing.
        self._quick = Threads(parallel)  # For the rest, so that an end is seen while an image's files are copied.
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._probes = Probes(runtime, self._quick)
        self._turns = Turns()
        self._live: dict[TaskID, _Live] = {}
        self._logs = Logs(roots, self._quick)

    @classmethod
    async def open(
        cls,
        *,
        data_root: Path,
        run_root: Path,
        volumes: VolumeStore | None = None,
        memory_files: MemoryFiles | None = None,
        allow_swappable: bool = False,
        seccomp_profile: Path | None = None,
        parallel: int = PARALLEL,
    ) -> "OciExecutor":
        """Find what is needed on this host.  Raises `NoRuntime` when a program is missing."""
        roots = Roots(data=data_root, run=run_root)

        def find() -> tuple[Runtime, Conmon, Workshop]:
            for directory in (roots.run_tasks, roots.data_tasks, roots.runtime):
                directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            runtime = Runtime.find(roots.runtime, hidden=roots.run_tasks)
            files = memory_files or KernelMemoryFiles(run_root / "probe", allow_swappable=allow_swappable)
            shop = Workshop(
                volumes=volumes or VolumeStore(data_root / "volumes"),
                memory_files=files,
                profile=Profile(seccomp_profile, reuse=runtime.takes_filters),
                hierarchy=runtime.hierarchy,
                limits=host_limits(),
                capabilities=own_capabilities(),
                read_only_throughout=kernel_version(os.uname().release) >= (5, 12),
            )
            adoption.claim_volumes(roots, shop.volumes)
            return runtime, Conmon.find(), shop

        runtime, conmon, shop = await asyncio.to_thread(find)
        return cls(roots, runtime, conmon, shop, parallel=parallel)

    async def prepare(
        self,
        task: Task,
        *,
        image: Image,
        secrets: Mapping[SecretID, Plaintext],
        configs: Mapping[ConfigID, Plaintext],
        network: NetworkView = LOOPBACK_ONLY,
        mounted: Mapping[str, Image] = NOTHING_MOUNTED,
    ) -> ContainerStatus:
        """Make the bundle and its mounts."""
        paths = self._roots.task(TaskID(task.id))
        wanted = Wanted(task=task, image=image, secrets=secrets, configs=configs, network=network, mounted=mounted)

        async def operation() -> ContainerStatus:
            await self._remove(paths)
            await self._threads.run(self._prepare, paths, wanted)
            return ContainerStatus(container_id=paths.container_id)

        return await self._turns.take(task.id, operation)

    def _prepare(self, paths: TaskPaths, wanted: Wanted) -> None:
        try:
            prepare(self._shop, paths, wanted)
        except BaseException as error:  # Whatever it is, mounts and values are not left.
            removal.remove_all(self._runtime, paths, self._shop.volumes)
            match error:
                case OSError():
                    raise TaskRejected(f"the task cannot be prepared: {error.strerror} ({error.filename})") from error
                case VaultError() if not isinstance(error, TaskRejected):
                    raise TaskRejected(error.message) from error
            raise

    async def start(self, task_id: TaskID) -> ContainerStatus:
        """Create and start the container."""
        paths = self._roots.task(task_id)

        async def operation() -> ContainerStatus:
            try:
                started = await self._threads.run(launch, self._runtime, self._conmon, self._shop.profile, paths)
            except RuntimeFailed as error:
                raise TaskStartFailed(f"starting container failed: {error.reason}") from error
            except FilterNotLoaded as error:
                raise TaskStartFailed(f"starting container failed: {error.message}") from error
            except OSError as error:
                raise TaskStartFailed(f"starting container failed: {error.strerror} ({error.filename})") from error
            self._watch(started)
            return _status(started.record)

        return await self._turns.take(task_id, operation)

    def _watch(self, started: Started) -> _Live:
        loop = asyncio.get_running_loop()
        live = _Live(record=started.record, ended=loop.create_future(), cleaned=loop.create_future())
        task_id = TaskID(started.record.task_id)
        self._live[task_id] = live
        live.watch = asyncio.ensure_future(self._until_ended(task_id, live, started.conmon_pidfd))
        self._logs.begin(task_id, started.record, live.ended)
        return live

    async def _until_ended(self, task_id: TaskID, live: _Live, conmon_pidfd: int | None) -> None:
        """Wait for conmon, which goes once output and exit code are written; then clean up."""
        paths = self._roots.task(task_id)
        if conmon_pidfd is not None:
            try:
                await until_exit(conmon_pidfd)
            finally:
                os.close(conmon_pidfd)
        try:
            live.ended.set_result(await self._quick.run(adoption.collect_exit, self._runtime, paths))
            await self._quick.run(adoption.settle, self._runtime, paths, live.record)
        except (OSError, VaultError):  # Tried again, and then told, when the task is removed.
            logger.exception("container_not_settled", extra={"task_id": task_id})
            if not live.ended.done():
                live.ended.set_result(Exit(code=adoption.LOST_CODE, finished_at=datetime.now(UTC), lost=True))
        finally:
            live.cleaned.set_result(None)

    async def wait(self, task_id: TaskID) -> Exit:
        """Return how the container ended."""
        return await asyncio.shield(self._require(task_id).ended)

    async def stop(self, task_id: TaskID, *, grace_s: float | None = None, signal: str = "") -> None:
        """Ask, wait, force."""
        live = self._require(task_id)
        if live.ended.done():
            return
        grace_s = live.record.stop_grace_s if grace_s is None else grace_s
        self._signal(live, signal_number(signal or live.record.stop_signal))
        await asyncio.wait({live.ended}, timeout=grace_s)
        if not live.ended.done():
            await self._force(task_id, live)

    async def kill(self, task_id: TaskID, signal: str) -> None:
        """Send one signal."""
        number = signal_number(signal or "SIGKILL")
        live = self._require(task_id)
        if live.ended.done():
            raise ContainerNotRunning(live.record.container_id)
        self._signal(live, number)

    async def _force(self, task_id: TaskID, live: _Live) -> None:
        self._signal(live, 9)
        await asyncio.wait({live.ended}, timeout=KILL_TIMEOUT_S)
        if not live.ended.done():
            raise removal.StillRunning(task_id)

    @staticmethod
    def _is_there(live: _Live) -> bool:
        pidfd = open_process(live.record.container)
        if pidfd is not None:
            os.close(pidfd)
        return pidfd is not None

    @staticmethod
    def _signal(live: _Live, number: int) -> None:
        pidfd = open_process(live.record.container)
        if pidfd is not None:
            try:
                send_signal(pidfd, number)
            finally:
                os.close(pidfd)

    async def remove(self, task_id: TaskID) -> None:
        """Remove every trace."""
        paths = self._roots.task(task_id)
        await self._turns.take(task_id, lambda: self._remove(paths))

    async def _remove(self, paths: TaskPaths) -> None:
        live = self._live.get(paths.task_id)
        if live is not None:
            if not live.ended.done():
                await self._force(paths.task_id, live)
            await asyncio.shield(live.cleaned)
            await self._logs.end(paths.task_id)
        await self._threads.run(removal.remove_all, self._runtime, paths, self._shop.volumes)
        self._live.pop(paths.task_id, None)

    async def adopt(self) -> tuple[Adopted, ...]:
        """Look at every task on disk; watch those that run."""
        found: list[Adopted] = []
        for task_id in sorted(await self._threads.run(removal.found_on_disk, self._roots)):
            paths = self._roots.task(task_id)
            inherited = await self._threads.run(adoption.inherit, self._runtime, paths, self._shop.volumes)
            if inherited is None:
                continue
            exit_ = inherited.exit
            if inherited.started is not None:
                live = self._watch(inherited.started)
                if inherited.started.conmon_pidfd is None:
                    exit_ = await asyncio.shield(live.ended)
            found.append(inherited.adopted(exit_))
        return tuple(found)

    async def reap(self, known: Collection[TaskID]) -> tuple[TaskID, ...]:
        """Remove what belongs to no known task."""
        unknown = sorted((await self._threads.run(removal.found_on_disk, self._roots)) - set(known))
        await asyncio.gather(*(self.remove(task_id) for task_id in unknown))
        await self._threads.run(removal.unmount_unknown, self._roots, known)
        return tuple(unknown)

    async def exec(self, task_id: TaskID, spec: ExecSpec) -> ExecSession:
        """Run a command in a running container."""
        live = self._require(task_id)
        if live.ended.done():
            raise ContainerNotRunning(live.record.container_id)
        begun = await self._quick.run(
            execs.begin, self._runtime, self._roots.task(task_id), spec, self._shop.capabilities
        )
        session = Session(begun)
        self._sessions.add(session)
        return session

    async def probe(self, task_id: TaskID, command: Sequence[str], *, timeout_s: float) -> Probed:
        """Run a health probe; one that went down with its container says nothing of how that was."""
        live = self._require(task_id)
        if not live.ended.done():
            probed = await self._probes.run(self._roots.task(task_id), command, timeout_s=timeout_s)
            if probed.exit_code != KILLED and (probed.exit_code != FAILED or self._is_there(live)):
                return probed
            await asyncio.wait({live.ended}, timeout=END_SEEN_S)
            if not live.ended.done():
                return probed
        raise ContainerNotRunning(live.record.container_id)

    async def keep_health(self, task_id: TaskID, kept: KeptHealth) -> None:
        """Write it beside the record."""
        await self._quick.run(healthfile.write, self._roots.task(task_id), kept)

    def logs(self, task_id: TaskID, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield what the container printed."""
        return self._logs.lines(task_id, query)

    async def log_details(self, task_id: TaskID) -> Mapping[str, str]:
        """Return what goes with each line."""
        return await self._logs.details(task_id)

    async def top(self, task_id: TaskID) -> tuple[ProcessInfo, ...]:
        """Return the container's processes."""
        live = self._require(task_id)
        if live.ended.done():
            raise ContainerNotRunning(live.record.container_id)
        return await self._quick.run(cgroup.list_processes, self._runtime.hierarchy, self._roots.task(task_id).cgroup)

    async def usage(self, task_id: TaskID) -> Usage:
        """Return what the container has used."""
        self._require(task_id)
        return await self._quick.run(cgroup.usage_of, self._runtime.hierarchy, self._roots.task(task_id).cgroup)

    async def close(self) -> None:
        """Stop watching; the containers run on."""
        await self._probes.close()
        await self._turns.idle()
        for session in list(self._sessions):
            session.close()
        for live in self._live.values():
            if live.watch is not None:
                live.watch.cancel()
        await self._logs.close()
        await asyncio.to_thread(self._threads.close)
        await asyncio.to_thread(self._quick.close)
        await asyncio.to_thread(cgroup.remove_parents, self._runtime.hierarchy, self._roots.cgroup)

    def _require(self, task_id: TaskID) -> _Live:
        live = self._live.get(task_id)
        if live is not None:
            return live
        paths = self._roots.task(task_id)
        record = read_record(paths)
        raise NoSuchContainer(task_id) if record is None else ContainerNotRunning(record.container_id)


def _status(record: Record) -> ContainerStatus:
    return ContainerStatus(
        container_id=record.container_id, pid=record.container.pid if record.container is not None else 0
    )

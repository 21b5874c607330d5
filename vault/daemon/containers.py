"""This node's containers as the API shows them, and commands run in them.  Translates only; the agent does the work."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing
from http import HTTPStatus

from vault.agent.executors import port as agent_port
from vault.agent.executors.oci.bundle import hostname_of, labels_of
from vault.agent.executors.port import Phase
from vault.agent.happenings import Happening, Happenings
from vault.agent.health import Health, merged
from vault.agent.runner import Runner
from vault.agent.worker import Worker
from vault.api import ports as api
from vault.daemon.logs import task_lines
from vault.model.errors import NoSuch, VaultError
from vault.model.log_options import DEFAULT_DRIVER, log_settings
from vault.model.network import NetworkAttachment
from vault.model.secret import Driver
from vault.model.service import Limit, PortConfig, Resources
from vault.model.task import State, Task

_STATES = {None: "created", Phase.PREPARED: "created", Phase.RUNNING: "running", Phase.EXITED: "exited"}


class LogsNotKept(VaultError):
    """A container's log driver lets nobody read; the text is Docker's."""

    status = HTTPStatus.NOT_IMPLEMENTED

    def __init__(self) -> None:
        super().__init__("configured logging driver does not support reading")


class Containers:
    """The container part of `vault.api.ports.LocalNode`."""

    def __init__(self, worker: Callable[[], Worker | None], happenings: Happenings) -> None:
        self._worker = worker  # None while this node is in no swarm.
        self._happenings = happenings

    async def containers(self) -> Sequence[api.Container]:
        """Return all containers of this node, ended ones too, newest first."""
        worker = self._worker()
        if worker is None:
            return []
        await worker.ready()  # Else those that an earlier vaultd left would be missing.
        runners = [runner for runner in worker.known.values() if runner.container.container_id]
        runners.sort(key=lambda runner: (runner.local.task.created_at, runner.local.task.id), reverse=True)
        return [container_of(runner, worker.machine.node["id"]) for runner in runners]

    async def container_events(self) -> AsyncGenerator[Sequence[api.ContainerEvent], None]:
        """Yield at once what happened to containers last, then what happens from now on, until cancelled."""
        async with aclosing(self._happenings.listen()) as happenings:
            async for some in happenings:
                yield tuple(map(event_of, some))

    async def exec(self, container_id: str, spec: api.ExecSpec) -> api.Process:
        """Start a process in a running container."""
        worker, runner = self._runner(container_id)
        session = await worker.machine.executor.exec(
            runner.task_id,
            agent_port.ExecSpec(
                args=spec.args,
                env=spec.env,
                user=spec.user,
                working_dir=spec.working_dir,
                tty=spec.tty,
                stdin=spec.stdin,
                privileged=spec.privileged,
                rows=spec.height,
                columns=spec.width,
            ),
        )
        return Exec(session)

    def container_logs(self, container_id: str, query: api.LogQuery) -> AsyncIterator[api.LogLine]:
        """Yield the log of one container.  Raises `LogsNotKept`."""
        worker, runner = self._runner(container_id)
        if not _is_readable(runner.local.task.spec.log_driver):
            raise LogsNotKept
        return task_lines(worker, runner.task_id, query)

    def _runner(self, container_id: str) -> tuple[Worker, Runner]:
        worker = self._worker()
        for runner in worker.known.values() if worker else ():
            if worker is not None and runner.container.container_id == container_id:
                return worker, runner
        raise NoSuch("container", container_id)


class Exec:
    """A running command, from the executor's shape to the API's."""

    pid = 0

    def __init__(self, session: agent_port.ExecSession) -> None:
        self._session = session

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield (1 stdout | 2 stderr, bytes) until both are closed."""
        async for channel, data in self._session.output():
            yield channel.value, data

    async def write(self, data: bytes) -> None:
        """Send input."""
        await self._session.write(data)

    async def close_stdin(self) -> None:
        """Send end of file."""
        await self._session.close_stdin()

    async def resize(self, height: int, width: int) -> None:
        """Set the size of its terminal."""
        self._session.resize(height, width)

    async def signal(self, name: str) -> None:
        """Send a signal."""
        self._session.signal(name)

    async def wait(self) -> int:
        """Return the exit code."""
        return await self._session.wait()

    async def close(self) -> None:
        """Release all."""
        self._session.close()


def event_of(one: Happening) -> api.ContainerEvent:
    """Return what happened to a task's container as the API tells it."""
    task = one.task
    return api.ContainerEvent(
        action=one.action,
        at=one.at,
        container_id=one.container_id,
        name=task.name,
        image=task.spec.container_spec.image,
        labels=_labels(task, one.image, task.node_id),
        details=one.details,
    )


def container_of(runner: Runner, node_id: str) -> api.Container:
    """Return a task's container as the API shows it."""
    local, task = runner.local, runner.local.task
    spec, resources = task.spec.container_spec, task.spec.resources or Resources()
    limits = resources.limits or Limit()
    image = runner.image
    config = image.config if image is not None else None
    entrypoint = spec.command or (tuple(config.entrypoint) if config else ())
    # Docker's rule: a new entrypoint drops the image's command.
    command = spec.args or (() if spec.command or config is None else tuple(config.cmd))
    exited = local.exit
    return api.Container(
        id=runner.container.container_id,
        name=task.name,
        image=spec.image,
        image_id=image.id if image is not None else "",
        entrypoint=entrypoint,
        command=command,
        created_at=task.created_at,
        state=_STATES[local.phase],
        labels=_labels(task, image, node_id),
        env=(*(config.env if config else ()), *spec.env),
        working_dir=spec.dir or (config.working_dir if config else ""),
        user=spec.user or (config.user if config else ""),
        hostname=hostname_of(spec, runner.container.container_id),
        tty=spec.tty,
        open_stdin=spec.open_stdin,
        stop_signal=spec.stop_signal or (config.stop_signal if config else ""),
        pid=runner.container.pid if local.phase is Phase.RUNNING else 0,
        exit_code=exited.code if exited else 0,
        error=task.status.err if local.state in (State.REJECTED, State.FAILED) and exited is None else "",
        oom_killed=bool(exited and exited.oom),
        started_at=runner.started_at,
        finished_at=exited.finished_at if exited else None,
        read_only=spec.read_only,
        nano_cpus=limits.nano_cpus,
        memory_bytes=limits.memory_bytes,
        pids_limit=limits.pids,
        log_driver=(task.spec.log_driver.name if task.spec.log_driver else "") or DEFAULT_DRIVER,
        log_options=task.spec.log_driver.options if task.spec.log_driver else {},
        mounts=tuple(
            api.MountPoint(
                type=mount.type,
                name=mount.source if mount.type == "volume" else "",
                source=mount.source if mount.type == "bind" else "",
                destination=mount.target,
                read_only=mount.read_only,
            )
            for mount in spec.mounts
        ),
        networks=tuple(_network(attachment) for attachment in task.networks_attachments),
        ports=_ports(runner.published_ports, config.exposed_ports if config else ()),
        healthcheck=merged(spec.healthcheck, config.healthcheck if config else None),
        health=_health(runner.health) if runner.health is not None else None,
    )


def _labels(task: Task, image: agent_port.Image | None, node_id: str) -> dict[str, str]:
    return labels_of(task, image.config, node_id) if image is not None else dict(task.spec.container_spec.labels)


def _health(health: Health) -> api.Health:
    return api.Health(
        status=health.status.value,
        failing_streak=health.failing_streak,
        probes=tuple(
            api.Probe(begun_at=one.begun_at, ended_at=one.ended_at, exit_code=one.exit_code, output=one.output)
            for one in health.log
        ),
    )


def _is_readable(driver: Driver | None) -> bool:
    try:
        return driver is None or log_settings(driver.name, driver.options).readable
    except ValueError:  # Made by an older vaultd.
        return True


def _ports(published: Sequence[PortConfig], exposed: Collection[str]) -> tuple[api.Port, ...]:
    """Return the published ports, and those that the image exposes ("3306/tcp") and nothing publishes."""
    shown = [api.Port(private=p.target_port, public=p.published_port, protocol=p.protocol) for p in published]
    known = {(port.private, port.protocol) for port in shown}
    for number, _, protocol in (one.partition("/") for one in exposed):
        if number.isdecimal() and (int(number), protocol or "tcp") not in known:
            shown.append(api.Port(private=int(number), public=0, protocol=protocol or "tcp"))
    return tuple(shown)


def _network(attachment: NetworkAttachment) -> api.ContainerNetwork:
    address, _, prefix = (attachment.addresses[0] if attachment.addresses else "").partition("/")
    configs = attachment.network.ipam_options.configs if attachment.network.ipam_options else ()
    return api.ContainerNetwork(
        name=attachment.network.spec.name,
        network_id=attachment.network.id,
        address=address,
        prefix_length=int(prefix or 0),
        gateway=configs[0].gateway if configs else "",
        aliases=attachment.aliases,
    )

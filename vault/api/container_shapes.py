"""Containers in the Engine's shape.  Pure; called by `vault.api.containers`.

What Docker shows of its own inside (layers, cgroup knobs that we never set) is left out.
"""

from datetime import UTC, datetime

import msgspec

from vault.api.container_values import Health
from vault.api.ports import Container, ContainerNetwork, MountPoint, NodeInfo
from vault.api.system_shapes import Full
from vault.api.times import human
from vault.model.container import HealthConfig

Empty = dict[str, str]
_HEALTH = {"starting": "health: starting", "healthy": "healthy", "unhealthy": "unhealthy"}  # As Docker prints it.
NEVER = datetime(1, 1, 1, tzinfo=UTC)  # As Go prints it.


class PortSummary(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """A port of a container, and the port of the host that leads to it if there is one."""

    ip: str = msgspec.field(name="IP", default="")
    private_port: int
    public_port: int = 0
    type: str = msgspec.field(name="Type")


class EndpointSettings(Full, frozen=True, kw_only=True):
    """A container's place on a network."""

    aliases: tuple[str, ...] | None
    network_id: str = msgspec.field(name="NetworkID")
    endpoint_id: str = msgspec.field(name="EndpointID", default="")
    gateway: str
    ip_address: str = msgspec.field(name="IPAddress")
    ip_prefix_len: int = msgspec.field(name="IPPrefixLen")
    mac_address: str = ""


class NetworkSummary(Full, frozen=True, kw_only=True):
    """A container's networks by name."""

    networks: dict[str, EndpointSettings]


class MountSummary(Full, frozen=True, kw_only=True):
    """A mount of a container."""

    type: str
    name: str
    source: str
    destination: str
    driver: str
    mode: str = ""
    rw: bool = msgspec.field(name="RW")
    propagation: str = ""


class HostSummary(Full, frozen=True, kw_only=True):
    """The little of the host's settings that a list shows."""

    network_mode: str = "default"


class ContainerSummary(Full, frozen=True, kw_only=True):
    """One row of the list of containers."""

    id: str
    names: tuple[str, ...]
    image: str
    image_id: str = msgspec.field(name="ImageID")
    command: str
    created: int
    ports: tuple[PortSummary, ...]
    labels: dict[str, str]
    state: str
    status: str
    host_config: HostSummary
    network_settings: NetworkSummary
    mounts: tuple[MountSummary, ...]


class HealthcheckResult(Full, frozen=True, kw_only=True):
    """How one probe went."""

    start: datetime
    end: datetime
    exit_code: int
    output: str


class HealthState(Full, frozen=True, kw_only=True):
    """What a container's health check has found."""

    status: str
    failing_streak: int
    log: tuple[HealthcheckResult, ...]


class ContainerState(Full, frozen=True, kw_only=True):
    """How a container stands."""

    status: str
    running: bool
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = msgspec.field(name="OOMKilled")
    dead: bool = False
    pid: int
    exit_code: int
    error: str
    started_at: datetime
    finished_at: datetime
    health: HealthState | msgspec.UnsetType = msgspec.UNSET


class RestartNever(Full, frozen=True, kw_only=True):
    """Containers of tasks are never restarted; tasks are."""

    name: str = ""
    maximum_retry_count: int = 0


class LogConfig(Full, frozen=True, kw_only=True):
    """Where a container's output goes."""

    type: str = "json-file"
    config: dict[str, str] = msgspec.field(default_factory=dict)


class HostConfig(Full, frozen=True, kw_only=True):
    """What of the host a container has."""

    network_mode: str = "default"
    restart_policy: RestartNever = RestartNever()
    auto_remove: bool = False
    log_config: LogConfig = msgspec.field(default_factory=LogConfig)
    privileged: bool = False
    readonly_rootfs: bool
    runtime: str
    memory: int
    nano_cpus: int
    pids_limit: int | None


class ContainerConfig(Full, frozen=True, kw_only=True):
    """What a container runs."""

    hostname: str
    domainname: str = ""
    user: str
    tty: bool
    open_stdin: bool
    env: tuple[str, ...]
    cmd: tuple[str, ...] | None
    image: str
    working_dir: str
    entrypoint: tuple[str, ...] | None
    labels: dict[str, str]
    stop_signal: str
    healthcheck: HealthConfig | msgspec.UnsetType = msgspec.UNSET


class NetworkSettings(Full, frozen=True, kw_only=True):
    """A container's networks and ports."""

    ports: dict[str, tuple[dict[str, str], ...] | None]  # None: the image exposes it, and nothing publishes it.
    networks: dict[str, EndpointSettings]


class ContainerDetails(Full, frozen=True, kw_only=True):
    """A container as inspect shows it."""

    id: str
    created: datetime
    path: str
    args: tuple[str, ...]
    state: ContainerState
    image: str
    name: str
    restart_count: int = 0
    driver: str
    platform: str = "linux"
    exec_ids: tuple[str, ...] | None = msgspec.field(name="ExecIDs", default=None)
    host_config: HostConfig
    mounts: tuple[MountSummary, ...]
    config: ContainerConfig
    network_settings: NetworkSettings


def summary_of(one: Container, now_s: float) -> ContainerSummary:
    """Return a container as a row of the list."""
    ports = tuple(
        PortSummary(
            ip=port.address if port.public else "",
            private_port=port.private,
            public_port=port.public,
            type=port.protocol,
        )
        for port in one.ports
    )
    return ContainerSummary(
        id=one.id,
        names=(f"/{one.name}",),
        image=one.image,
        image_id=one.image_id,
        command=command_text((*one.entrypoint, *one.command)),
        created=int(one.created_at.timestamp()),
        ports=ports,
        labels=dict(one.labels),
        state=one.state,
        status=status_text(one, now_s),
        host_config=HostSummary(),
        network_settings=NetworkSummary(networks={network.name: _endpoint(network) for network in one.networks}),
        mounts=tuple(_mount(mount) for mount in one.mounts),
    )


def command_text(words: tuple[str, ...]) -> str:
    """Return a command as Docker lists it: what follows the program is quoted where it has a space."""
    return " ".join((*words[:1], *(f"'{word}'" if " " in word else word for word in words[1:])))


def status_text(one: Container, now_s: float) -> str:
    """Return how long a container has run, or how it ended, in Docker's words."""
    if one.state == "running" and one.started_at is not None:
        health = f" ({_HEALTH[one.health.status]})" if one.health is not None else ""
        return f"Up {human(now_s - one.started_at.timestamp())}{health}"
    if one.state == "exited" and one.finished_at is not None:
        return f"Exited ({one.exit_code}) {human(now_s - one.finished_at.timestamp())} ago"
    return one.state.capitalize()


def details_of(one: Container, node: NodeInfo) -> ContainerDetails:
    """Return a container as inspect shows it."""
    arguments = (*one.entrypoint, *one.command)
    ports: dict[str, tuple[dict[str, str], ...] | None] = {
        f"{port.private}/{port.protocol}": (
            ({"HostIp": port.address, "HostPort": str(port.public)},) if port.public else None
        )
        for port in one.ports
    }
    return ContainerDetails(
        id=one.id,
        created=one.created_at.astimezone(UTC),
        path=arguments[0] if arguments else "",
        args=arguments[1:],
        state=_state(one),
        image=one.image_id,
        name=f"/{one.name}",
        driver=node.storage_driver,
        host_config=HostConfig(
            readonly_rootfs=one.read_only,
            runtime=node.runtime,
            memory=one.memory_bytes,
            nano_cpus=one.nano_cpus,
            pids_limit=one.pids_limit or None,
            log_config=LogConfig(type=one.log_driver, config=dict(one.log_options)),
        ),
        mounts=tuple(_mount(mount) for mount in one.mounts),
        config=ContainerConfig(
            hostname=one.hostname,
            user=one.user,
            tty=one.tty,
            open_stdin=one.open_stdin,
            env=one.env,
            cmd=one.command or None,
            image=one.image,
            working_dir=one.working_dir,
            entrypoint=one.entrypoint or None,
            labels=dict(one.labels),
            stop_signal=one.stop_signal,
            healthcheck=one.healthcheck or msgspec.UNSET,
        ),
        network_settings=NetworkSettings(
            ports=ports, networks={network.name: _endpoint(network) for network in one.networks}
        ),
    )


def _state(one: Container) -> ContainerState:
    return ContainerState(
        status=one.state,
        running=one.state == "running",
        oom_killed=one.oom_killed,
        pid=one.pid,
        exit_code=one.exit_code,
        error=one.error,
        started_at=one.started_at or NEVER,
        finished_at=one.finished_at or NEVER,
        health=_health(one.health) if one.health is not None else msgspec.UNSET,
    )


def _health(health: Health) -> HealthState:
    return HealthState(
        status=health.status,
        failing_streak=health.failing_streak,
        log=tuple(
            HealthcheckResult(start=probe.begun_at, end=probe.ended_at, exit_code=probe.exit_code, output=probe.output)
            for probe in health.probes
        ),
    )


def _endpoint(network: ContainerNetwork) -> EndpointSettings:
    return EndpointSettings(
        aliases=network.aliases or None,
        network_id=network.network_id,
        gateway=network.gateway,
        ip_address=network.address,
        ip_prefix_len=network.prefix_length,
    )


def _mount(mount: MountPoint) -> MountSummary:
    return MountSummary(
        type=mount.type,
        name=mount.name,
        source=mount.source,
        destination=mount.destination,
        driver="local" if mount.type == "volume" else "",
        rw=not mount.read_only,
    )

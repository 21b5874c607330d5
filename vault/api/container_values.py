"""A container of this node as `LocalNode` tells of it.  Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vault.model.container import HealthConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a container, and the port of the host that leads to it."""

    private: int
    public: int  # 0 = the image exposes the port, and nothing publishes it.
    protocol: str = "tcp"
    address: str = "0.0.0.0"  # noqa: S104 - shown, not bound here.


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """A mount of a container.  Secrets and configs are not among them."""

    type: str  # bind | volume | tmpfs
    name: str  # Of the volume; "" otherwise.
    source: str
    destination: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerNetwork:
    """A container's place on a network."""

    name: str
    network_id: str
    address: str = ""  # Without prefix length.
    prefix_length: int = 0
    gateway: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How one probe of a container's health went."""

    begun_at: datetime
    ended_at: datetime
    exit_code: int
    output: str  # May hold anything the container knows: shown to who inspects the container, and nowhere else.


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a running container with a health check stands."""

    status: str  # starting | healthy | unhealthy
    failing_streak: int
    probes: tuple[Probe, ...]  # The last ones, the newest at the end.


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of this node: one attempt of one task."""

    id: str  # 64 hexadecimal digits.
    name: str  # Of the task, without a slash.
    image: str  # Reference as the spec has it.
    image_id: str  # sha256:…
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    created_at: datetime
    state: str  # created | running | exited
    labels: Mapping[str, str]
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    hostname: str = ""
    tty: bool = False
    open_stdin: bool = False
    stop_signal: str = ""
    log_driver: str = "json-file"
    log_options: Mapping[str, str] = field(default_factory=dict)
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    read_only: bool = False
    nano_cpus: int = 0
    memory_bytes: int = 0
    pids_limit: int = 0
    mounts: tuple[MountPoint, ...] = ()
    networks: tuple[ContainerNetwork, ...] = ()
    ports: tuple[Port, ...] = ()
    healthcheck: HealthConfig | None = None  # Of service and image together.
    health: Health | None = None  # None: it has no check, or was never started.


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
    """Something that happened to a container."""

    action: str  # In Docker's words: start | die | health_status: healthy
    at: datetime
    container_id: str
    name: str  # Of the task, without a slash.
    image: str  # Reference as the spec has it.
    labels: Mapping[str, str]
    details: Mapping[str, str] = field(default_factory=dict)

"""What the HTTP API needs from the daemon around it: the manager's store, and this node.

Not pure: these are the Protocols that `vault.daemon` implements and that tests fake.  Times are UTC, sizes bytes.
Everything here may raise a `VaultError`; its status and text reach the client as they are.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from vault.api.container_values import Container, ContainerEvent, ContainerNetwork, Health, MountPoint, Port, Probe
from vault.api.swarm_ports import (
    AnswerLost,
    Build,
    Forwarder,
    InitRequest,
    JoinRequest,
    LogLine,
    LogQuery,
    Manager,
    Membership,
    Quorum,
    RestoreRequest,
    Rotations,
    Store,
    Unreached,
)
from vault.crypto.plaintext import Plaintext
from vault.model.container import HealthConfig
from vault.model.generic import GenericResource

# Values of containers and the ports to the swarm have modules of their own; callers find them here.
__all__ = [
    "AnswerLost",
    "Build",
    "Container",
    "ContainerEvent",
    "ContainerNetwork",
    "ExecSpec",
    "Forwarder",
    "Health",
    "Image",
    "InitRequest",
    "JoinRequest",
    "LocalNode",
    "LogLine",
    "LogQuery",
    "Manager",
    "Membership",
    "MountPoint",
    "NodeInfo",
    "Port",
    "Probe",
    "Process",
    "Progress",
    "Quorum",
    "RemovedImage",
    "RestoreRequest",
    "Rotations",
    "Store",
    "Unreached",
    "Volume",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """The machine and what we run on it; feeds `/info` and `/version`."""

    id: str  # Of this installation, stable over restarts; not the node id of a swarm.
    hostname: str
    operating_system: str  # "Debian GNU/Linux 12 (bookworm)"
    os_version: str
    kernel: str
    architecture: str  # x86_64
    cpus: int
    memory_bytes: int
    data_root: str
    labels: Mapping[str, str]  # `vaultd --label`
    generic_resources: tuple[GenericResource, ...] = ()  # `vaultd --node-generic-resource`
    runtime: str  # crun
    runtime_version: str
    conmon_version: str = ""
    cgroup_driver: str = "cgroupfs"
    cgroup_version: str = "1"
    storage_driver: str = "overlay2"
    security_options: tuple[str, ...] = ()
    log_drivers: tuple[str, ...] = ("json-file", "local", "syslog")
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """A process to start in a running container."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    working_dir: str = ""  # "" = the container's.
    user: str = ""  # "" = the container's.
    tty: bool = False
    stdin: bool = False
    privileged: bool = False
    height: int = 0  # First size of the terminal; 0 = unknown.
    width: int = 0


class Process(Protocol):
    """A process that an exec started; the caller ends with `close`."""

    @property
    def pid(self) -> int:
        """Its pid on the host; 0 when it is not known."""
        ...

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield (1 stdout | 2 stderr, bytes) until the process has closed both; with a terminal all is on 1."""
        ...

    async def write(self, data: bytes) -> None:
        """Give `data` to its standard input; waits while the pipe is full, drops it when the process closed it."""
        ...

    async def close_stdin(self) -> None:
        """Send end of file."""
        ...

    async def resize(self, height: int, width: int) -> None:
        """Set the size of its terminal."""
        ...

    async def signal(self, name: str) -> None:
        """Send a signal: "INT", "SIGTERM"."""
        ...

    async def wait(self) -> int:
        """Return the exit code; 128 + n for a signal.  May be called more than once."""
        ...

    async def close(self) -> None:
        """Release all; hangs up on a process that still runs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of this node's store."""

    id: str  # sha256:… of its config.
    references: tuple[str, ...]  # "busybox:latest"
    digests: tuple[str, ...]  # "busybox@sha256:…"
    created_at: datetime | None
    size_bytes: int
    architecture: str
    os: str = "linux"
    variant: str = ""
    author: str = ""
    comment: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()  # "3306/tcp"
    volumes: tuple[str, ...] = ()
    healthcheck: HealthConfig | None = None
    shell: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()  # Diff ids.


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedImage:
    """One effect of removing an image; exactly one field is set."""

    untagged: str = ""
    deleted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One message of a load, import or pull, as Docker's JSON stream has them."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0
    stream: str = ""  # Text to print as it is ("Loaded image: busybox:latest\n"); `status` is empty then.


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A named volume of this node."""

    name: str
    mountpoint: str
    created_at: datetime
    driver: str = "local"
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


class LocalNode(Protocol):
    """This node's containers, images and volumes."""

    def info(self) -> NodeInfo:
        """Return what the machine is; never raises and never waits."""
        ...

    async def containers(self) -> Sequence[Container]:
        """Return all containers of this node, ended ones too, newest first."""
        ...

    def container_events(self) -> AsyncGenerator[Sequence[ContainerEvent], None]:
        """Yield at once what happened to containers last, the oldest first; then what happens, until it is closed."""
        ...

    async def exec(self, container_id: str, spec: ExecSpec) -> Process:
        """Start a process in a running container."""
        ...

    def container_logs(self, container_id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield the log of one container."""
        ...

    async def images(self) -> Sequence[Image]:
        """Return all images, newest first."""
        ...

    async def image(self, reference: str) -> Image:
        """Return the image of a name, id or id prefix; raises `NoSuch("image", …)`."""
        ...

    def load_image(self, archive: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        """Take in a docker or OCI archive."""
        ...

    def import_image(
        self, archive: AsyncIterator[bytes], *, reference: str, message: str, changes: Sequence[str]
    ) -> AsyncIterator[Progress]:
        """Make an image of a root file system; the last message's status is the image's id."""
        ...

    def pull_image(self, reference: str, *, auth: Plaintext | None) -> AsyncIterator[Progress]:
        """Fetch an image from its registry.  auth: an `AuthConfig` as JSON."""
        ...

    async def remove_image(self, reference: str, *, force: bool) -> Sequence[RemovedImage]:
        """Untag or delete; raises `NoSuch`, and `Conflict` when a container uses it."""
        ...

    async def volumes(self) -> Sequence[Volume]:
        """Return all volumes by name."""
        ...

    async def volume(self, name: str) -> Volume:
        """Return one volume; raises `NoSuch("volume", …)` with Docker's text `get x: no such volume`."""
        ...

    async def create_volume(
        self, name: str, *, driver: str, labels: Mapping[str, str], options: Mapping[str, str]
    ) -> Volume:
        """Make a volume, or return the one that has the name; "" draws a name."""
        ...

    async def remove_volume(self, name: str, *, force: bool) -> None:
        """Delete a volume; raises `Conflict` while a container uses it."""
        ...

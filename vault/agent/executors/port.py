"""What an executor is: the one way by which the agent makes a task real, watches it and removes every trace of it.

Value types and the `Executor` Protocol, without behaviour.  `oci` implements it; `vault.agent.worker` calls it.
Order of a task's life here: prepare, start, wait (with stop when asked), remove.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from vault.agent.health import KeptHealth
from vault.agent.logs import LogLine, LogQuery
from vault.crypto.plaintext import Plaintext
from vault.model.container import HealthConfig
from vault.model.errors import VaultError
from vault.model.ids import ConfigID, SecretID, TaskID
from vault.model.task import ContainerStatus, Task


class TaskRejected(VaultError):
    """A task cannot be prepared on this node (bad mount, bad user, no memory-only mounts); its state is REJECTED."""

    status = HTTPStatus.BAD_REQUEST


class TaskStartFailed(VaultError):
    """The runtime could not start a prepared task; its state is FAILED."""


class ContainerNotRunning(VaultError):
    """Something was asked of a container that runs no longer, or not yet."""

    status = HTTPStatus.CONFLICT

    def __init__(self, container: str) -> None:
        super().__init__(f"container {container} is not running")
        self.container = container


class NoSuchContainer(VaultError):
    """This node has no container for the task."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, reference: str) -> None:
        super().__init__(f"No such container: {reference}")
        self.reference = reference


class ImageConfig(Protocol):
    """What an image says of the containers made from it."""

    @property
    def env(self) -> Sequence[str]: ...
    @property
    def entrypoint(self) -> Sequence[str]: ...
    @property
    def cmd(self) -> Sequence[str]: ...
    @property
    def user(self) -> str: ...
    @property
    def working_dir(self) -> str: ...
    @property
    def volumes(self) -> Collection[str]: ...
    @property
    def stop_signal(self) -> str: ...
    @property
    def exposed_ports(self) -> Collection[str]: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def healthcheck(self) -> HealthConfig | None: ...
    @property
    def shell(self) -> Sequence[str]: ...


class Image(Protocol):
    """An unpacked image."""

    @property
    def id(self) -> str:
        """sha256:… of its config."""
        ...

    @property
    def config(self) -> ImageConfig: ...
    @property
    def layers(self) -> Sequence[Path]:
        """Directories, lowermost first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEntry:
    """One line of /etc/hosts."""

    address: str
    names: tuple[str, ...] = ()  # Empty = the container's host name.


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkView:
    """The network as the container sees it.

    `host`: the host's own.  Else `namespace` is joined, or, when None, a new one with only loopback is made.
    Empty `nameservers` stand for the service's own, or the host's; others come before both, and know of them.
    """

    host: bool = False
    namespace: Path | None = None
    hosts: tuple[HostEntry, ...] = ()
    gateway: str = ""  # Where it reaches the node; "" = nowhere.
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


RESOLVER = "127.0.0.11"  # Where names are answered for a task on overlay networks, in its own namespace; Docker's.
LOOPBACK_ONLY = NetworkView()
NOTHING_MOUNTED: Mapping[str, Image] = MappingProxyType({})
HOST_NETWORK = NetworkView(host=True, gateway="127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a container ended."""

    code: int  # 128 + n after signal n.
    finished_at: datetime
    oom: bool = False  # The kernel killed a process of it for want of memory.
    lost: bool = False  # Its supervisor vanished, so the real code is unknown; `code` is 255.


class Phase(Enum):
    """How far a task had come when this vaultd found it."""

    PREPARED = "prepared"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A task that an earlier vaultd left behind; PREPARED ones must be prepared again or removed."""

    task_id: TaskID
    phase: Phase
    container: ContainerStatus
    started_at: datetime | None = None
    exit: Exit | None = None
    task: Task | None = None  # As it was when it was prepared, templates filled in; to be shown, not to be acted upon.
    health: KeptHealth | None = None  # As far as it was kept; None: it has no check, or what was kept is lost.


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What became of a probe."""

    exit_code: int  # -1: it took too long, or could not be run.
    output: str = ""  # Of both streams, 4096 bytes at most.


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """A command to run in a container that is there."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""  # Empty = the container's.
    working_dir: str = ""  # Empty = the container's.
    tty: bool = False
    stdin: bool = False
    privileged: bool = False
    rows: int = 0  # Size of the terminal; 0 = unknown.
    columns: int = 0


class Channel(Enum):
    """Where bytes of a running command came from; a terminal has only OUT."""

    OUT = 1
    ERR = 2


class ExecSession(Protocol):
    """A command running in a container.  `close` when the caller is gone; it waits for nothing."""

    def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Yield what it prints, until both streams end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send input; waits while the command does not read.  Input after its end is dropped."""
        ...

    async def close_stdin(self) -> None: ...
    def resize(self, rows: int, columns: int) -> None: ...
    def signal(self, name: str) -> None: ...
    async def wait(self) -> int:
        """Return the exit code; 126 and 127 when the command could not be run."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """One process of a container, as the host sees it."""

    pid: int
    parent: int
    uid: int
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a container has used."""

    cpu_ns: int
    memory_bytes: int
    pids: int


class Executor(Protocol):
    """Runs the tasks of one node.  Any method may be called for any task; calls for one task take turns."""

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
        """Make all that the task needs but its processes.  Configs come with their templates filled in.

        mounted: the images that the task mounts, by what its spec calls them.

        Raises `TaskRejected`; nothing is left behind then.  A task prepared before is prepared afresh.
        """
        ...

    async def start(self, task_id: TaskID) -> ContainerStatus:
        """Start a prepared task.  Raises `TaskStartFailed`; the task can then only be removed."""
        ...

    async def wait(self, task_id: TaskID) -> Exit:
        """Return when the container has ended; its secrets are gone from memory by then."""
        ...

    async def stop(self, task_id: TaskID, *, grace_s: float | None = None, signal: str = "") -> None:
        """Send the stop signal, KILL after the grace time (both default to the task's own), return once ended."""
        ...

    async def kill(self, task_id: TaskID, signal: str) -> None:
        """Send one signal to the container's first process."""
        ...

    async def remove(self, task_id: TaskID) -> None:
        """End the task if need be and remove every trace of it.  A task that is not there is no error."""
        ...

    async def adopt(self) -> tuple[Adopted, ...]:
        """Take over what an earlier vaultd left; called once, before anything else."""
        ...

    async def reap(self, known: Collection[TaskID]) -> tuple[TaskID, ...]:
        """Remove the tasks, mounts and files that belong to no known task; return whose they were."""
        ...

    async def exec(self, task_id: TaskID, spec: ExecSpec) -> ExecSession:
        """Run a command in a running container.  Raises `ContainerNotRunning`."""
        ...

    async def probe(self, task_id: TaskID, command: Sequence[str], *, timeout_s: float) -> Probed:
        """Run a probe in a running container, as its own user.  Raises `ContainerNotRunning`.

        One that is late, or whose caller is cancelled, is killed with all that it started.
        """
        ...

    async def keep_health(self, task_id: TaskID, kept: KeptHealth) -> None:
        """Keep what `adopt` is to return of a prepared or running container."""
        ...

    def logs(self, task_id: TaskID, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield what the container printed; nothing where its driver does not let that be read."""
        ...

    async def log_details(self, task_id: TaskID) -> Mapping[str, str]:
        """Return what goes with each line of a container's log: labels and variables that were asked for, and a tag."""
        ...

    async def top(self, task_id: TaskID) -> tuple[ProcessInfo, ...]: ...
    async def usage(self, task_id: TaskID) -> Usage: ...
    async def close(self) -> None:
        """Stop watching; the containers run on."""
        ...

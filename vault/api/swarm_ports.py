"""What the HTTP API needs of this node's part in a swarm: the store, membership, and the way to the manager that leads.

Not pure: the Protocols here are what `vault.daemon` implements and tests fake.  Times are UTC, sizes bytes.  Everything
may raise a `VaultError`; its status and text reach the client as they are.  Callers find all this in `vault.api.ports`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from vault.api.events import Recent
from vault.crypto.plaintext import Plaintext
from vault.model.cluster import ClusterSpec, DataKeyStatus
from vault.model.errors import Unavailable
from vault.model.ids import Kind, NodeID
from vault.model.task import Task
from vault.rpc.messages_forward import ForwardedAnswer, ForwardedRequest
from vault.store.changes import Change
from vault.store.snapshot import Snapshot

Build = Callable[[Snapshot], Sequence[Change]]


class Store(Protocol):
    """The cluster's state; `vault.raftstore.Store` is one."""

    @property
    def committed(self) -> Snapshot:
        """The newest committed snapshot: all reads are answered from it."""
        ...

    async def submit(self, build: Build) -> int:
        """Commit what `build` makes of the proposed snapshot, all or nothing; return the commit index.

        `build` may raise a `VaultError`, to this caller only.  On return `committed` shows the write.
        """
        ...

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield the committed snapshot, then each newer one; a slow reader sees only the newest."""
        ...

    async def value(self, kind: Kind, id: str) -> Plaintext:
        """Return the value of a secret or config: a config's to show it, a secret's to compare it with a posted one.

        Raises `NotFound` when the object is there no more.
        """
        ...

    def content_tag(self, kind: Kind, name: str, value: Plaintext) -> str:
        """Return a short tag of a value, for its object's name, that tells nobody else anything of the value."""
        ...

    def data_key(self) -> DataKeyStatus:
        """Return which data key is the newest, and how far records are sealed under it; asked of a leader."""
        ...

    async def rotate_keyring(self) -> None:
        """Add a data key that seals from now on; older records are sealed anew in the background.

        Raises `KeyringFull` while too many older ones are in use.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InitRequest:
    """`POST /swarm/init`; empty texts and zeros mean: choose."""

    spec: ClusterSpec  # As posted, merged over the defaults.
    advertise_addr: str = ""
    listen_addr: str = ""
    data_path_addr: str = ""
    data_path_port: int = 0
    availability: str = ""  # "" | active | pause | drain
    default_addr_pool: tuple[str, ...] = ()
    subnet_size: int = 0
    force_new_cluster: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """`POST /swarm/join`."""

    join_token: str
    remote_addrs: tuple[str, ...]
    advertise_addr: str = ""
    listen_addr: str = ""
    data_path_addr: str = ""
    availability: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """`POST /vault/v1/swarm/restore`; one of the keys opens the backup."""

    passphrase: Plaintext | None = None
    unlock_key: Plaintext | None = None  # `SWMKEY-1-…` as it was when the backup was made.
    advertise_addr: str = ""
    listen_addr: str = ""
    data_path_addr: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotations:
    """Which of a swarm's keys an update replaces."""

    worker_token: bool = False
    manager_token: bool = False
    unlock_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Where this node stands; feeds `/info` and the `Swarm` header of `/_ping`."""

    state: str = "inactive"  # inactive | pending | active | error | locked
    node_id: str = ""
    node_addr: str = ""
    manager: bool = False
    error: str = ""
    managers: tuple[tuple[str, str], ...] = ()  # (node id, host:port) of the managers this node knows.


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which lines of a log are wanted."""

    stdout: bool = True
    stderr: bool = True
    since_s: float = 0.0  # Seconds since 1970; only lines at or after it.
    until_s: float | None = None
    tail: int | None = None  # The last n lines there are; None = all.
    follow: bool = False  # Go on until the task's container has ended.


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line as the container wrote it, newline included where it wrote one."""

    stream: int  # 1 = stdout, 2 = stderr.
    timestamp: datetime
    data: bytes
    nanosecond: int = 0  # 0..999 beyond the microseconds of `timestamp`.
    details: Mapping[str, str] = field(default_factory=dict)  # Log driver attributes; the API adds node, service, task.


class Unreached(Unavailable):
    """The manager that leads could not be asked: nothing was done there."""

    def __init__(self) -> None:
        super().__init__("the manager that leads the swarm cannot be reached: try again, or ask another manager")


class AnswerLost(Unavailable):
    """The manager that leads was asked, and its answer did not come: whether it did anything is not known."""

    def __init__(self) -> None:
        super().__init__("the manager that leads the swarm was asked, and its answer was lost")


class Forwarder(Protocol):
    """A way to the manager that leads; one object for each leadership, so that another object means another leader.

    Both raise `Unreached` when the request certainly was not taken up (no connection; the other end says that it does
    not lead), and `AnswerLost` when it may have been.  They are cancelled when nobody waits for the answer any more.
    """

    async def ask(self, request: ForwardedRequest) -> ForwardedAnswer:
        """Return the whole answer (`vault.api.forwarded.answer_forwarded` at the other end)."""
        ...

    def stream(self, request: ForwardedRequest) -> AsyncGenerator[ForwardedAnswer, None]:
        """Yield an answer's head, then its parts as they come (`serve_forwarded` at the other end), to the last.

        Closing it ends the work at the other end.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Which managers there are to be reached, as far as this one knows."""

    leader: str = ""  # Node id; "" = not known.
    reachable: frozenset[str] = frozenset()  # Node ids.


class Manager(Protocol):
    """This node's part in a swarm."""

    def store(self) -> Store:
        """Return the store; raise `NotAManager` (or what else holds) on a node that has none."""
        ...

    def membership(self) -> Membership:
        """Return where this node stands now; never raises."""
        ...

    def standing(self) -> Forwarder | None:
        """Return None while this manager leads, and the way to the leader while it follows.  Called for every request.

        Raises `NoLeader` while none is known or its address is not; on other nodes what `store` raises: `NotAManager`,
        `WorkerNode`, `ManagerNotReady`, locked, `CertificatesExpired`.
        """
        ...

    async def standing_changed(self) -> None:
        """Return when `standing` may say something else than at the call; waiters look again by themselves as well."""
        ...

    @property
    def barrier(self) -> Callable[[], Awaitable[None]] | None:
        """What a leader awaits before it answers a read, so that no newer leader has written what it does not know.

        None where there is nothing to ask (one manager, sqlite).  Raises `NotLeading` when there is a newer leader.
        """
        ...

    def recent_events(self) -> Recent:
        """Return the last events of the cluster; raises what `store` raises."""
        ...

    def quorum(self) -> Quorum:
        """Return which managers are to be reached; asked of the manager that leads."""
        ...

    async def init(self, request: InitRequest) -> NodeID:
        """Make a swarm with this node as its manager; raises `AlreadyInSwarm`."""
        ...

    async def join(self, request: JoinRequest) -> None:
        """Join a swarm; raises `AlreadyInSwarm`."""
        ...

    async def leave(self, *, force: bool) -> None:
        """Leave; raises `NotInSwarm`, and `LastManagerLeaving` without `force`."""
        ...

    async def update(self, spec: ClusterSpec, *, version: int, rotations: Rotations) -> None:
        """Change the swarm's settings and keys; `vault.store.rules_cluster.updated` has checked nothing yet."""
        ...

    async def unlock_key(self) -> str:
        """Return `SWMKEY-1-…`, or "" when autolock is off."""
        ...

    async def unlock(self, key: str) -> None:
        """Unlock a locked manager; raises `NotLocked`, `BadRequest` for a malformed key, `WrongUnlockKey`."""
        ...

    def backup(self, passphrase: Plaintext | None) -> AsyncIterator[bytes]:
        """Yield a backup of the swarm, sealed under a passphrase, or without one under the unlock key.

        Raises `BadRequest` before the first bytes when there is neither.
        """
        ...

    async def restore(self, request: RestoreRequest, archive: AsyncIterator[bytes]) -> NodeID:
        """Make a swarm of a backup, with this node as its manager.

        Raises `AlreadyInSwarm`, and `BadRequest` for a damaged backup or the wrong key; nothing has changed then.
        """
        ...

    def task_logs(self, task: Task, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield the log of one task, wherever its node is; nothing when the node no longer has it."""
        ...

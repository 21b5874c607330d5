"""A store in memory, and a manager and a node without a machine."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio
import msgspec

from vault.api.events import Recent
from vault.api.ports import (
    Build,
    Container,
    ContainerEvent,
    ExecSpec,
    Forwarder,
    Image,
    InitRequest,
    JoinRequest,
    LogLine,
    LogQuery,
    Membership,
    NodeInfo,
    Process,
    Progress,
    Quorum,
    RemovedImage,
    RestoreRequest,
    Rotations,
    Volume,
)
from vault.crypto.content_tag import content_tag
from vault.crypto.errors import KeyringFull
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext
from vault.model.cluster import Cluster, ClusterSpec, DataKeyStatus, JoinTokens
from vault.model.errors import (
    AlreadyInSwarm,
    BadRequest,
    LastManagerLeaving,
    NoSuch,
    NotAManager,
    NotInSwarm,
    VaultError,
)
from vault.model.ids import Kind, NodeID
from vault.model.node import ManagerStatus, Node, NodeDescription, NodeSpec, NodeStatus
from vault.model.task import Task
from vault.plugins.errors import PluginNotFound
from vault.store.changes import Change, Delete, Put, PutValue
from vault.store.rules_cluster import updated
from vault.store.rules_network import predefined
from vault.store.snapshot import Snapshot

START_S = 1_795_378_704.0
NODE_ID = "n" * 25


class MemoryStore:
    """`vault.raftstore.Store` without a disk: one commit per write, at once."""

    def __init__(self) -> None:
        self.committed = Snapshot()
        self.values: dict[tuple[Kind, str], Plaintext] = {}
        self.changed = anyio.Event()
        self.sealed = DataKeyStatus(
            term=1, created_at=datetime.fromtimestamp(START_S, UTC), records=7, older_records=0, older_keys=0
        )

    async def submit(self, build: Build) -> int:
        return self.write(build(self.committed))

    def write(self, changes: Sequence[Change]) -> int:
        index = self.committed.index + 1
        self.committed = self.committed.apply(changes, index=index, now_s=START_S + index)
        for change in changes:
            match change:
                case PutValue(kind=kind, id=object_id, value=value):
                    self.values[kind, object_id] = value
                case Delete(kind=kind, id=object_id):
                    self.values.pop((kind, object_id), None)
        self.changed.set()
        self.changed = anyio.Event()
        return index

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        while True:
            seen = self.committed
            yield seen
            while self.committed is seen:
                await self.changed.wait()

    async def value(self, kind: Kind, id: str) -> Plaintext:
        return self.values[kind, id]

    def content_tag(self, kind: Kind, name: str, value: Plaintext) -> str:
        return content_tag(RootKey(b"r" * 32), cluster_id="c", kind=kind.value, name=name, value=value)

    def data_key(self) -> DataKeyStatus:
        return self.sealed

    async def rotate_keyring(self) -> None:
        if self.sealed.older_keys:
            raise KeyringFull(2)
        was = self.sealed
        self.sealed = msgspec.structs.replace(was, term=was.term + 1, older_records=was.records, older_keys=1)


def counting_ids(first: int = 1) -> Callable[[], str]:
    """Return a source of ids: 0001zz…, 0002zz…, so that prefixes are short."""
    numbers = itertools.count(first)
    return lambda: f"{next(numbers):x}".rjust(4, "0").ljust(25, "z")


async def check_driver(name: str) -> None:
    """Know one driver of secrets, `safe`."""
    if name != "safe":
        raise PluginNotFound(name, "there is only safe")


class MemoryManager:
    """A manager whose swarm is one node."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self.memory: MemoryStore | None = None
        self.new_id = new_id
        self.node_id = NODE_ID
        self.restored: tuple[RestoreRequest, bytes] | None = None
        self.logs: dict[str, list[LogLine]] = {}
        self.barrier: Callable[[], Awaitable[None]] | None = None
        self.follows: Forwarder | None = None
        self.refusal: VaultError | None = None  # What `standing` raises.
        self.changed = anyio.Event()
        self.recent = Recent()

    def store(self) -> MemoryStore:
        if self.memory is None:
            raise NotAManager()
        return self.memory

    def membership(self) -> Membership:
        if self.memory is None and self.follows is None:
            return Membership()
        return Membership(
            state="active",
            node_id=self.node_id,
            node_addr="10.0.0.5",
            manager=True,
            managers=((NODE_ID, "10.0.0.5:2377"),),
        )

    def standing(self) -> Forwarder | None:
        if self.refusal is not None:
            raise self.refusal
        if self.follows is None:
            self.store()
        return self.follows

    async def standing_changed(self) -> None:
        await self.changed.wait()

    def stand(self, *, follows: Forwarder | None = None, refusal: VaultError | None = None) -> None:
        """Change who leads, and tell."""
        self.follows, self.refusal = follows, refusal
        self.changed.set()
        self.changed = anyio.Event()

    def recent_events(self) -> Recent:
        self.store()
        return self.recent

    def quorum(self) -> Quorum:
        return Quorum(leader=NODE_ID, reachable=frozenset({NODE_ID}))

    async def backup(self, passphrase: Plaintext | None) -> AsyncIterator[bytes]:
        if passphrase is None:
            raise BadRequest("autolock is off, so a backup needs a passphrase")
        yield b"sealed "
        yield b"under " + passphrase.reveal()

    async def restore(self, request: RestoreRequest, archive: AsyncIterator[bytes]) -> NodeID:
        if self.memory is not None:
            raise AlreadyInSwarm()
        self.restored = request, b"".join([piece async for piece in archive])
        return NodeID(NODE_ID)

    async def init(self, request: InitRequest) -> NodeID:
        if self.memory is not None:
            raise AlreadyInSwarm()
        self.memory = MemoryStore()
        node = Node(
            id=NODE_ID,
            spec=NodeSpec(role="manager"),
            description=NodeDescription(hostname="vm"),
            status=NodeStatus(state="ready", addr="10.0.0.5"),
            manager_status=ManagerStatus(leader=True, reachability="reachable", addr="10.0.0.5:2377"),
            seal_key=b"k" * 32,
        )
        cluster = Cluster(
            id=self.new_id(),
            spec=request.spec,
            join_tokens=JoinTokens(worker="SWMTKN-1-w", manager="SWMTKN-1-m"),
            root_key=b"root key",
            unlock_key=b"u" * 32,
        )
        self.memory.write((Put(cluster), Put(node), *predefined(self.new_id)))
        return NodeID(NODE_ID)

    async def join(self, request: JoinRequest) -> None:
        raise AlreadyInSwarm()

    async def leave(self, *, force: bool) -> None:
        if self.memory is None:
            raise NotInSwarm()
        if not force:
            raise LastManagerLeaving()
        self.memory = None

    async def update(self, spec: ClusterSpec, *, version: int, rotations: Rotations) -> None:
        await self.store().submit(lambda snapshot: (Put(updated(snapshot, spec, version=version)),))

    async def unlock_key(self) -> str:
        return ""

    async def unlock(self, key: str) -> None:
        raise NotInSwarm()

    async def task_logs(self, task: Task, query: LogQuery) -> AsyncIterator[LogLine]:
        for line in self.logs.get(task.id, []):
            yield line


class EchoProcess:
    """A process that writes what it reads; ends with 7 when its input ends."""

    pid = 4711

    def __init__(self, spec: ExecSpec) -> None:
        self.spec = spec
        self.sizes: list[tuple[int, int]] = []
        self.signals: list[str] = []
        self.closed = False
        self._send, self._receive = anyio.create_memory_object_stream[tuple[int, bytes]](16)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        if not self.spec.stdin:
            yield 1, b"out\n"
            yield 2, b"err\n"
            return
        async with self._receive:
            async for item in self._receive:
                yield item

    async def write(self, data: bytes) -> None:
        await self._send.send((1, data))

    async def close_stdin(self) -> None:
        await self._send.aclose()

    async def resize(self, height: int, width: int) -> None:
        self.sizes.append((height, width))

    async def signal(self, name: str) -> None:
        self.signals.append(name)

    async def wait(self) -> int:
        return 7

    async def close(self) -> None:
        self.closed = True


@dataclass
class MemoryNode:
    """A node with what a test put on it."""

    held: list[Container] = field(default_factory=list)
    stored: list[Image] = field(default_factory=list)
    volumes_by_name: dict[str, Volume] = field(default_factory=dict)
    processes: list[EchoProcess] = field(default_factory=list)
    lines: list[LogLine] = field(default_factory=list)
    taken: bytes = b""
    past: list[ContainerEvent] = field(default_factory=list)
    happened: "asyncio.Queue[ContainerEvent]" = field(default_factory=asyncio.Queue)

    async def container_events(self) -> AsyncGenerator[Sequence[ContainerEvent], None]:
        yield tuple(self.past)
        while True:
            yield (await self.happened.get(),)

    def info(self) -> NodeInfo:
        return NodeInfo(
            id="ABCD:EFGH",
            hostname="vm",
            operating_system="Debian GNU/Linux 12 (bookworm)",
            os_version="12",
            kernel="6.18",
            architecture="x86_64",
            cpus=2,
            memory_bytes=1 << 34,
            data_root="/var/lib/vault",
            labels={"disk": "ssd"},
            runtime="crun",
            runtime_version="1.8",
        )

    async def containers(self) -> Sequence[Container]:
        return self.held

    async def exec(self, container_id: str, spec: ExecSpec) -> Process:
        self.processes.append(EchoProcess(spec))
        return self.processes[-1]

    async def container_logs(self, container_id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        for line in self.lines:
            yield line

    async def images(self) -> Sequence[Image]:
        return self.stored

    async def image(self, reference: str) -> Image:
        for image in self.stored:
            if reference in (*image.references, image.id):
                return image
        raise NoSuch("image", reference)

    async def load_image(self, archive: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        self.taken = b"".join([chunk async for chunk in archive])
        yield Progress(status="", stream="Loaded image: busybox:latest\n")

    async def import_image(
        self, archive: AsyncIterator[bytes], *, reference: str, message: str, changes: Sequence[str]
    ) -> AsyncIterator[Progress]:
        self.taken = b"".join([chunk async for chunk in archive])
        yield Progress(status="sha256:" + "1" * 64)

    async def pull_image(self, reference: str, *, auth: Plaintext | None) -> AsyncIterator[Progress]:
        if "missing" in reference:
            raise NoSuch("image", reference)
        yield Progress(status=f"Pulling from {reference}", id="latest")
        if "broken" in reference:
            raise NoSuch("layer", reference)

    async def remove_image(self, reference: str, *, force: bool) -> Sequence[RemovedImage]:
        image = await self.image(reference)
        self.stored.remove(image)
        return [RemovedImage(untagged=reference), RemovedImage(deleted=image.id)]

    async def volumes(self) -> Sequence[Volume]:
        return list(self.volumes_by_name.values())

    async def volume(self, name: str) -> Volume:
        if name not in self.volumes_by_name:
            raise NoSuch("volume", name)
        return self.volumes_by_name[name]

    async def create_volume(
        self, name: str, *, driver: str, labels: Mapping[str, str], options: Mapping[str, str]
    ) -> Volume:
        made = Volume(
            name=name, mountpoint=f"/v/{name}", created_at=datetime.fromtimestamp(START_S, UTC), labels=labels
        )
        return self.volumes_by_name.setdefault(name, made)

    async def remove_volume(self, name: str, *, force: bool) -> None:
        await self.volume(name)
        del self.volumes_by_name[name]

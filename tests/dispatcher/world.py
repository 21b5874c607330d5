"""A dispatcher over a store in memory, and nodes driven by hand."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from tests.virtual import loop
from vault.crypto import Plaintext
from vault.crypto.certificates import Identity, Role
from vault.crypto.node_seal import NodeKey, open_at_node
from vault.dispatcher.service import Dispatcher
from vault.model.base import EPOCH, SECOND_NS
from vault.model.cluster import DEFAULT_SPEC, Cluster, DispatcherConfig
from vault.model.container import ContainerSpec
from vault.model.errors import VaultError
from vault.model.ids import Kind
from vault.model.network import Network
from vault.model.node import ManagerStatus, Node, NodeDescription, NodeStatus
from vault.model.secret import Config, Driver, FileTarget, Secret, SecretReference, SecretSpec
from vault.model.service import Service, TaskSpec
from vault.model.task import State, Task, TaskStatus
from vault.plugins.secret_provider import SecretRequest
from vault.rpc.call import Call
from vault.rpc.messages import PROTOCOL, Assignments, FromManager, Heartbeat, Hello, SealedValue, Welcome
from vault.rpc.pipe import local_call
from vault.store.changes import AnyObject, Atomic, Change, Delete, Put
from vault.store.snapshot import Snapshot

CLUSTER = "c" * 25
KEYS: dict[str, NodeKey] = {}


def key_of(node_id: str) -> NodeKey:
    """Return a node's key; the same every time."""
    return KEYS.setdefault(node_id, NodeKey.generate())


def identity(node_id: str, role: Role = Role.WORKER) -> Identity:
    """Return what a node's certificate says."""
    return Identity(
        cluster_id=CLUSTER,
        node_id=node_id,
        role=role,
        node_key=key_of(node_id).public(),
        not_before=EPOCH,
        not_after=EPOCH,
    )


def cluster(period_s: float = 5.0) -> Cluster:
    """Return the cluster object, with a period of heartbeats."""
    config = DispatcherConfig(heartbeat_period=int(period_s * SECOND_NS))
    return Cluster(id=CLUSTER, spec=msgspec.structs.replace(DEFAULT_SPEC, dispatcher=config))


def node(node_id: str, state: str = "ready", *, manager: str = "") -> Node:
    """Return a member."""
    return Node(
        id=node_id,
        status=NodeStatus(state=state),
        seal_key=key_of(node_id).public(),
        manager_status=ManagerStatus(addr=manager) if manager else None,
    )


def task(task_id: str, node_id: str = "n1", *, state: State = State.ASSIGNED, desired: State = State.RUNNING,
         secrets: tuple[str, ...] = (), **fields: object) -> Task:  # fmt: skip
    """Return a task that uses secrets."""
    references = tuple(SecretReference(file=FileTarget(name=s), secret_id=s, secret_name=s) for s in secrets)
    return Task(
        id=task_id,
        spec=TaskSpec(container_spec=ContainerSpec(image="busybox", secrets=references)),
        node_id=node_id,
        status=TaskStatus(state=state),
        desired_state=desired,
        **fields,  # type: ignore[arg-type]
    )


class FakeStore:
    """Snapshots in memory; a write takes as long as `slow_s` says, and fails while `refuse` is set."""

    def __init__(self, *objects: AnyObject, epoch: tuple[int, int] = (1, 1)) -> None:
        self.epoch = epoch
        self.committed = Snapshot()
        self.values: dict[str, bytes] = {}
        self.slow_s = 0.001
        self.refuse: VaultError | None = None
        self.commits = 0
        self._changed = asyncio.Event()
        self.put(*(() if any(isinstance(obj, Cluster) for obj in objects) else (cluster(),)), *objects)

    def put(self, *objects: AnyObject) -> None:
        """Write objects, whatever versions they have; a secret's value is made of its id."""
        puts = []
        for obj in objects:
            kind = next(kind for kind, type_ in KINDS.items() if isinstance(obj, type_))
            old = self.committed.get(kind, obj.id)
            puts.append(Put(msgspec.structs.replace(obj, version=old.version if old else type(obj.version)())))
            if kind in (Kind.SECRET, Kind.CONFIG):
                self.values.setdefault(obj.id, f"value of {obj.id}".encode())
        self.apply(puts)

    def delete(self, kind: Kind, object_id: str) -> None:
        """Remove an object."""
        obj = self.committed.get(kind, object_id)
        assert obj is not None
        self.values.pop(object_id, None)
        self.apply([Delete(kind, object_id, obj.version.index)])

    def apply(self, changes: Sequence[Change | Atomic]) -> None:
        """Commit."""
        now_s = asyncio.get_running_loop().time()
        self.committed = self.committed.apply(changes, index=self.committed.index + 1, now_s=now_s)
        self._changed.set()

    async def submit(self, build: Callable[[Snapshot], Sequence[Change | Atomic]]) -> int:
        await asyncio.sleep(self.slow_s)
        if self.refuse is not None:
            raise self.refuse
        if changes := build(self.committed):
            self.commits += 1
            self.apply(changes)
        return self.committed.index

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        seen = None
        while True:
            if self.committed is not seen:
                seen = self.committed
                yield seen
            else:
                self._changed.clear()
                await self._changed.wait()

    async def value(self, kind: Kind, object_id: str) -> Plaintext:
        await asyncio.sleep(0)
        if object_id not in self.values:
            raise LookupError(object_id)
        return Plaintext(self.values[object_id])


KINDS = {
    Kind.CLUSTER: Cluster,
    Kind.NODE: Node,
    Kind.SERVICE: Service,
    Kind.TASK: Task,
    Kind.NETWORK: Network,
    Kind.SECRET: Secret,
    Kind.CONFIG: Config,
}


def secret(secret_id: str, driver: str = "") -> Secret:
    """Return a secret; one with a driver has its value from there."""
    return Secret(id=secret_id, spec=SecretSpec(name=secret_id, driver=Driver(name=driver) if driver else None))


class Drivers:
    """Drivers that answer as a test says: each question waits for its answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, SecretRequest]] = []
        self.answers: defaultdict[str, asyncio.Future[bytes]] = defaultdict(asyncio.Future)  # By task.

    async def get(self, name: str, request: SecretRequest) -> Plaintext:
        self.asked.append((name, request))
        return Plaintext(await self.answers[request.task_id])


class Lead:
    """A leadership: its dispatcher, running."""

    def __init__(self, store: FakeStore, **options: object) -> None:
        self.store = store
        self.asked = 0
        self.dispatcher = Dispatcher(
            store,
            monotonic=loop().time,
            now=loop().time,
            **{"confirm": self._confirm, "drivers": Drivers(), **options},  # type: ignore[arg-type]
        )

    async def _confirm(self) -> None:
        self.asked += 1

    async def __aenter__(self) -> Lead:
        self._job = asyncio.create_task(self.dispatcher.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.lose()

    async def lose(self) -> None:
        """Stop leading."""
        self._job.cancel()
        await asyncio.gather(self._job, return_exceptions=True)

    @asynccontextmanager
    async def hand(self, node_id: str, **fields: object) -> AsyncIterator[Hand]:
        """Connect a node that is driven by hand and has been welcomed."""
        async with local_call(self.dispatcher.serve, identity(node_id)) as call:
            hand = Hand(call, node_id)
            await hand.hello(**fields)
            yield hand

    def state(self, node_id: str) -> str:
        """Return how a node is shown."""
        return self.store.committed.nodes[node_id].status.state


class Hand:
    """A node that does what the test says."""

    def __init__(self, call: Call, node_id: str) -> None:
        self.call = call
        self.node_id = node_id

    async def hello(self, **fields: object) -> None:
        message = {"protocol": PROTOCOL, "description": NodeDescription(hostname=self.node_id), **fields}
        await self.call.send(Hello(**message))  # type: ignore[arg-type]
        self.welcome = await self.call.receive(Welcome)

    async def beat(self, period_s: float = 5.0) -> None:
        await self.call.send(Heartbeat(period_s=period_s))

    async def get(self, type_: type[msgspec.Struct]) -> msgspec.Struct:
        """Return the next message of a type."""
        while True:
            message = await self.call.receive(FromManager)
            if isinstance(message, type_):
                return message

    async def assignments(self) -> Assignments:
        message = await self.get(Assignments)
        assert isinstance(message, Assignments)
        return message

    def opened(self, message: Assignments) -> dict[str, bytes]:
        """Return the values of a message, opened with this node's key."""
        return {sealed.id: open_sealed(self.node_id)(sealed, message).reveal() for sealed in message.put_values}


def open_sealed(node_id: str) -> Callable[[SealedValue, Assignments], Plaintext]:
    """Return what opens values at a node."""

    def opened(sealed: SealedValue, message: Assignments) -> Plaintext:
        return open_at_node(
            key_of(node_id),
            sealed.payload,
            cluster_id=CLUSTER,
            node_id=node_id,
            kind=sealed.kind,
            object_id=sealed.id,
            version=sealed.version,
            epoch=(message.generation, message.counter),
            sequence=message.sequence,
        )

    return opened

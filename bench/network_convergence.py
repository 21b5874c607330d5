"""How fast nodes hear of overlay endpoints, and what it costs: one dispatcher and many nodes in one process.

`python -m bench.network_convergence --help`.  The dispatcher, its sessions, its streams and the codec are real; calls
go through the process (`vault.rpc.pipe`), nodes keep what they are told and do nothing with it, and the store is in
memory.  Times are from a commit until the last node has taken note: all nodes take turns on one processor, which no
cluster's do, and the network's time would come on top.  The manager's processor time is measured apart.
"""

import asyncio
import gc
import logging
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from random import Random

import click
import msgspec
from msgspec.structs import replace

from bench.gossip import PACKET_BYTES, spread
from vault.agent.overlay_parts import merged
from vault.crypto import Plaintext
from vault.crypto.certificates import Identity, Role
from vault.crypto.node_seal import NodeKey
from vault.dispatcher.overlay_parts import OverlayPart, OverlayView
from vault.dispatcher.overlays import BUDGET, Overlays
from vault.dispatcher.service import Dispatcher
from vault.model.base import EPOCH
from vault.model.cluster import Cluster
from vault.model.ids import Kind
from vault.model.network import VXLAN_OPTION, IPAMConfig, IPAMOptions, Network, NetworkAttachment, NetworkSpec
from vault.model.node import Node, NodeDescription, NodeStatus
from vault.model.overlay import OverlayChange
from vault.model.secret import Driver
from vault.model.service import TaskSpec
from vault.model.task import ContainerStatus, State, Task, TaskStatus
from vault.network.overlay.state import EndpointKey, OverlayState
from vault.rpc.call import Call
from vault.rpc.messages import PROTOCOL, Assignments, FromManager, Heartbeat, Hello, Message, Welcome
from vault.rpc.pipe import local_call
from vault.store.changes import AnyObject, Atomic, Change, Put, kind_of
from vault.store.snapshot import Snapshot

TASKS_A_NODE = 5
KEY = NodeKey.generate().public()
NETWORK = Network(
    id="n" * 25,
    spec=NetworkSpec(name="wordpress_default"),
    driver_state=Driver(name="overlay", options={VXLAN_OPTION: "4097"}),
    ipam_options=IPAMOptions(configs=(IPAMConfig(subnet="10.0.0.0/16", gateway="10.0.0.1"),)),
)


class MemoryStore:
    """Snapshots in memory; implements `vault.dispatcher.stream.Store`."""

    def __init__(self) -> None:
        self.epoch = (1, 1)
        self.committed = Snapshot()
        self._changed = asyncio.Event()

    def put(self, *objects: AnyObject) -> None:
        """Commit objects as they are from now on."""
        olds = [self.committed.get(kind_of(obj), obj.id) for obj in objects]
        self._apply(
            [Put(replace(obj, version=old.version) if old else obj) for obj, old in zip(objects, olds, strict=True)]
        )

    async def submit(self, build: object) -> int:
        """Commit what is made of the newest snapshot."""
        if changes := build(self.committed):  # type: ignore[operator]
            self._apply(changes)
        return self.committed.index

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield the newest snapshot, again whenever it changed."""
        seen = None
        while True:
            if self.committed is not seen:
                seen = self.committed
                yield seen
            else:
                self._changed.clear()
                await self._changed.wait()

    async def value(self, kind: Kind, object_id: str) -> Plaintext:
        """Nobody asks for any."""
        raise LookupError(object_id)

    def _apply(self, changes: Sequence[Change | Atomic]) -> None:
        self.committed = self.committed.apply(changes, index=self.committed.index + 1, now_s=time.time())
        self._changed.set()


@dataclass
class Listener:
    """A node that keeps what it is told of networks."""

    node_id: str
    state: OverlayState = field(default_factory=OverlayState)
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    parts: OverlayChange | None = None

    async def run(self, call: Call) -> None:
        """Listen until cancelled."""
        await call.send(Hello(protocol=PROTOCOL, description=NodeDescription(hostname=self.node_id)))
        await call.receive(Welcome)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(call))
            while True:
                message: Message = await call.receive(FromManager)
                if isinstance(message, Assignments):
                    self._take(message)

    def serves(self, task_id: str, node_id: str) -> bool:
        """Whether it knows that a task serves."""
        overlay = self.state.get(NETWORK.id)
        found = overlay.endpoints.get(EndpointKey(task_id, node_id)) if overlay is not None else None
        return found is not None and found.serving

    def _take(self, message: Assignments) -> None:
        if message.overlay is not None:
            self.parts = merged(self.parts, message.overlay)
        if message.overlay_complete and self.parts is not None:
            self.state, self.parts = self.state.applied(self.parts), None
            self.taken.set()

    async def _beat(self, call: Call) -> None:
        while True:
            await asyncio.sleep(5.0)
            await call.send(Heartbeat(period_s=5.0))


class Counting:
    """The manager's end of a call, which counts what is sent of assignments."""

    def __init__(self, call: Call, world: "World") -> None:
        self._call, self._world = call, world
        self.peer, self.address, self.receive, self.close = call.peer, call.address, call.receive, call.close

    async def send(self, message: msgspec.Struct) -> None:
        """Count and send; encoding it costs the manager as much once more as it costs here."""
        if isinstance(message, Assignments):
            self._world.messages += 1
            begun = time.process_time()
            self._world.sent_bytes += len(msgspec.msgpack.encode(message))
            self._world.manager_s += time.process_time() - begun
        await self._call.send(message)


class Timed(Overlays):
    """The books, with a clock at what they cost."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    def look(self, snap: Snapshot, *, budget: int = BUDGET) -> bool:
        """Time the reading."""
        begun = time.process_time()
        done = super().look(snap, budget=budget)
        self._world.manager_s += time.process_time() - begun
        return done

    def change(self, view: OverlayView, node_id: str, room_bytes: int) -> OverlayPart:
        """Time the telling."""
        begun = time.process_time()
        part = super().change(view, node_id, room_bytes)
        self._world.manager_s += time.process_time() - begun
        return part


class World:
    """A swarm of one network, on which every node has tasks."""

    def __init__(self, nodes: int) -> None:
        self.names = [f"{number:025d}" for number in range(nodes)]
        self.store = MemoryStore()
        self.listeners = [Listener(name) for name in self.names]
        self.sent_bytes = self.messages = 0
        self.manager_s = 0.0  # Processor time.
        self._numbers = count()
        status = NodeStatus(state="ready", addr="192.0.2.1")
        self.store.put(
            Cluster(id="c" * 25), NETWORK, *(Node(id=name, status=status, seal_key=KEY) for name in self.names)
        )
        self.store.put(*(task for _ in range(TASKS_A_NODE) for task in self.tasks(nodes)))

    def tasks(self, number: int) -> list[Task]:
        """Return new tasks that run, on one node after the other."""
        return [self._task(index) for index in islice(self._numbers, number)]

    def _task(self, index: int) -> Task:
        address = f"10.0.{2 + index // 250}.{index % 250}/16"
        return Task(
            id=f"t{index:024d}",
            spec=TaskSpec(),
            service_id="s" * 25,
            service_name="wordpress_wordpress",
            slot=index + 1,
            node_id=self.names[index % len(self.names)],
            status=TaskStatus(state=State.RUNNING, container_status=ContainerStatus(container_id="c" * 64)),
            networks_attachments=(NetworkAttachment(network=NETWORK, addresses=(address,)),),
        )

    @asynccontextmanager
    async def led(self) -> AsyncIterator[None]:
        """Have a leader, and every node connected with it."""
        dispatcher = Dispatcher(self.store, monotonic=time.monotonic, now=time.time, confirm=_sure)
        dispatcher._overlays = Timed(self)

        async def serve(call: Call) -> None:
            await dispatcher.serve(Counting(call, self))  # type: ignore[arg-type]

        async def connect(listener: Listener) -> None:
            async with local_call(serve, _identity(listener.node_id)) as call:
                await listener.run(call)

        jobs = [asyncio.create_task(dispatcher.run())]
        jobs += [asyncio.create_task(connect(listener)) for listener in self.listeners]
        try:
            yield
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def known(self, tasks: Sequence[Task]) -> None:
        """Return once every node knows that these tasks serve."""
        for listener in self.listeners:
            while not all(listener.serves(task.id, task.node_id) for task in tasks):
                listener.taken.clear()
                await listener.taken.wait()

    async def quiet(self) -> None:
        """Wait until nothing is sent any more."""
        before = -1
        while before != self.messages:
            before = self.messages
            await asyncio.sleep(0.2)


@dataclass(kw_only=True)
class Figures:
    """What some rounds took."""

    seconds: list[float] = field(default_factory=list)
    sent_bytes: list[int] = field(default_factory=list)
    manager_s: list[float] = field(default_factory=list)

    def row(self, what: str, nodes: int) -> str:
        """Return a line of the table."""
        size, cpu = statistics.median(self.sent_bytes), "-"
        if self.manager_s:
            cpu = f"{statistics.median(self.manager_s) * 1000:.1f} ms"
        median_ms, longest_ms = statistics.median(self.seconds) * 1000, max(self.seconds) * 1000
        return (
            f"| {what} | {nodes} | {median_ms:,.0f} ms | {longest_ms:,.0f} ms "
            f"| {size / 1000:,.0f} kB | {size / nodes / 1000:.1f} kB | {cpu} |"
        )


async def _sure() -> None:
    """It leads, and knows."""


def _identity(node_id: str) -> Identity:
    return Identity(
        cluster_id="c" * 25, node_id=node_id, role=Role.WORKER, node_key=KEY, not_before=EPOCH, not_after=EPOCH
    )


@asynccontextmanager
async def measured(world: World, figures: Figures) -> AsyncIterator[None]:
    """Measure one round."""
    gc.collect()
    sent, manager_s, begun = world.sent_bytes, world.manager_s, time.perf_counter()
    yield
    figures.seconds.append(time.perf_counter() - begun)
    await world.quiet()
    figures.manager_s.append(world.manager_s - manager_s)
    figures.sent_bytes.append(world.sent_bytes - sent)


async def rounds(nodes: int, repeats: int) -> list[str]:
    """Measure with so many nodes; return the lines of the table."""
    world = World(nodes)
    full, one, many = Figures(), Figures(), Figures()
    every = list(world.store.committed.tasks.values())
    for _ in range(3):
        for listener in world.listeners:
            listener.state = OverlayState()
        async with measured(world, full), world.led():
            await world.known(every)
    async with world.led():
        await world.known(every)
        await world.quiet()
        for number, figures in ((1, one), (100, many)):
            for _ in range(repeats):
                tasks = world.tasks(number)
                async with measured(world, figures):
                    world.store.put(*tasks)
                    await world.known(tasks)
                world.store.put(*(replace(task, status=TaskStatus(state=State.SHUTDOWN)) for task in tasks))
                await world.quiet()
    return [
        one.row("1 new endpoint", nodes),
        many.row("100 new endpoints", nodes),
        full.row(f"a new leader: full sets of {len(every):,} endpoints", nodes),
        gossiped(nodes, repeats).row("1 new endpoint by gossip, simulated", nodes),
    ]


def gossiped(nodes: int, repeats: int) -> Figures:
    """Return what gossip would take."""
    found = [spread(nodes, Random(seed)) for seed in range(repeats)]  # noqa: S311  It spreads news, not secrets.
    return Figures(
        seconds=[seconds for seconds, _ in found], sent_bytes=[packets * PACKET_BYTES for _, packets in found]
    )


@click.command()
@click.option("--nodes", multiple=True, type=int, default=(5, 200), help="How many; may be given more than once.")
@click.option("--repeats", default=30, help="Rounds of each.")
def main(nodes: tuple[int, ...], repeats: int) -> None:
    """Print what it costs to tell nodes of overlay endpoints, and how long it takes."""
    logging.disable()
    click.echo("| told | nodes | last node, median | longest | bytes sent | a node | processor time of the manager |")
    click.echo("|---|---|---|---|---|---|---|")
    for number in nodes:
        for line in asyncio.run(rounds(number, repeats)):
            click.echo(line)


if __name__ == "__main__":
    main()

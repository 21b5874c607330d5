"""Leaders and nodes under faults, in virtual time, driven by nothing but a seed; every message is checked.

What may happen: tasks come, end and go, secrets and services too; calls break and lose what was under way; links go
silent; leaders change, and one of the past goes on for a while; a message is lost without a word; somebody uses a
stolen certificate.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import msgspec

from tests.agent.net import Member, Memory, Net
from tests.dispatcher import overlay_world
from tests.dispatcher.overlay_world import INGRESS, network, service
from tests.dispatcher.world import FakeStore, Lead, cluster, identity, node, secret, task
from tests.virtual import loop
from vault.dispatcher.assignments import NodeView, difference
from vault.model.errors import DiskFull, VaultError
from vault.model.ids import Kind
from vault.model.node import NodeDescription
from vault.model.task import State
from vault.rpc.call import Call, Handler
from vault.rpc.errors import CallBroken
from vault.rpc.messages import PROTOCOL, SESSION, Assignments, FromManager, Hello, Message
from vault.rpc.pipe import local_call
from vault.store.snapshot import Snapshot

NODES = ("n0", "n1", "n2", "n3")
SECRETS = tuple(f"s{number}" for number in range(6))
NETWORKS = (network("front", 1), network("back", 2), network(INGRESS, 0))
ADDRESSES = ("a", "b", "c")


def allowed(snap: Snapshot, node_id: str) -> set[tuple[Kind, str]]:
    """Return what a node may hold, found the slow way: by looking at every task."""
    held = set()
    for one in snap.tasks.values():
        wanted = one.desired_state <= State.RUNNING or one.status.state >= State.STARTING
        if one.node_id == node_id and State.ASSIGNED <= one.status.state <= State.RUNNING and wanted:
            held |= {(Kind.SECRET, ref.secret_id) for ref in one.spec.container_spec.secrets}
    return {(kind, secret_id) for kind, secret_id in held if secret_id in snap.secrets}


class Told:
    """The manager's end of a call; checks what is sent."""

    def __init__(self, call: Call, store: FakeStore, moments: list[tuple[float, Snapshot]]) -> None:
        self._call, self._store, self._moments = call, store, moments
        self._known: set[str] = set()  # Networks.
        self.peer, self.address = call.peer, call.address
        self.receive, self.close = call.receive, call.close

    async def send(self, message: msgspec.Struct) -> None:
        if isinstance(message, Assignments):
            assert self.peer is not None
            recent = [snap for at_s, snap in self._moments if at_s >= loop().time() - 0.2] + [self._store.committed]
            for sealed in message.put_values:
                assert any((sealed.kind, sealed.id) in allowed(snap, self.peer.node_id) for snap in recent), sealed
            assert all(one.node_id == self.peer.node_id for one in message.put_tasks)
            self._check_networks(message, recent)
        await self._call.send(message)

    def _check_networks(self, message: Assignments, recent: list[Snapshot]) -> None:
        """A node hears of networks it has a task on, and of each before the task."""
        assert self.peer is not None
        if (overlay := message.overlay) is not None:
            told = {one.id for one in overlay.put_networks}
            told |= {one.network_id for one in (*overlay.put_endpoints, *overlay.put_services)}
            may = {one.network.id for snap in recent for one in overlay_world.expected(snap, self.peer.node_id)}
            assert told <= may, told - may
            self._known = (set() if overlay.full else self._known) - set(overlay.remove_networks) | told
        if message.put_tasks:
            assert message.overlay_complete
        for one in message.put_tasks:
            if State.ASSIGNED <= one.status.state <= State.RUNNING:
                assert {place.network.id for place in one.networks_attachments} <= self._known


class Link(Net):
    """One node's network, with faults."""

    def __init__(self, node_id: str, world: "World") -> None:
        super().__init__(node_id)
        self.world = world
        self.broken: asyncio.Event = asyncio.Event()
        self.lose = 0.0  # Chance that a message is lost without a word.
        self.lost = 0
        self.gap = False  # One was lost and no full set came since.

    @asynccontextmanager
    async def dial(self, address: str, method: str) -> AsyncIterator[Call]:
        async with super().dial(address, method) as call:
            yield Faulty(call, self, address) if method == SESSION else call  # type: ignore[misc]

    def handler(self, lead: Lead, method: str) -> Handler:
        serve = super().handler(lead, method)

        async def handle(call: Call) -> None:
            await serve(Told(call, lead.store, self.world.moments))  # type: ignore[arg-type]

        return handle


class Faulty:
    """The node's end of a session: it may break at any moment, and then what had arrived is lost."""

    def __init__(self, call: Call, link: Link, address: str) -> None:
        self._call, self._link, self._broken = call, link, link.broken
        self._noticed = False  # A message came that does not follow the one before: the session has to end.
        self.peer, self.address = call.peer, address
        self.close = call.close

    async def send(self, message: msgspec.Struct) -> None:
        if self._broken.is_set():
            raise CallBroken(self.address, "reset")
        await self._call.send(message)

    async def receive(self, type_: object) -> Message:
        while True:
            if self._broken.is_set():
                raise CallBroken(self.address, "reset")
            got: Message = await self._call.receive(type_)  # type: ignore[arg-type]
            if not isinstance(got, Assignments):
                return got
            if self._link.world.random.random() < self._link.lose:
                self._link.lost += 1
                self._link.gap = True
                continue
            assert not self._noticed, "a message was taken after a gap"
            if got.full:
                self._link.gap = False
            self._noticed = self._link.gap
            self._link.world.arrived.append((self._link.node_id, got))
            return got


class World:
    """A cluster of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.store = FakeStore(cluster(1.0), *(node(name) for name in NODES), *(secret(name) for name in SECRETS))
        self.store.put(*NETWORKS)
        self.links = {name: Link(name, self) for name in NODES}
        self.members = {name: Member(link, Memory(*ADDRESSES), seed) for name, link in self.links.items()}
        self.moments: list[tuple[float, Snapshot]] = []
        self.arrived: list[tuple[str, Assignments]] = []
        self.leads: dict[str, Lead] = {}
        self.leader = ""
        self.count = 0
        apply = self.store.apply

        def noting(changes) -> None:  # type: ignore[no-untyped-def]
            self.moments.append((loop().time(), self.store.committed))
            apply(changes)

        self.store.apply = noting  # type: ignore[method-assign]

    async def __aenter__(self) -> "World":
        for member in self.members.values():
            await member.__aenter__()
        await self.elect()
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self.members.values():
            await member.__aexit__()
        for lead in self.leads.values():
            await lead.lose()

    async def elect(self, *, ghost: bool = False) -> None:
        """Let another manager lead; the one before may go on for a while, with what it knew."""
        if self.leader and ghost:
            past = self.leads[self.leader]
            frozen = FakeStore.__new__(FakeStore)
            frozen.__dict__ |= self.store.__dict__
            frozen.refuse = DiskFull()
            past.store = past.dispatcher._store = past.dispatcher._writer._store = frozen
            for session in past.dispatcher._sessions.values():
                session._stream._store = frozen
        elif self.leader:
            await self.leads.pop(self.leader).lose()
        self.leader = self.random.choice([name for name in ADDRESSES if name not in self.leads] or [self.leader])
        if self.leader in self.leads:
            await self.leads.pop(self.leader).lose()
        self.store.epoch = (1, self.store.epoch[1] + 1)
        self.leads[self.leader] = await Lead(self.store).__aenter__()
        for link in self.links.values():
            link.leads = self.leads  # type: ignore[assignment]
            link.follows = {name: ("m", self.leader) for name in ADDRESSES if name not in self.leads}

    async def act(self, choices: str = "tttttddddxxsrvbbcclgez") -> None:
        """Let one thing happen."""
        random, store = self.random, self.store
        tasks = list(store.committed.tasks.values())
        match random.choice(choices):
            case "t" if len(tasks) < 40:
                self.count += 1
                uses = tuple(name for name in random.sample(SECRETS, 2) if name in store.committed.secrets)
                on = overlay_world.attached(
                    "t", "n", *random.sample(NETWORKS, random.randrange(3)), host=self.count % 250
                )
                fields = {"networks_attachments": on.networks_attachments, "service_id": "v1", "service_name": "web"}
                store.put(task(f"t{self.count}", random.choice(NODES), secrets=uses, slot=1, **fields))
            case "d" if tasks:
                one = random.choice(tasks)
                desired = random.choice((State.SHUTDOWN, State.REMOVE))
                store.put(msgspec.structs.replace(one, desired_state=max(desired, one.desired_state)))
            case "x" if tasks:
                store.delete(Kind.TASK, random.choice(tasks).id)
            case "s":
                name = random.choice(SECRETS)
                if name in store.committed.secrets:
                    store.delete(Kind.SECRET, name)
                else:
                    store.put(secret(name))
            case "v":
                name = random.choice(("v1", "v2"))
                if name in store.committed.services:
                    store.delete(Kind.SERVICE, name)
                else:
                    on = random.sample(NETWORKS, 2)
                    store.put(service(name, *on, ports=(8080,) if NETWORKS[2] in on else ()))
            case "r":  # A container ends by itself.
                member = self.members[random.choice(NODES)]
                if member.executor.running:
                    member.executor.end(random.choice(list(member.executor.running)), random.choice((0, 1)))
            case "b":
                link = self.links[random.choice(NODES)]
                link.broken.set()
                link.broken = asyncio.Event()
            case "c":
                link = self.links[random.choice(NODES)]
                link.cut ^= {random.choice(ADDRESSES)}
            case "l":
                self.links[random.choice(NODES)].lose = random.choice((0.0, 0.3))
            case "g":
                await self.elect(ghost=True)
            case "e":
                await self.elect()
            case "z":
                await self.steal(random.choice(NODES))

    async def steal(self, node_id: str) -> None:
        """Use a node's certificate from elsewhere; what is sent is checked like everything."""
        handler = self.links[node_id].handler(self.leads[self.leader], SESSION)
        try:
            async with asyncio.timeout(0.5), local_call(handler, identity(node_id)) as call:
                await call.send(Hello(protocol=PROTOCOL, description=NodeDescription(hostname="n0")))
                while True:
                    await call.receive(FromManager)
        except (VaultError, TimeoutError):
            return

    async def settle(self) -> None:
        """Let people change their minds for a while, and nothing else happen."""
        for _ in range(20):
            await self.act("tdxsrv")
            await asyncio.sleep(self.random.choice((0.0, 0.5)))

    async def heal(self) -> None:
        """End every fault, and let one leader be."""
        for link in self.links.values():
            link.cut.clear()
            link.lose = 0.0
        for name in list(self.leads):
            await self.leads.pop(name).lose()
        self.leader = ""
        await self.elect()

    def check(self) -> None:
        """Everything is as the store says, and the store knows everything."""
        snap = self.store.committed
        for name, member in self.members.items():
            assert member.connection.leader == self.leader
            assert snap.nodes[name].status.state == "ready"
            assigned = {one.id: one for one in snap.tasks_on(name)}
            assert member.worker.runners.keys() == assigned.keys()
            assert member.worker.machine.values._kept.keys() == allowed(snap, name)
            for task_id, runner in member.worker.runners.items():
                assert assigned[task_id].state is runner.local.state, (name, task_id)
                assert runner.local.task.desired_state is assigned[task_id].desired_state
            assert difference(NodeView(), snap, name)[0].values.keys() == allowed(snap, name)
            assert not self.links[name].gap
            assert member.networks.told == overlay_world.expected(snap, name)

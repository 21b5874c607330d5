"""A network between one node's agent and managers: each leads, follows, is down, or is cut off without a word."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import msgspec

from tests.agent.fakes import World
from tests.dispatcher.world import Lead, identity, open_sealed
from vault.agent.connection import Connection, Node
from vault.agent.values import Values
from vault.model.node import NodeDescription
from vault.rpc.call import Call, Handler
from vault.rpc.errors import CannotReach, NotLeader
from vault.rpc.messages import SESSION, ManagerAddress, Message
from vault.rpc.pipe import local_call


class Wire:
    """One call, until it is cut: then nothing arrives any more and nobody is told."""

    def __init__(self, call: Call, net: "Net", address: str) -> None:
        self._call = call
        self._net = net
        self._address = address
        self.peer = call.peer
        self.address = address

    async def send(self, message: msgspec.Struct) -> None:
        if self._address in self._net.cut:
            await asyncio.Event().wait()
        await self._call.send(message)

    async def receive(self, type_: object) -> Message:
        message: Message = await self._call.receive(type_)  # type: ignore[arg-type]
        self._net.seen.append(message)
        if self._address in self._net.cut:
            await asyncio.Event().wait()
        return message

    async def close(self) -> None:
        await self._call.close()


class Net:
    """Managers by their address."""

    def __init__(self, node_id: str = "n1") -> None:
        self.node_id = node_id
        self.leads: dict[str, Lead] = {}
        self.follows: dict[str, tuple[str, str]] = {}  # Address -> leader and its address, as it knows.
        self.others: dict[str, Handler] = {}  # What else answers at an address.
        self.cut: set[str] = set()
        self.seen: list[Message] = []  # What the node received.
        self.dialled: list[str] = []

    @asynccontextmanager
    async def dial(self, address: str, method: str) -> AsyncIterator[Call]:
        if method == SESSION:
            self.dialled.append(address)
        if address in self.cut:
            await asyncio.Event().wait()
        if address in self.leads:
            handler = self.handler(self.leads[address], method)
        elif address in self.follows:
            handler = self._refuse(address)
        elif address in self.others:
            handler = self.others[address]
        else:
            raise CannotReach(address, "connection refused")
        async with local_call(handler, identity(self.node_id)) as call:
            yield Wire(call, self, address)  # type: ignore[misc]

    def handler(self, lead: Lead, method: str) -> Handler:
        """Return what a leader serves a call with."""
        return lead.dispatcher.serve if method == SESSION else lead.dispatcher.serve_logs

    def _refuse(self, address: str) -> Handler:
        async def handler(_: Call) -> None:
            raise NotLeader(*self.follows[address])

        return handler


class Memory:
    """What the node remembers."""

    def __init__(self, *addresses: str) -> None:
        self.epoch = (0, 0)
        self.managers = tuple(ManagerAddress(node_id=address, addr=address) for address in addresses)

    async def remember_epoch(self, epoch: tuple[int, int]) -> None:
        self.epoch = epoch

    async def remember_managers(self, managers: tuple[ManagerAddress, ...]) -> None:
        self.managers = managers


class Member(World):
    """A worker with fakes around it, connected."""

    def __init__(self, net: Net, memory: Memory, seed: int = 1) -> None:
        super().__init__()
        self.net = net
        self.memory = memory
        self.ok: bool | None = None
        self.announced: list[object] = []
        self.description = NodeDescription(hostname=net.node_id)
        object.__setattr__(self.worker.machine, "values", Values(open_sealed(net.node_id)))
        self.connection = Connection(
            self.worker,
            dial=net.dial,
            memory=memory,
            node=Node(
                description=lambda: self.description, manager_ok=lambda: self.ok, announced=self.announced.append
            ),
            random=Random(seed),
        )

    async def __aenter__(self) -> "Member":
        self._jobs = [asyncio.create_task(self.worker.run()), asyncio.create_task(self.connection.run())]
        self.connecting = self._jobs[1]
        return self

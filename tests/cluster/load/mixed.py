"""A load of every operation on few secrets, shared by all clients: what the checker of single secrets needs.

Bounded in rate, in operations, and in how often one secret is touched and left in doubt, since the checker's work grows
with both; then its name is left alone, and another takes its place.
"""

import asyncio
from dataclasses import dataclass

from tests.cluster.checker.history import Kind, Operation, Outcome
from tests.cluster.load.recorder import Client, Recorder

TOUCHED_MAX = 80
DOUBTS_MAX = 5
MOVES = 0.1  # How often a client goes to another manager though its own answers.
PAUSE_S = 0.2  # After a refusal.


@dataclass(slots=True)
class Known:
    """What clients know of one name."""

    key: str
    id: str = ""
    version: int = 0
    touched: int = 0
    doubts: int = 0


class Mixed:
    """The load; `run` it as a task, `stop` it, and `settle` when faults are over."""

    def __init__(
        self, recorder: Recorder, *, clients: int = 6, keys: int = 5, rate: float = 60.0, operations_max: int = 20_000,
        prefix: str = "m",
    ) -> None:  # fmt: skip
        self.recorder = recorder
        self._clients = [Client(recorder, number) for number in range(clients)]
        self._pause_s = clients / rate
        self._left = operations_max
        self._prefix = prefix
        self._names = 0
        self._labels = 0
        self._stopping = False
        self._live = [self._new() for _ in range(keys)]
        self.keys: list[str] = [known.key for known in self._live]

    async def run(self) -> None:
        """Run until stopped, or all operations are spent."""
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(self._work(client))

    def stop(self) -> None:
        """End after the requests that are under way."""
        self._stopping = True

    async def settle(self, *, timeout_s: float = 60.0) -> list[str]:
        """Read every secret through every manager; return the managers that never answered in that time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        silent = []
        for node in self.recorder.nodes:
            for key in self.keys:
                while (await self._clients[0].read(node, key)).outcome in (Outcome.UNKNOWN, Outcome.REFUSED):
                    if loop.time() > deadline:
                        silent.append(node)
                        break
                    await asyncio.sleep(0.1)
                if node in silent:
                    break
        for client in self._clients:
            client.close()
        return silent

    def _new(self) -> Known:
        self._names += 1
        return Known(f"{self._prefix}-{self._names:05d}")

    async def _work(self, client: Client) -> None:
        chance, nodes = self.recorder.chance, list(self.recorder.nodes)
        node = nodes[client.number % len(nodes)]
        while not self._stopping and self._left > 0:
            self._left -= 1
            place = chance.randrange(len(self._live))
            known = self._live[place]
            one = await self._one(client, node, known)
            self._learn(known, one)
            if (known.touched >= TOUCHED_MAX or known.doubts >= DOUBTS_MAX) and self._live[place] is known:
                self._live[place] = self._new()
                self.keys.append(self._live[place].key)
            failed = one.outcome in (Outcome.REFUSED, Outcome.UNKNOWN)
            if failed or chance.random() < MOVES:
                node = chance.choice(nodes)
            await asyncio.sleep(PAUSE_S if failed else chance.expovariate(1 / self._pause_s))

    async def _one(self, client: Client, node: str, known: Known) -> Operation:
        chance = self.recorder.chance
        dice = chance.random()
        by = known.id if chance.random() < 0.4 else ""
        self._labels += 1
        label = f"{client.number}-{self._labels}"
        if dice < 0.25:
            return await client.create(node, known.key, label)
        if dice < 0.45 and known.version:
            return await client.update(node, known.key, label, by=known.id, version=known.version)
        if dice < 0.57:
            return await client.remove(node, known.key, by=by)
        return await client.read(node, known.key, by=by)

    @staticmethod
    def _learn(known: Known, one: Operation) -> None:
        known.touched += 1
        known.doubts += one.kind is not Kind.READ and one.outcome is Outcome.UNKNOWN
        if one.outcome is Outcome.DONE and one.kind is Kind.READ:
            known.id, known.version = one.id, one.index
        elif one.outcome is Outcome.DONE and one.kind is Kind.CREATE:
            known.id, known.version = one.id, 0

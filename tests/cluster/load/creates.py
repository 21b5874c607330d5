"""A load of creates only, each name once: for what was acknowledged, and for times of fail-over."""

import asyncio
import time
from dataclasses import dataclass

from tests.cluster.checker.history import Operation, Outcome
from tests.cluster.checker.verdict import lost
from tests.cluster.load.recorder import Client, Recorder

PAUSE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What became of the creates."""

    acknowledged: int
    refused: int
    unknown: int
    unknown_there: int


class Creates:
    """The load; `run` it as a task, `stop` it, `check` when faults are over."""

    def __init__(
        self, recorder: Recorder, *, clients: int = 4, creates_max: int = 20_000, size_bytes: int = 256,
        pause_s: float = PAUSE_S, prefix: str = "c",
    ) -> None:  # fmt: skip
        self.recorder = recorder
        self._clients = [Client(recorder, 100 + number) for number in range(clients)]
        self._left, self._size_bytes, self._pause_s, self._prefix = creates_max, size_bytes, pause_s, prefix
        self._stopping = False

    @property
    def history(self) -> list[Operation]:
        """Its own part of the history."""
        return [one for one in self.recorder.history if one.key.startswith(f"{self._prefix}-")]

    async def run(self) -> None:
        """Run until stopped, or all creates are spent; each client stays with one manager while that one answers."""
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(self._work(client))

    def stop(self) -> None:
        """End after the requests that are under way."""
        self._stopping = True

    async def _work(self, client: Client) -> None:
        chance = self.recorder.chance
        turn = client.number
        while not self._stopping and self._left > 0:
            nodes = list(self.recorder.nodes)
            self._left -= 1
            name = f"{self._prefix}-{self._left:06d}"
            one = await client.create(nodes[turn % len(nodes)], name, name, size_bytes=self._size_bytes)
            if one.outcome is not Outcome.DONE:
                turn += 1
            await asyncio.sleep(self._pause_s * chance.random() * 2)

    async def until_acknowledged(self, *, after_ns: int, timeout_s: float) -> float | None:
        """Return seconds from `after_ns` until a create that began later was acknowledged; None if none was in time."""
        deadline = time.monotonic() + timeout_s
        start = len(self.recorder.history)
        while time.monotonic() < deadline:
            for one in self.recorder.history[start:]:
                start += 1
                if one.called_ns > after_ns and one.outcome is Outcome.DONE and one.client >= 100:
                    return (one.returned_ns - after_ns) / 1e9
            await asyncio.sleep(0.01)
        return None

    async def check(self, *, timeout_s: float = 60.0) -> tuple[list[str], Count]:
        """Ask every manager for all names; return what is lost or there though refused, and the counts."""
        deadline = time.monotonic() + timeout_s
        there: dict[str, dict[str, str]] = {}
        silent = []
        for node in self.recorder.nodes:
            names = await self._clients[0].names(node, f"{self._prefix}-")
            while names is None and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
                names = await self._clients[0].names(node, f"{self._prefix}-")
            if names is None:
                silent.append(f"{node} did not list its secrets within {timeout_s:.0f} s")
            else:
                there[node] = names
        for client in self._clients:
            client.close()
        history = self.history
        doubtful = [one for one in history if one.outcome is Outcome.UNKNOWN]
        return [*silent, *lost(history, there)], Count(
            acknowledged=sum(one.outcome is Outcome.DONE for one in history),
            refused=sum(one.outcome is Outcome.REFUSED for one in history),
            unknown=len(doubtful),
            unknown_there=sum(any(one.key in names for names in there.values()) for one in doubtful),
        )

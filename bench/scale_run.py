"""One run of a thousand simulated nodes against one manager, step by step; each step is checked when it ends.

Called by `bench.scale`.  Not pure: it joins nodes, creates services and lets nodes die.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from bench.client import Connection, Failed
from bench.cluster_cases import Measured
from bench.machine import cpu_s
from bench.scale_nodes import Ledger, SimulatedNode, all_joined
from bench.subjects import Subject

ADDRESS: Final = "127.0.0.1:2377"
LIMIT_S: Final = 300.0
LOOK_S: Final = 0.1
SAY_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much there is of everything."""

    nodes: int
    tasks: int
    services: int
    dying: int
    steady_s: float = 30.0  # How long nothing changes.
    large: bool = True  # Whether one service of all tasks is created and removed, too.


class Manager:
    """The vaultd that is measured, asked without holding up the nodes."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """Make a request on a connection of its own."""

        def call() -> Any:
            connection = Connection(str(self.subject.socket))
            try:
                return connection.json(method, path, body)
            finally:
                connection.close()

        return await asyncio.to_thread(call)

    def processor_s(self) -> float:
        """Return the processor time it has used."""
        return cpu_s([self.subject.pid])

    def memory_mb(self) -> float:
        """Return its resident memory."""
        lines = Path(f"/proc/{self.subject.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024

    async def down(self) -> dict[str, float]:
        """Return the nodes that it has declared down, and when, by its log: seconds since 1970."""
        text = await asyncio.to_thread((self.subject.root / "log").read_text, errors="replace")
        found = {}
        for line in text.splitlines():
            if " node_silent " in line:
                found[line.partition("node_id=")[2].split()[0]] = _epoch_s(line.split()[0])
        return found


def _epoch_s(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


class Scale:
    """One run."""

    def __init__(self, manager: Manager, size: Size, measured: Measured, say: Callable[[str], None]) -> None:
        self.manager = manager
        self.ledger = Ledger()
        random = Random(1)  # noqa: S311  It spreads heartbeats.
        self.nodes = [SimulatedNode(number, self.ledger, random) for number in range(size.nodes)]
        self.tasks, self.services, self.dying = size.tasks, size.services, size.dying
        self.steady_s, self.large = size.steady_s, size.large
        self.measured = measured
        self._say = say
        self._jobs: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Measure everything once."""
        try:
            await self._join()
            await self._assign()
            if self.steady_s:
                await self._steady()
            if self.dying:
                await self._die()
            await self._remove([f"s{n}" for n in range(self.services)], "services removed", "their tasks gone")
            if self.large:
                await self._create_large()
                await self._remove(["large"], "one service of all tasks removed", "all of its tasks gone")
        finally:
            for job in self._jobs.values():
                job.cancel()
            await asyncio.gather(*self._jobs.values(), return_exceptions=True)

    async def _join(self) -> None:
        tokens = (await self.manager.ask("GET", "/swarm"))["JoinTokens"]
        await self._drain_itself()
        begun = time.monotonic()
        await all_joined(self.nodes, tokens["Worker"], ADDRESS)
        self._note("nodes joined", time.monotonic() - begun)
        begun = time.monotonic()
        for node in self.nodes:
            self._jobs[node.node_id] = asyncio.create_task(node.run(ADDRESS))
        async with asyncio.timeout(LIMIT_S):
            for node in self.nodes:
                await node.welcomed.wait()
        self._note("sessions open", time.monotonic() - begun)
        await self._until_ready()

    async def _drain_itself(self) -> None:
        """Keep tasks off the manager: only simulated nodes are to have any."""
        for node in await self.manager.ask("GET", "/nodes"):
            spec = node["Spec"] | {"Availability": "drain"}
            await self.manager.ask("POST", f"/nodes/{node['ID']}/update?version={node['Version']['Index']}", spec)

    async def _until_ready(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while True:
                nodes = await self.manager.ask("GET", "/nodes")
                if sum(node["Status"]["State"] == "ready" for node in nodes) > len(self.nodes):
                    return
                await asyncio.sleep(1)

    async def _assign(self) -> None:
        """Create the services; wait until every task is at its node, and until every one of them is said to run."""
        before, begun = self.manager.processor_s(), time.monotonic()
        each, rest = divmod(self.tasks, self.services)
        for number in range(self.services):
            await self.manager.ask("POST", "/services/create", _service(f"s{number}", each + (number < rest)))
        await self._until(self._all_filled, "tasks assigned")
        self._note("tasks assigned", max(self.ledger.at_s.values()) - begun)
        await self._until(self._all_running, "tasks running")
        await self._until_counted()
        self._note("tasks known to run", time.monotonic() - begun)
        self._note("manager's processor time for it", self.manager.processor_s() - before)
        self._note("memory with every task", self.manager.memory_mb())
        self._check()

    async def _until_counted(self) -> None:
        """Wait until the manager itself counts every task as running."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                listed = await self.manager.ask("GET", "/services?status=true")
                if sum(service["ServiceStatus"]["RunningTasks"] for service in listed) == self.tasks:
                    return
                await asyncio.sleep(0.5)

    def _all_filled(self) -> bool:
        return self.ledger.filled() == self.tasks

    async def _steady(self) -> None:
        before, begun = self.manager.processor_s(), time.monotonic()
        await asyncio.sleep(self.steady_s)
        self._note(
            "cores in use when nothing changes", (self.manager.processor_s() - before) / (time.monotonic() - begun)
        )
        self._note("memory when nothing changes", self.manager.memory_mb())

    async def _die(self) -> None:
        """Let nodes die at one moment; measure from each node's being declared down to its tasks' being elsewhere."""
        dead, living = self.nodes[: self.dying], self.nodes[self.dying :]
        lost = {(held.task.service_id, held.task.slot): node.node_id for node in dead for held in node.tasks.values()}
        begun, begun_at = time.monotonic(), time.time()
        for node in dead:
            node.die()
            self._jobs[node.node_id].cancel()
        await self._until(self._all_filled, "tasks placed again")
        down = await self.manager.down()
        detected = {node.node_id: begun + down[node.node_id] - begun_at for node in dead}
        after = [self.ledger.at_s[slot] - detected[node_id] for slot, node_id in lost.items()]
        self._note("dead nodes declared down, last of them", max(detected.values()) - begun)
        self._note("task placed again after that, median", statistics.median(after))
        self._note("task placed again after that, last of them", max(after))
        await self._until(self._all_running, "tasks running again")
        await self._until_counted()
        self._check()
        if sum(len(node.tasks) for node in living) < self.tasks:
            raise Failed("living nodes hold fewer tasks than there are")

    async def _create_large(self) -> None:
        """Create one service of as many tasks as there were, and wait until all run."""
        before, begun = self.manager.processor_s(), time.monotonic()
        self.ledger.at_s.clear()
        await self.manager.ask("POST", "/services/create", _service("large", self.tasks))
        await self._until(self._all_filled, "tasks of the large service assigned")
        self._note("tasks of one service assigned", max(self.ledger.at_s.values()) - begun)
        await self._until(self._all_running, "tasks of the large service running")
        await self._until_counted()
        self._note("manager's processor time for one service", self.manager.processor_s() - before)
        self._check()

    async def _remove(self, names: list[str], removed: str, gone: str) -> None:
        """Remove services; wait until no living node has a task and the manager shows only those of dead ones."""
        living = self.nodes[self.dying :]
        before, begun = self.manager.processor_s(), time.monotonic()
        for name in names:
            await self.manager.ask("DELETE", f"/services/{name}")
        self._note(removed, time.monotonic() - begun)
        await self._until(lambda: not any(node.tasks for node in living), "tasks gone")
        self._note(gone, time.monotonic() - begun)
        self._note(f"manager's processor time until {gone}", self.manager.processor_s() - before)
        nodes = {node.node_id for node in living}
        if left := [task for task in await self.manager.ask("GET", "/tasks") if task.get("NodeID") in nodes]:
            raise Failed(f"{len(left)} tasks of removed services are left")

    def _all_running(self) -> bool:
        return len(self.ledger.running) == self.tasks

    async def _until(self, true: Callable[[], bool], what: str) -> None:
        begun = said = time.monotonic()
        while not true():
            await asyncio.sleep(LOOK_S)
            if time.monotonic() - said > 5:
                said = time.monotonic()
                self._say(f"waiting for {what}: {self.ledger.filled()} filled, {len(self.ledger.running)} running")
            if time.monotonic() - begun > LIMIT_S:
                raise Failed(f"{what}: {self.ledger.filled()} of {self.tasks} slots are filled after {LIMIT_S:.0f} s")

    def _check(self) -> None:
        """Raise `Failed` when a task is missing or doubled."""
        if doubled := self.ledger.doubled():
            raise Failed(f"{len(doubled)} slots have more than one task: {doubled[:3]}")
        if (filled := self.ledger.filled()) != self.tasks:
            raise Failed(f"{self.tasks - filled} tasks are missing")

    def _note(self, measure: str, figure: float) -> None:
        self._say(f"{measure}: {figure:.3f}")
        self.measured.add(measure, figure)


def _service(name: str, replicas: int) -> dict[str, Any]:
    return {
        "Name": name,
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox:latest", "Command": ["sleep", "infinity"]}},
        "Mode": {"Replicated": {"Replicas": replicas}},
    }

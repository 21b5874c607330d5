"""The same conversation over real connections: certificates say who is who."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.agent.net import Member, Memory, Net
from tests.dispatcher import world
from tests.dispatcher.world import FakeStore, cluster, node, secret, task
from tests.rpc.cluster import Cluster as Authority
from tests.rpc.cluster import client_of, serving
from vault.agent.logs import LogLine, LogQuery
from vault.crypto.certificates import Role
from vault.dispatcher.service import Dispatcher
from vault.model.ids import Kind
from vault.model.task import State
from vault.rpc.call import Call
from vault.rpc.client import Client
from vault.rpc.messages import LOGS, SESSION, NodeRemoved
from vault.rpc.messages import LogQuery as Asked

N1, N2 = "1" * 25, "2" * 25
SWARM = Authority(cluster_id=world.CLUSTER)


class Line(Net):
    """A node's real connection."""

    def __init__(self, node_id: str, client: Client) -> None:
        super().__init__(node_id)
        self._client = client

    @asynccontextmanager
    async def dial(self, address: str, method: str) -> AsyncIterator[Call]:
        async with self._client.call(address, method) as call:
            yield call


async def _sure() -> None:
    pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def played(story: Callable[[FakeStore, Dispatcher, str, Client], Awaitable[None]]) -> None:
    async def main() -> None:
        store = FakeStore(cluster(1.0), node(N1), node(N2), secret("s1"))
        store.put(task("t1", N1, secrets=("s1",)))
        dispatcher = Dispatcher(store, monotonic=time.monotonic, now=time.time, confirm=_sure)
        running = asyncio.create_task(dispatcher.run())
        handlers = {SESSION: dispatcher.serve, LOGS: dispatcher.serve_logs}
        credentials = SWARM.credentials(Role.WORKER, N1)
        async with serving(handlers, SWARM.manager()) as (_, address), client_of(credentials) as client:
            await story(store, dispatcher, address, client)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_a_task_runs_with_its_secret_and_its_log_is_read_over_tls() -> None:
    async def logs(task_id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        for number in range(3000):
            yield LogLine(at_ns=number, stream="stdout", data=b"x" * 100)

    async def story(store: FakeStore, dispatcher: Dispatcher, address: str, client: Client) -> None:
        async with Member(Line(N1, client), Memory(address)) as member:
            member.executor.logs = logs  # type: ignore[attr-defined]
            await until(lambda: store.committed.tasks["t1"].state is State.RUNNING)
            secrets, _, _ = member.executor.prepared["t1"]
            assert secrets["s1"].reveal() == b"value of s1"
            assert store.committed.nodes[N1].status.addr == "127.0.0.1"
            lines = [line.at_ns async for line in dispatcher.logs.lines("t1", N1, Asked())]
            assert lines == list(range(3000))

    played(story)


def test_a_node_removed_from_the_swarm_hears_of_it_over_tls() -> None:
    async def story(store: FakeStore, dispatcher: Dispatcher, address: str, client: Client) -> None:
        async with Member(Line(N1, client), Memory(address)) as member:
            await until(lambda: store.committed.tasks["t1"].state is State.RUNNING)
            store.delete(Kind.NODE, N1)
            with pytest.raises(NodeRemoved):
                await member.connecting
            assert member.executor.running == {}

    played(story)


def test_a_certificate_of_one_node_never_gets_the_data_of_another_over_tls() -> None:
    async def story(store: FakeStore, dispatcher: Dispatcher, address: str, _: Client) -> None:
        stolen = client_of(SWARM.credentials(Role.WORKER, N2))
        async with stolen as client, Member(Line(N1, client), Memory(address)) as thief:  # It says that it is N1.
            await until(lambda: bool(thief.connection.leader))
            await asyncio.sleep(0.1)
            assert dispatcher.connected == {N2}
            assert thief.worker.runners == {}
            assert len(thief.worker.machine.values) == 0

    played(story)

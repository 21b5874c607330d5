"""The same conversation over real connections: certificates say who is who."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from tests.agent.net import Member, Memory, Net
from tests.dispatcher import world
from tests.dispatcher.world import Drivers, FakeStore, cluster, node, secret, task
from tests.rpc.cluster import Cluster as Authority
from tests.rpc.cluster import client_of, serving
from vault.agent.logs import LogLine, LogQuery
from vault.crypto.certificates import Role, issue, new_tls_key
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Plaintext
from vault.dispatcher.service import Dispatcher
from vault.model.ids import Kind
from vault.model.task import State
from vault.rpc.call import Call, Handler
from vault.rpc.client import Client
from vault.rpc.credentials import Credentials
from vault.rpc.messages import LOGS, SESSION, NodeRemoved
from vault.rpc.messages import LogQuery as Asked
from vault.rpc.messages_ca import ISSUE, Issued, IssueRequest
from vault.rpc.renewal import Held, Renewal

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


def played(
    story: Callable[[FakeStore, Dispatcher, str, Client], Awaitable[None]],
    more: Mapping[str, Handler] = MappingProxyType({}),
    credentials: Credentials | None = None,
) -> None:
    async def main() -> None:
        store = FakeStore(cluster(1.0), node(N1), node(N2), secret("s1"))
        store.put(task("t1", N1, secrets=("s1",)))
        dispatcher = Dispatcher(store, monotonic=time.monotonic, now=time.time, confirm=_sure, drivers=Drivers())
        running = asyncio.create_task(dispatcher.run())
        handlers = {SESSION: dispatcher.serve, LOGS: dispatcher.serve_logs, **more}
        own = credentials or SWARM.credentials(Role.WORKER, N1)
        async with serving(handlers, SWARM.manager()) as (_, address), client_of(own) as client:
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
            lines = [line.at_ns async for line, _ in dispatcher.logs.lines("t1", N1, Asked())]
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


class Kept:
    """A node's identity in use, without a disk."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.adopted: list[Held] = []

    async def prepare(self, tls_key: Plaintext) -> None:
        pass

    async def adopt(self, held: Held) -> None:
        self.credentials.replace(trust=held.trust, certificate=held.certificate, key=held.tls_key)
        self.adopted.append(held)


def test_a_running_worker_renews_its_certificate_before_it_expires_and_its_session_goes_on() -> None:
    """Issued sixty days ago for ninety; the session is the one it began with, new connections show the new one."""
    began = datetime.now(UTC) - timedelta(days=60)
    trust, tls_key, node_key = SWARM.authority.certificate_pem, new_tls_key(), NodeKey.generate()
    old = SWARM.issued(Role.WORKER, N1, tls_key, at=began)
    credentials = Credentials(trust=trust, certificate=old, key=tls_key)
    asked: list[IssueRequest] = []

    async def issued(call: Call) -> None:
        assert call.peer is not None
        assert call.peer.node_id == N1
        asked.append(wanted := await call.receive(IssueRequest))
        made, _ = issue(
            SWARM.authority, wanted.request, cluster_id=SWARM.cluster_id, node_id=N1, role=Role.WORKER,
            now=datetime.now(UTC),
        )  # fmt: skip
        await call.send(Issued(cluster_id=SWARM.cluster_id, node_id=N1, certificate=made, trust=trust))

    async def story(store: FakeStore, dispatcher: Dispatcher, address: str, client: Client) -> None:
        line = Line(N1, client)
        async with Member(line, Memory(address)) as member:
            await until(lambda: store.committed.tasks["t1"].state is State.RUNNING)
            session, kept = member.connection._session, Kept(credentials)
            renewal = Renewal(
                Held(tls_key=tls_key, node_key=node_key, certificate=old, trust=trust),
                ask=lambda wanted: client.ask(address, ISSUE, wanted, Issued, 5),
                keeper=kept,
                now=lambda: datetime.now(UTC),
                chance=lambda: 0.0,
            )
            renewing = asyncio.create_task(renewal.run())
            await until(lambda: bool(kept.adopted))
            renewing.cancel()
            assert credentials.own is not None
            assert credentials.own.not_after > datetime.now(UTC) + timedelta(days=80)
            store.put(task("t2", N1))
            await until(lambda: store.committed.tasks["t2"].state is State.RUNNING)
            assert member.connection._session is session
            assert dispatcher.connected == {N1}
            assert (len(asked), asked[0].token) == (1, "")
            await client.ask(address, ISSUE, IssueRequest(request=asked[0].request), Issued, 5)  # By the new one.

    played(story, {ISSUE: issued}, credentials)

"""The store on real etcd members: moved there from SQLite, joined by others, led by the next when the leader goes."""

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.raftstore.peers import Peers
from tests.raftstore.world import CLUSTER_ID, ROOT, new_secret
from vault.model.errors import Unavailable
from vault.model.ids import Kind
from vault.raftstore.engine import Engine
from vault.raftstore.engines.etcd_process import start_etcd
from vault.raftstore.engines.etcd_traces import PROCESS_FILE
from vault.raftstore.files import EngineFile
from vault.raftstore.store import Store

DIRECTORY = "etcd-themove"
LIMIT_S = 30


class Manager:
    """One manager's store, and what keeps it going."""

    def __init__(self, peers: Peers, number: int) -> None:
        self.peers, self.number = peers, number
        self.directory = peers.root / f"store{number}"
        self.name = f"node{number}"
        self.store: Store
        self._running: asyncio.Task[None]

    def start(self, *others: int, joining: bool = False) -> Callable[[Path], Awaitable[Engine]]:
        settings = self.peers.settings(self.number, *others, joining=joining)
        return lambda home: start_etcd(dataclasses.replace(settings, directory=home))

    async def found(self) -> None:
        self.store = await Store.create(self.directory, root=ROOT, cluster_id=CLUSTER_ID, now=clock, node_id=self.name)
        self.go()

    async def enter(self, through: "Manager", *others: int) -> None:
        added = await through.store.add_member(self.peers.url(self.number))
        entering = asyncio.ensure_future(
            Store.enter(
                self.directory,
                root=ROOT,
                cluster_id=CLUSTER_ID,
                now=clock,
                node_id=self.name,
                engine_directory=DIRECTORY,
                start_etcd=self.start(*others, joining=True),
            )
        )
        await soon(lambda: through.store.promote_member(added.id))
        self.store = await entering
        self.go()

    async def open(self, *others: int) -> None:
        self.store = await Store.open(
            self.directory,
            root=ROOT,
            cluster_id=CLUSTER_ID,
            now=clock,
            node_id=self.name,
            start_etcd=self.start(*others),
        )
        self.go()

    def go(self) -> None:
        self._running = asyncio.create_task(self.store.run(lambda: asyncio.sleep(1e9)))

    async def close(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.store.close()

    async def put(self, name: str, value: bytes) -> None:
        await self.store.submit(lambda snap: new_secret(name, value))

    async def holds(self, name: str, value: bytes) -> bool:
        secret = self.store.committed.by_name(Kind.SECRET, name)
        return secret is not None and (await self.store.value(Kind.SECRET, secret.id)).reveal() == value


def clock() -> float:
    return 1_700_000_000.0


async def soon(act: Callable[[], Awaitable[object]]) -> None:
    """Do it again and again until it can be done."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(Unavailable):
                if await act() is not False:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(90)
def test_a_store_goes_over_to_etcd_others_join_and_the_next_leads_when_the_leader_is_killed(tmp_path: Path) -> None:
    async def run() -> None:
        peers = Peers(tmp_path)
        one, two, three = (Manager(peers, number) for number in (1, 2, 3))
        try:
            await one.found()
            for number in range(20):
                await one.put(f"before{number}", bytes([number]) * 100_000)
            await one.store.move(EngineFile("etcd", DIRECTORY), one.start())
            assert one.store.engine_name == "etcd"
            assert one.store.leads
            await one.put("moved", b"1")
            await two.enter(one, 1)
            await three.enter(one, 1, 2)
            await one.put("joined", b"2")
            await one.store.barrier()
            assert await three.holds("before7", b"\x07" * 100_000)
            members = await one.store.members()
            assert sorted(member.name for member in members) == ["node1", "node2", "node3"]

            await kill(one)
            await soon(lambda: led(two, three))
            leader = two if two.store.leads else three
            follower = three if leader is two else two
            await soon(lambda: leader.put("after", b"3"))
            await soon(lambda: follower.holds("after", b"3"))
            for number in range(20):
                assert await leader.holds(f"before{number}", bytes([number]) * 100_000)

            await one.open(2, 3)
            assert await one.holds("after", b"3")
            await soon(lambda: leader.put("again", b"4"))
            await soon(lambda: one.holds("again", b"4"))
        finally:
            await asyncio.gather(one.close(), two.close(), three.close(), return_exceptions=True)

    async def led(*managers: Manager) -> bool:
        return any(manager.store.leads for manager in managers)

    async def kill(manager: Manager) -> None:
        """End a manager as suddenly as one can within a process: etcd first, and nobody says goodbye."""
        process = int((manager.directory / DIRECTORY / PROCESS_FILE).read_text().split()[0])
        os.kill(process, signal.SIGKILL)
        await manager.close()

    asyncio.run(run())

"""Several members with mutual TLS, as vaultd runs them: who joins, leaves, leads, dies and comes back.

On real processes: each test may take some seconds.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.raftstore.peers import Peers
from vault.model.errors import NoLeader, OutcomeUnknown, Unavailable
from vault.raftstore.engine import Commit, EngineStopped, Seen, Write
from vault.raftstore.engines.etcd import EtcdEngine
from vault.raftstore.engines.etcd_traces import PROCESS_FILE

LIMIT_S = 20


@contextlib.asynccontextmanager
async def peers_in(root: Path) -> AsyncIterator[Peers]:
    peers = Peers(root)
    try:
        yield peers
    finally:
        await peers.close()


async def put(engine: EtcdEngine, key: str, value: bytes) -> bytes:
    """Commit one record on top of whatever there is; return the new head."""
    expected = await engine.head()
    head = b"%d" % (int(expected or b"0") + 1)
    await engine.commit(lambda: Commit(expected=expected, head=head, writes=[Write(key, value)]))
    return head


async def eventually(ask: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Wait until the answer is yes."""
    async with asyncio.timeout(LIMIT_S):
        while not await ask():
            await asyncio.sleep(0.05)


def pid_of(peers: Peers, number: int) -> int:
    return int((peers.root / str(number) / "etcd-move1" / PROCESS_FILE).read_text().split()[0])


def test_a_member_joins_and_a_commit_through_any_is_seen_by_all(tmp_path: Path) -> None:
    async def run() -> None:
        async with peers_in(tmp_path) as peers:
            first = await peers.first()
            await put(first, "/v1/task/a", b"1")
            second = await peers.join(2, first)
            one, two = sorted(await first.members(), key=lambda member: member.name)
            assert [(one.name, one.peer_url), (two.name, two.peer_url)] == [(f"node{n}", peers.url(n)) for n in (1, 2)]
            assert (one.learner, two.learner, one.leads, two.leads) == (False, False, True, False)
            assert [await engine.raft_leads() for engine in (first, second)] == [True, False]
            watch = first.watch(await first.read())
            head = await put(second, "/v1/task/b", b"2")
            assert await anext(watch) == [Seen(head, [Write("/v1/task/b", b"2")])]
            assert [await engine.get("/v1/task/b") for engine in (first, second)] == [b"2", b"2"]
            await second.promote_member(two.id)  # Which votes already.
            await second.transfer(one.id)  # Which leads already.
            with pytest.raises(Unavailable, match="another manager leads"):
                await second.transfer(two.id)
            await first.transfer(two.id)
            assert await second.raft_leads()

    asyncio.run(run())


def test_a_member_that_is_added_again_is_the_one_added_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with peers_in(tmp_path) as peers:
            first = await peers.first()
            added = await first.add_member(peers.url(2))
            assert added.learner
            assert added == await first.add_member(peers.url(2))
            with pytest.raises(Unavailable, match="takes part already"):
                await first.add_member(peers.url(1))
            monkeypatch.setattr("vault.raftstore.engines.etcd_members.CHANGE_LIMIT_S", 0.5)
            with pytest.raises(Unavailable, match="not caught up"):
                await first.promote_member(added.id)
            with pytest.raises(Unavailable, match="another manager is just joining"):
                await first.add_member(peers.url(3))
            await first.remove_member(added.id)
            await first.remove_member(added.id)
            assert len(await first.members()) == 1

    asyncio.run(run())


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what cannot succeed fail soon."""
    monkeypatch.setattr("vault.raftstore.engines.etcd.COMMIT_LIMIT_S", 2.0)
    monkeypatch.setattr("vault.raftstore.engines.etcd.READ_LIMIT_S", 1.0)
    monkeypatch.setattr("vault.raftstore.engines.etcd_process.STOP_LIMIT_S", 0.5)


def test_a_removed_member_stops_for_good_and_its_certificate_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with peers_in(tmp_path) as peers:
            first, second, third = await peers.together(3)
            watch = second.watch(await second.read())
            peers.revoke(2)
            gone = next(member for member in await first.members() if member.name == "node2")
            await first.remove_member(gone.id)
            with pytest.raises(EngineStopped, match="removed from the swarm"):
                async with asyncio.timeout(LIMIT_S):
                    await anext(watch)
            await put(first, "/v1/task/a", b"1")
            assert await third.get("/v1/task/a") == b"1"
            with pytest.raises(EngineStopped):
                await second.head()

    asyncio.run(run())


def test_a_majority_goes_on_and_a_member_that_was_killed_catches_up(tmp_path: Path) -> None:
    async def run() -> None:
        async with peers_in(tmp_path) as peers:
            first, second, third = await peers.together(3)
            watch = first.watch(await first.read())
            os.kill(pid_of(peers, 1), signal.SIGKILL)  # The leader; its supervisor starts it again.
            heads = [await put(third, f"/v1/task/{n}", b"%d" % n) for n in range(5)]
            seen: list[bytes] = []
            async with asyncio.timeout(LIMIT_S):
                while len(seen) < len(heads):
                    seen += [one.head for one in await anext(watch) if isinstance(one, Seen)]
            assert seen == heads
            await eventually(lambda: same(first, "/v1/task/4", b"4"))
            assert await second.get("/v1/task/4") == b"4"

    async def same(engine: EtcdEngine, key: str, value: bytes) -> bool:
        try:
            return await engine.get(key) == value
        except NoLeader:
            return False

    asyncio.run(run())


def test_killing_all_members_at_once_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async def run() -> None:
        async with peers_in(tmp_path) as peers:
            first, second, _ = await peers.together(3)
            acknowledged: list[int] = []

            async def write() -> None:
                for n in range(100_000):
                    with contextlib.suppress(OutcomeUnknown, NoLeader):
                        await put(second, f"/v1/task/{n}", b"%d" % n)
                        acknowledged.append(n)

            writing = asyncio.create_task(write())
            await eventually(lambda: more(acknowledged, 50))
            for number in (1, 2, 3):
                os.kill(pid_of(peers, number), signal.SIGKILL)
            before = len(acknowledged)
            await eventually(lambda: more(acknowledged, before + 20))
            writing.cancel()
            await asyncio.wait([writing])
            held = dict([pair async for page in (await first.read()).pages() for pair in page])
            assert {f"/v1/task/{n}" for n in acknowledged} <= set(held)

    async def more(acknowledged: list[int], count: int) -> bool:
        return len(acknowledged) > count

    asyncio.run(run())


def test_a_minority_says_so_within_its_limits_and_hands_nothing_out(tmp_path: Path) -> None:
    async def run() -> None:
        async with peers_in(tmp_path) as peers:
            first, second = await peers.together(2)
            await put(first, "/v1/task/a", b"1")
            await second.close()
            asked = [first.head(), first.get("/v1/task/a"), first.read(), first.beat(b"x")]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [NoLeader] * 4
            with pytest.raises(OutcomeUnknown):
                await first.commit(lambda: Commit(expected=b"1", head=b"2", writes=[]))
            assert not await first.raft_leads()

    asyncio.run(run())


def test_a_member_that_waits_for_others_starts_and_serves_when_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with peers_in(tmp_path) as peers:
            first, second = await peers.together(2)
            await put(first, "/v1/task/a", b"1")
            await first.close()
            await second.close()
            monkeypatch.setattr("vault.raftstore.engines.etcd_process.START_WAIT_S", 0.5)
            again = await peers.start(peers.settings(1, 2))
            with pytest.raises(NoLeader):
                await again.head()
            await peers.start(peers.settings(2, 1))
            await eventually(lambda: serves(again))

    async def serves(engine: EtcdEngine) -> bool:
        try:
            return await engine.get("/v1/task/a") == b"1"
        except NoLeader:
            return False

    asyncio.run(run())

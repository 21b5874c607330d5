"""Watching etcd: commits and beats in order and once, whatever happens to connection and member."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from tests.raftstore.plain_member import PlainMember
from tests.raftstore.proxy import FRONT, Proxy
from vault.model.errors import NoLeader, StoreDamaged
from vault.raftstore.engine import Beat, Commit, EngineStopped, HeadMoved, Seen, WatchLost, Write
from vault.raftstore.engines import etcd_upkeep, etcd_watch
from vault.raftstore.engines.etcd import EtcdEngine
from vault.raftstore.engines.etcd_api import messages

MEBIBYTE = 1024 * 1024


@pytest.fixture
def member(tmp_path: Path) -> Iterator[PlainMember]:
    member = PlainMember(tmp_path)
    yield member
    member.kill()


async def opened(member: PlainMember) -> EtcdEngine:
    """Return an engine, once the member serves."""
    engine = member.engine()
    while True:
        try:
            await engine.head()
            return engine
        except NoLeader:
            pass


async def put(engine: EtcdEngine, number: int, *writes: Write) -> Seen:
    """Commit head `number` on top of the number before; return what a watch shall show."""
    expected = b"%d" % (number - 1) if number > 1 else None
    commit = Commit(expected=expected, head=b"%d" % number, writes=writes)
    await engine.commit(lambda: commit)
    return Seen(commit.head, list(writes))


async def take(watch: AsyncIterator[Sequence[Seen | Beat]], count: int) -> list[Seen | Beat]:
    taken: list[Seen | Beat] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            taken += await anext(watch)
    assert len(taken) == count
    return taken


def test_a_watch_shows_what_came_after_a_reading_and_nothing_else(member: PlainMember) -> None:
    async def run() -> None:
        engine, other = await opened(member), await opened(member)
        await put(engine, 1, Write("/v1/task/a", b"1"), Write("/v1/task/b", b""))
        reading = await engine.read()
        shown = [await put(other, 2, Write("/v1/task/a", None), Write("/v1/task/c", b"x" * 70_000))]
        await other.beat(b"who leads")
        shown.append(await put(other, 3))
        watch = engine.watch(reading)
        assert await take(watch, 3) == [shown[0], Beat(b"who leads"), shown[1]]
        await engine.beat(b"again")
        assert await take(watch, 1) == [Beat(b"again")]
        assert reading.head == b"1"
        assert await reading.get("/v1/task/a") == b"1"
        assert [page async for page in reading.pages()] == [[("/v1/task/a", b"1"), ("/v1/task/b", b"")]]
        await engine.close()
        with pytest.raises(EngineStopped):
            await anext(watch)
        await other.close()

    asyncio.run(run())


def test_a_watch_goes_on_without_a_gap_when_the_connection_or_the_member_ends(member: PlainMember) -> None:
    async def run() -> None:
        other = await opened(member)
        proxy = await Proxy.open(member.directory)
        engine = member.engine(FRONT)
        watch = engine.watch(await engine.read())
        number = 0
        for fault in ("none", "connection", "connection", "member", "connection"):
            asked = asyncio.ensure_future(take(watch, 2))
            await asyncio.sleep(0)
            proxy.refuses = fault == "connection"
            if fault == "connection":
                proxy.cut()
            if fault == "member":
                member.kill()
                member.start()
            shown = [await put(other, number + 1), await put(other, number + 2, Write("/v1/task/a", b"x"))]
            number += 2
            proxy.refuses = False
            assert await asked == shown
        await engine.close()
        await other.close()
        await proxy.close()

    asyncio.run(run())


def test_what_is_forgotten_is_not_passed_over(member: PlainMember) -> None:
    async def run() -> None:
        engine = await opened(member)
        await put(engine, 1, Write("/v1/task/a", b"1"))
        reading = await engine.read()
        for number in range(2, 10):
            await put(engine, number, Write("/v1/task/a", b"%d" % number))
        status = messages.StatusReply.from_bytes(await engine._client.ask(messages.STATUS, b"", limit_s=5))
        await etcd_upkeep.compact(engine._client, status, keep=3)
        await etcd_upkeep.compact(engine._client, status, keep=3)  # Which is done already.
        with pytest.raises(WatchLost):
            await anext(engine.watch(reading))
        with pytest.raises(HeadMoved):
            await reading.get("/v1/task/a")
        with pytest.raises(HeadMoved):
            await anext(reading.pages())
        later = await engine.read()
        shown = await put(engine, 10)
        assert await take(engine.watch(later), 1) == [shown]
        await engine.close()

    asyncio.run(run())


def test_commits_that_were_missed_and_are_larger_than_one_message_are_each_shown_whole(
    member: PlainMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd cuts what it sends at 20 MiB, between any two keys; and long messages are read elsewhere."""
    monkeypatch.setattr(etcd_watch, "LONG_BYTES", 1000)

    async def run() -> None:
        engine = await opened(member)
        reading = await engine.read()
        shown = [
            await put(engine, number, *(Write(f"/v1/task/{n}", bytes([number]) * MEBIBYTE) for n in range(7)))
            for number in range(1, 7)
        ]
        replies = []
        whole = messages.WatchReply.from_bytes

        def noted(data: bytes) -> messages.WatchReply:
            replies.append(whole(data))
            return replies[-1]

        monkeypatch.setattr(messages.WatchReply, "from_bytes", noted)
        assert await take(engine.watch(reading), 6) == shown
        assert sum(reply.fragment for reply in replies) == 2
        cut = [reply.events[-1].mod_revision for reply in replies if reply.fragment]
        assert any(reply.events and reply.events[0].mod_revision in cut for reply in replies[1:])
        await engine.close()

    asyncio.run(run())


def test_what_something_else_wrote_is_damage(member: PlainMember) -> None:
    async def run() -> None:
        engine = await opened(member)
        watch = engine.watch(await engine.read())
        await engine._client.call(messages.PUT, messages.put_request(b"/v1/task/a", b"x"), timeout_s=2)
        with pytest.raises(StoreDamaged, match="something else"):
            await take(watch, 1)
        await engine.close()

    asyncio.run(run())

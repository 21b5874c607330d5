"""Answers that get lost, a member that stands still, a disk that is full: what a commit on etcd then says, and does."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.raftstore.plain_member import SOCKET, PlainMember
from tests.raftstore.proxy import FRONT, Loses, Proxy
from vault.model.errors import DiskFull, NoLeader, OutcomeUnknown
from vault.raftstore.engine import Commit, EngineStopped, HeadMoved, MemberRemoved, Seen, Write
from vault.raftstore.engines import etcd_upkeep
from vault.raftstore.engines.etcd import EtcdEngine
from vault.raftstore.engines.etcd_api import messages
from vault.raftstore.engines.etcd_api.client import EXHAUSTED, NO_SPACE, EtcdClient
from vault.raftstore.engines.etcd_api.exchange import Refused


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.raftstore.engines.etcd.COMMIT_LIMIT_S", 3.0)
    monkeypatch.setattr("vault.raftstore.engines.etcd.COMMIT_TRY_S", 0.3)
    monkeypatch.setattr("vault.raftstore.engines.etcd.READ_LIMIT_S", 0.5)
    monkeypatch.setattr("vault.raftstore.engines.etcd.BEAT_LIMIT_S", 0.3)


@pytest.fixture
def member(tmp_path: Path) -> Iterator[PlainMember]:
    member = PlainMember(tmp_path)
    yield member
    member.kill()


class Scene:
    """An engine behind a proxy, one that sees everything, and the heads it saw."""

    def __init__(self, proxy: Proxy, engine: EtcdEngine, other: EtcdEngine) -> None:
        self.proxy, self.engine, self.other = proxy, engine, other

    async def commit(self, number: int, *, expected: int | None = None, padding_bytes: int = 0) -> Commit:
        """Commit head `number` on top of `expected`, or the number before."""
        before = number - 1 if expected is None else expected
        head = name(before) if before else None
        writes = [Write("/v1/task/a", b"%d" % number), Write("/v1/task/b", bytes(padding_bytes))]
        return await self.engine.commit(lambda: Commit(expected=head, head=name(number), writes=writes))

    async def heads(self, count: int) -> list[bytes]:
        """Return the first heads that were ever committed."""
        heads: list[bytes] = []
        from_the_start = await self.other.read()
        from_the_start.revision = 0
        async with asyncio.timeout(10):
            async for bunch in self.other.watch(from_the_start):
                heads += [one.head for one in bunch if isinstance(one, Seen)]
                if len(heads) >= count:
                    break
        return heads


def name(number: int) -> bytes:
    return b"<head %d>" % number


@asynccontextmanager
async def scene(member: PlainMember) -> AsyncIterator[Scene]:
    other = member.engine()
    while True:
        try:
            await other.head()
            break
        except NoLeader:
            pass
    proxy = await Proxy.open(member.directory)
    engine = member.engine(FRONT)
    try:
        yield Scene(proxy, engine, other)
    finally:
        await engine.close()
        await other.close()
        await proxy.close()


def play(member: PlainMember, act: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with scene(member) as on:
            await act(on)

    asyncio.run(run())


def test_commits_that_come_while_nobody_takes_them_are_shown_together_and_in_order(member: PlainMember) -> None:
    async def act(on: Scene) -> None:
        watch = on.engine.watch(await on.engine.read())
        for number in (1, 2):
            await on.commit(number)
        first = list(await anext(watch))
        for number in range(3, 9):
            await on.commit(number)
        together: list[list[bytes]] = [[one.head for one in first if isinstance(one, Seen)]]
        while together[-1][-1:] != [name(8)]:
            together.append([one.head for one in await anext(watch) if isinstance(one, Seen)])
        assert [head for heads in together for head in heads] == [name(number) for number in range(1, 9)]
        assert max(map(len, together)) >= 5

    play(member, act)


@pytest.mark.parametrize("lost", list(Loses))
def test_a_commit_whose_answer_is_lost_is_made_once_and_says_so(member: PlainMember, lost: Loses) -> None:
    async def act(on: Scene) -> None:
        await on.commit(1)
        on.proxy.lose(lost, name(2))
        await on.commit(2)
        await on.commit(3)
        assert on.proxy.lost == 1
        assert await on.heads(3) == [name(1), name(2), name(3)]
        with pytest.raises(HeadMoved):
            await on.commit(4, expected=2)

    play(member, act)


def test_a_commit_whose_answer_is_lost_and_that_another_has_built_on_is_of_unknown_outcome(member: PlainMember) -> None:
    async def act(on: Scene) -> None:
        await on.commit(1)
        on.proxy.lose(Loses.ANSWER, name(2))
        stolen: list[asyncio.Task[Commit]] = []

        def steal() -> None:
            on.proxy.refuses = True
            commit = Commit(expected=name(2), head=b"another's", writes=[])
            stolen.append(asyncio.ensure_future(on.other.commit(lambda: commit)))
            stolen[0].add_done_callback(lambda task: setattr(on.proxy, "refuses", False))

        on.proxy.then = steal
        with pytest.raises(OutcomeUnknown):
            await on.commit(2)
        await stolen[0]
        assert await on.engine.get("/v1/task/a") == b"2"

    play(member, act)


def test_a_commit_that_waits_for_a_member_to_start_is_made(member: PlainMember) -> None:
    async def act(on: Scene) -> None:
        await on.commit(1)
        member.kill()
        asked = asyncio.ensure_future(on.commit(2))
        await asyncio.sleep(0.1)
        assert not asked.done()
        member.start()
        await asked

    play(member, act)


def test_a_member_that_stands_still_for_a_while_makes_the_commit_once(member: PlainMember) -> None:
    async def act(on: Scene) -> None:
        await on.commit(1)
        with member.stopped():
            asked = asyncio.ensure_future(on.commit(2))
            with pytest.raises(NoLeader):
                await on.engine.head()
            with pytest.raises(NoLeader):
                await on.engine.beat(b"x")
            assert not await on.engine.raft_leads()
        await asked
        assert await on.heads(2) == [name(1), name(2)]

    play(member, act)


def test_a_commit_that_nobody_answers_is_given_up_and_may_have_been_made_all_the_same(member: PlainMember) -> None:
    async def act(on: Scene) -> None:
        await on.commit(1)
        with member.stopped(), pytest.raises(OutcomeUnknown):
            await on.commit(2)
        while True:  # What was sent waited in the socket, and may arrive as late as that.
            made = 2 if await on.engine.head() == name(2) else 1
            try:
                await on.commit(3, expected=made)
                break
            except HeadMoved:
                assert made == 1
        assert await on.heads(made + 1) == [name(1), *[name(2)][: made - 1], name(3)]

    play(member, act)


def test_closing_while_an_answer_is_awaited_ends_in_an_unknown_outcome(member: PlainMember) -> None:
    async def act(on: Scene) -> None:
        await on.commit(1)
        with member.stopped():
            asked = asyncio.ensure_future(on.commit(2))
            await asyncio.sleep(0.1)
            on.engine._client.stop("the process ended")
            with pytest.raises(OutcomeUnknown):
                await asked
            with pytest.raises(EngineStopped, match="the process ended"):
                await on.commit(3)

    play(member, act)


def test_a_member_that_is_none_any_more_says_so(member: PlainMember) -> None:
    async def act(on: Scene) -> None:
        on.engine._client.stop("it was removed", final=MemberRemoved())
        with pytest.raises(MemberRemoved, match="removed from the swarm's managers"):
            await on.commit(1)

    play(member, act)


def test_a_cancelled_caller_does_not_break_its_commit_off(member: PlainMember) -> None:
    async def act(on: Scene) -> None:
        asked = asyncio.ensure_future(on.commit(1))
        await asyncio.sleep(0)
        asked.cancel()
        await on.commit(2)
        assert await on.heads(2) == [name(1), name(2)]

    play(member, act)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_gets_lost_every_commit_is_made_once_and_in_order(member: PlainMember, seed: int) -> None:
    chance = random.Random(seed)

    async def act(on: Scene) -> None:
        count = 40
        for number in range(1, count + 1):
            for _ in range(chance.choice((0, 0, 0, 1, 1, 2))):
                on.proxy.lose(chance.choice(list(Loses)), name(number))
            await on.commit(number)
        assert on.proxy.lost > 10
        assert await on.heads(count) == [name(number) for number in range(1, count + 1)]

    play(member, act)


class SaysFull(EtcdClient):
    """To a member that says of every transaction that there is no space for it, after what really became of it."""

    makes = True

    async def call(self, method: bytes, body: bytes, *, timeout_s: float) -> bytes:
        if method != messages.TXN:
            return await super().call(method, body, timeout_s=timeout_s)
        if self.makes:
            await super().call(method, body, timeout_s=timeout_s)
        raise Refused(EXHAUSTED, NO_SPACE)


@pytest.mark.parametrize("makes", [True, False])
def test_whether_a_commit_that_is_refused_for_want_of_space_was_made_is_looked_up(
    member: PlainMember, makes: bool
) -> None:
    """etcd makes the one that fills it up, and refuses it with the same words as those after it."""

    async def act(on: Scene) -> None:
        client = SaysFull(member.directory, SOCKET)
        client.makes = makes
        engine = EtcdEngine(client)
        commit = Commit(expected=None, head=name(1), writes=[])
        if makes:
            assert await engine.commit(lambda: commit) == commit
            with pytest.raises(HeadMoved):
                await engine.commit(lambda: Commit(expected=b"another", head=b"y", writes=[]))
        else:
            with pytest.raises(DiskFull):
                await engine.commit(lambda: commit)
            assert await engine.head() is None
        await engine.close()

    play(member, act)


def test_a_full_database_refuses_commits_until_there_is_space_again(tmp_path: Path) -> None:
    """etcd makes the commit that fills it up, and says that it did not: that one must be taken for made."""
    member = PlainMember(tmp_path, quota_bytes=16 * 1024 * 1024)

    async def act(on: Scene) -> None:
        number = 0

        async def fill() -> None:
            nonlocal number
            while True:
                number += 1
                await on.commit(number, padding_bytes=1024 * 1024)

        with pytest.raises(DiskFull):
            await fill()
        assert await on.engine.head() == name(number - 1)
        client: EtcdClient = on.engine._client
        status = messages.StatusReply.from_bytes(await client.ask(messages.STATUS, b"", limit_s=5))
        assert any("NOSPACE" in error for error in status.errors)
        await etcd_upkeep.compact(client, status, keep=1)
        await etcd_upkeep.make_space(client, status)
        await on.commit(number)

    play(member, act)
    member.kill()

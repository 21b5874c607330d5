"""Batches: what shares a commit, and what must not."""

import asyncio
from collections.abc import Callable

import pytest

from tests.raftstore.model_engine import ModelEngine
from tests.raftstore.world import NOW_S, new_secret, numbered, store_on
from vault.crypto.plaintext import Plaintext
from vault.model.errors import OutOfSequence
from vault.model.ids import Kind
from vault.raftstore.engine import EngineStopped
from vault.raftstore.proposals import BATCH_BYTES, BATCH_WRITES, CALLER_BYTES, QUEUE_BATCHES, Busy, Proposals, TooLarge
from vault.store.changes import Delete, Put, PutValue
from vault.store.snapshot import Snapshot, Stale


def proposals() -> Proposals:
    return Proposals(Snapshot(), lambda: NOW_S)


def test_callers_share_a_batch_until_it_is_full() -> None:
    queue = proposals()
    batches = [queue.add(new_secret(f"s{n}", b"x")) for n in range(BATCH_WRITES // 2 + 1)]
    assert {batch.index for batch in batches[:-1]} == {1}
    assert batches[-1].index == 2
    assert len(batches[0].contents) == BATCH_WRITES


def test_a_batch_holds_one_mebibyte_or_one_caller_alone() -> None:
    queue = proposals()
    large = queue.add(new_secret("large", bytes(3 * BATCH_BYTES)))
    small = queue.add(new_secret("small", bytes(10)))
    nearly = queue.add(new_secret("nearly", bytes(BATCH_BYTES - 1000)))
    assert [large.index, small.index, nearly.index] == [1, 2, 2]
    assert queue.add(new_secret("more", bytes(2000))).index == 3


def test_one_caller_may_not_have_more_than_eight_mebibytes() -> None:
    queue = proposals()
    before = queue.proposed
    with pytest.raises(TooLarge):
        queue.add(new_secret("large", bytes(CALLER_BYTES)))
    assert queue.proposed is before
    assert not queue.queue


def test_removals_fill_a_batch_as_well() -> None:
    queue = proposals()
    made = [queue.add(new_secret(f"s{n}", b"x")) and queue.proposed for n in range(BATCH_WRITES)]
    known = list(made[-1].secrets.values())
    batches = [queue.add([Delete(Kind.SECRET, one.id, one.version.index)]) for one in known]
    assert max(len(batch.contents) for batch in batches) == BATCH_WRITES


def test_no_batch_writes_a_key_twice() -> None:
    queue = proposals()
    put, value = new_secret("name", b"x")
    first = queue.add([put, value])
    again = queue.add([Put(queue.proposed.secrets[put.obj.id])])
    gone = queue.add([Delete(Kind.SECRET, put.obj.id, again.index)])
    assert [first.index, again.index, gone.index] == [1, 2, 3]
    assert set(gone.contents.values()) == {None}
    assert len(gone.contents) == 2


@pytest.mark.parametrize(
    "double",
    [
        lambda put: [put, put],
        lambda put: [put, Delete(Kind.SECRET, put.obj.id, 1)],
        lambda put: [put, PutValue(Kind.SECRET, put.obj.id, Plaintext(b"1"))] * 2,
    ],
)
def test_one_caller_writes_a_key_once(double: Callable[[Put], list[Put | PutValue | Delete]]) -> None:
    queue = proposals()
    with pytest.raises(Stale):
        queue.add(double(Put(numbered("name"))))
    assert not queue.queue


def test_a_large_proposal_is_committed_in_pieces_and_in_order() -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        changes = [Put(numbered(f"s{n}")) for n in range(1200)]
        assert await store.propose(changes) == ()
        assert max(len(commit.writes) for commit in engine.commits) <= BATCH_WRITES
        assert [list(commit.writes) for commit in engine.commits[1:]]
        order = [write.key.rsplit("/", 1)[1] for commit in engine.commits[1:] for write in commit.writes]
        assert order == [change.obj.id for change in changes]
        await store.close()

    asyncio.run(run())


def test_a_caller_who_changes_nothing_waits_for_what_it_saw() -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())
        write = asyncio.ensure_future(store.submit(lambda snap: new_secret("name", b"x")))
        await asyncio.sleep(0)
        index = await store.submit(lambda snap: [])
        assert write.done()
        assert index == store.committed.index == await write
        assert await store.submit(lambda snap: []) == index
        await store.close()

    asyncio.run(run())


def test_what_a_caller_raises_is_its_own() -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())

        def broken(snap: Snapshot) -> list[Put]:
            raise OutOfSequence

        outcomes = await asyncio.gather(
            store.submit(lambda snap: new_secret("one", b"x")),
            store.submit(broken),
            store.submit(lambda snap: new_secret("two", b"x")),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [int, OutOfSequence, int]
        assert len(store.committed.secrets) == 2
        await store.close()

    asyncio.run(run())


def test_a_caller_who_gives_up_does_not_stop_the_others() -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())
        asked = [asyncio.ensure_future(store.submit(lambda snap, n=n: new_secret(f"s{n}", b"x"))) for n in range(3)]
        await asyncio.sleep(0)
        asked[1].cancel()
        await asyncio.gather(asked[0], asked[2])
        assert len(store.committed.secrets) == 3
        await store.close()

    asyncio.run(run())


def test_closing_finishes_what_was_asked_for_and_refuses_what_comes_after() -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        asked = asyncio.ensure_future(store.submit(lambda snap: new_secret("before", b"x")))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        with pytest.raises(EngineStopped):
            await store.submit(lambda snap: new_secret("after", b"x"))
        await asyncio.gather(asked, closing)
        assert len(engine.disk.records) == 3
        await store.close()

    asyncio.run(run())


def test_a_queue_that_is_full_turns_callers_away() -> None:
    queue = proposals()
    for n in range(QUEUE_BATCHES):
        queue.add(new_secret(f"s{n}", bytes(BATCH_BYTES)))
    proposed = queue.proposed
    with pytest.raises(Busy):
        queue.add(new_secret("more", b"x"))
    assert queue.proposed is proposed

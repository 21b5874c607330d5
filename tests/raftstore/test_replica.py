"""The replica of a manager that follows: believes nothing, and is cheap."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.raftstore.model_engine import ModelEngine
from tests.raftstore.world import CLUSTER_ID, NOW_S, ROOT, new_secret, store_on
from vault.model.errors import StoreDamaged
from vault.model.ids import Kind
from vault.raftstore import applying, ledger
from vault.raftstore.clock import Clock
from vault.raftstore.engine import Seen, WatchLost, Write
from vault.raftstore.load import load
from vault.raftstore.replica import Replica
from vault.raftstore.store import Store
from vault.store import rules
from vault.store.changes import Put


class World:
    """A leader on a model, and a replica that has seen nothing of what it wrote since."""

    def __init__(self, store: Store, engine: ModelEngine, replica: Replica) -> None:
        self.store, self.engine, self.replica = store, engine, replica
        self.place = len(engine.disk.seen)

    def news(self) -> list[Seen]:
        return [seen for seen in self.engine.disk.seen[self.place :] if isinstance(seen, Seen)]

    def agree(self) -> None:
        """Check that the replica is the leader's."""
        mine, theirs = self.replica, self.store._replica
        assert mine.committed.index == theirs.committed.index
        assert dict(mine.committed.secrets) == dict(theirs.committed.secrets)
        assert dict(mine.committed.names.items()) == dict(theirs.committed.names.items())
        assert mine.ledger.live == theirs.ledger.live
        assert mine.ledger.older == theirs.ledger.older
        assert mine.ledger.head_bytes == theirs.ledger.head_bytes
        assert mine.ledger.keyring.terms.keys() == theirs.ledger.keyring.terms.keys()


def play(work: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        for n in range(3):
            await store.submit(lambda snap, n=n: new_secret(f"first{n}", b"x"))
        loaded = await load(engine, root=ROOT, cluster_id=CLUSTER_ID)
        clock = Clock(lambda: 0.0, asyncio.get_running_loop().time)
        await work(World(store, engine, Replica(loaded.ledger, loaded.snapshot, clock)))
        await store.close()

    asyncio.run(run())


async def busy(world: World) -> None:
    """Create, change, remove, rotate and re-seal."""
    store = world.store
    for n in range(5):
        await store.submit(lambda snap, n=n: new_secret(f"s{n}", bytes([n]) * 100))
        await store.submit(lambda snap, n=n: [Put(snap.by_name(Kind.SECRET, f"s{n}"))])  # type: ignore[arg-type]
    await store.rotate_keyring()
    (gone,) = [secret.id for secret in store.committed.secrets.values() if secret.spec.name == "s3"]
    await store.submit(lambda snap: rules.removed(snap, Kind.SECRET, gone))
    await store.submit(lambda snap: new_secret("after", b"y"))
    while await store.upkeep():
        pass
    await store.upkeep()
    await store.submit(lambda snap: new_secret("end", b"z"))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_replica_becomes_the_leaders_in_bunches_of_any_size(size: int) -> None:
    async def work(world: World) -> None:
        await busy(world)
        news = world.news()
        for start in range(0, len(news), size):
            await world.replica.take(news[start : start + size])
        world.agree()

    play(work)


def test_what_is_known_is_passed_over_and_a_gap_is_told() -> None:
    async def work(world: World) -> None:
        await busy(world)
        news = world.news()
        await world.replica.take(news[:4])
        await world.replica.take(news[2:6])
        before = world.replica.committed
        with pytest.raises(WatchLost):
            await world.replica.take(news[7:])
        with pytest.raises(WatchLost):
            await world.replica.take([*news[6:8], *news[9:]])
        assert world.replica.committed is before
        await world.replica.take(news[6:])
        world.agree()

    play(work)


def test_readers_are_woken_and_can_tell_what_changed() -> None:
    async def work(world: World) -> None:
        before = world.replica.committed
        waiting = asyncio.ensure_future(world.replica.changed())
        await asyncio.sleep(0)
        await world.store.submit(lambda snap: new_secret("one", b"1"))
        await world.store.submit(lambda snap: new_secret("two", b"2"))
        await world.store.submit(lambda snap: new_secret("three", b"3"))
        await world.replica.take(world.news())
        assert waiting.done() or (await asyncio.wait_for(waiting, 1)) is None
        new = set(world.replica.committed.secrets) - set(before.secrets)
        assert world.replica.committed.changed_since(before) == {(Kind.SECRET, secret_id) for secret_id in new}
        between = world.replica.committed
        await world.store.submit(lambda snap: [Put(snap.by_name(Kind.SECRET, "two"))])  # type: ignore[arg-type]
        await world.replica.take(world.news())
        two = between.by_name(Kind.SECRET, "two")
        assert two is not None
        assert world.replica.committed.changed_since(between) == {(Kind.SECRET, two.id)}
        assert len(world.replica.committed.changed_since(before) or ()) == 3

    play(work)


def test_of_a_record_that_a_bunch_wrote_often_only_the_last_version_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    unseal = ledger.codec.unseal
    monkeypatch.setattr(ledger.codec, "unseal", lambda *args: opened.append(args[2]) or unseal(*args))

    async def work(world: World) -> None:
        for _ in range(50):
            await world.store.submit(lambda snap: [Put(snap.by_name(Kind.SECRET, "first1"))])  # type: ignore[arg-type]
        opened.clear()
        await world.replica.take(world.news())
        assert len(opened) == 1
        world.agree()

    play(work)


async def in_turn(replica: Replica, news: list[Seen]) -> None:
    for one in news:
        await replica.take([one])


@pytest.mark.parametrize("how", ["flip", "drop", "replay", "add", "lose a removal", "alter head"])
def test_a_commit_that_was_altered_is_refused_and_the_record_named(how: str) -> None:
    async def work(world: World) -> None:
        store = world.store
        await store.submit(lambda snap: [Put(snap.by_name(Kind.SECRET, "first1"))])  # type: ignore[arg-type]
        (old,) = world.news()[0].writes
        await store.submit(lambda snap: [Put(snap.by_name(Kind.SECRET, "first1"))])  # type: ignore[arg-type]
        await store.submit(lambda snap: new_secret("new", b"x"))
        (gone,) = [secret.id for secret in store.committed.secrets.values() if secret.spec.name == "first0"]
        await store.submit(lambda snap: rules.removed(snap, Kind.SECRET, gone))
        news = world.news()
        new = next(write for write in news[2].writes if write.key.startswith("/v1/secret-value/"))
        assert new.value is not None
        match how:
            case "flip":
                writes = [write for write in news[2].writes if write is not new]
                flipped = Write(new.key, new.value[:-1] + bytes([new.value[-1] ^ 1]))
                news[2] = Seen(news[2].head, [*writes, flipped])
                named = new.key
            case "drop":
                news[2] = Seen(news[2].head, [write for write in news[2].writes if write is not new])
                named = new.key
            case "replay":
                news[1], named = Seen(news[1].head, [old]), old.key
            case "add":
                named = new.key[:-1] + ("a" if new.key[-1] != "a" else "b")
                news[2] = Seen(news[2].head, [*news[2].writes, Write(named, new.value)])
            case "lose a removal":
                kept = next(write for write in news[3].writes if write.key.startswith("/v1/secret-value/"))
                news[3], named = Seen(news[3].head, [write for write in news[3].writes if write is not kept]), kept.key
            case _:
                head = news[2].head
                news[2], named = Seen(head[:-1] + bytes([head[-1] ^ 1]), news[2].writes), "head"
        with pytest.raises(StoreDamaged) as caught:
            await in_turn(world.replica, news)
        assert named.removeprefix("/v1/") in caught.value.message

    play(work)


def test_a_large_commit_gives_way_to_others_as_it_is_applied() -> None:
    async def work(world: World) -> None:
        changes = [change for n in range(1000) for change in new_secret(f"s{n}", b"x")]
        await world.store.submit(lambda snap: changes)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(others())
        await world.replica.take(world.news())
        task.cancel()
        assert turns >= 2000 // applying.TURN_RECORDS
        world.agree()

    play(work)


def test_the_clusters_time_is_taken_from_what_is_seen() -> None:
    async def work(world: World) -> None:
        assert world.replica.clock.now_s() < NOW_S
        await world.store.submit(lambda snap: new_secret("one", b"1"))
        await world.replica.take(world.news())
        assert NOW_S <= world.replica.clock.now_s() < NOW_S + 60

    play(work)

"""What the callers of a leader are told when it is overtaken: exactly what became of their writes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tests.raftstore.ensemble import Ensemble, MemberEngine
from tests.raftstore.managers import Managers
from tests.raftstore.model_engine import ModelEngine
from tests.raftstore.virtual import play
from tests.raftstore.world import new_secret, store_on
from vault.model.errors import NotLeading, OutcomeUnknown
from vault.model.ids import Kind
from vault.raftstore.engine import Commit, EngineStopped
from vault.raftstore.store import Store
from vault.store.changes import Change
from vault.store.snapshot import Snapshot


class Held(MemberEngine):
    """A member whose commits wait for the test: before they are made, on their way, or before their answer."""

    def __init__(self, ensemble: Ensemble, name: str) -> None:
        super().__init__(ensemble, name)
        self.before: asyncio.Event | None = None
        self.midway: asyncio.Event | None = None
        self.after: asyncio.Event | None = None
        self.fails_after: Exception | None = None

    async def _send(self, make: Callable[[], Commit]) -> Commit:
        if self.before is not None:
            await self.before.wait()
        commit = make()
        if self.midway is not None:
            await self.midway.wait()
        self.ensemble.apply(self.name, commit)
        if self.after is not None:
            await self.after.wait()
        if self.fails_after is not None:
            raise self.fails_after
        return commit


def cluster(work: Callable[[Managers, Held, Store], Awaitable[None]]) -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c", engine=Held).found()
        engine = managers.all["a"].engine
        assert isinstance(engine, Held)
        await work(managers, engine, managers.store("a"))
        managers.ensemble.check()

    play(run())


async def overtake(managers: Managers) -> Store:
    """Let another manager take the lead from one that is well, as nothing but a bug or bad luck would."""
    other = managers.store("b")
    assert await other._leadership._take_over()
    return other


def named(name: str) -> Callable[[Snapshot], Sequence[Change]]:
    return lambda snap: new_secret(name, b"x")


def test_a_write_that_came_before_the_new_leader_is_acknowledged_though_its_answer_came_later() -> None:
    async def work(managers: Managers, engine: Held, store: Store) -> None:
        engine.after = asyncio.Event()
        flying = asyncio.ensure_future(store.submit(named("flying")))
        await asyncio.sleep(0.1)
        queued = asyncio.ensure_future(store.submit(named("queued")))
        await asyncio.sleep(0.1)
        await overtake(managers)
        await asyncio.sleep(0.1)
        with pytest.raises(NotLeading):
            await queued
        assert not store.leads
        assert not flying.done()
        engine.after.set()
        assert await flying < store.committed.index
        assert {secret.spec.name for secret in store.committed.secrets.values()} == {"flying"}

    cluster(work)


@pytest.mark.parametrize("where", ["before", "midway"])
def test_a_write_that_comes_after_the_new_leader_is_refused_at_once_and_never_happens(where: str) -> None:
    async def work(managers: Managers, engine: Held, store: Store) -> None:
        gate = asyncio.Event()
        setattr(engine, where, gate)
        flying = asyncio.ensure_future(store.submit(named("flying")))
        await asyncio.sleep(0.1)
        other = await overtake(managers)
        await asyncio.sleep(0.1)
        assert flying.done(), "it need not wait for its own engine"
        with pytest.raises(NotLeading):
            await flying
        gate.set()
        await asyncio.sleep(1)
        assert not other.committed.secrets
        assert store.committed.index == other.committed.index

    cluster(work)


def test_a_write_of_unknown_outcome_that_happened_is_seen_by_whoever_asked_without_reading_everything_again() -> None:
    async def work(managers: Managers, engine: Held, store: Store) -> None:
        before = store.committed
        engine.fails_after, engine.after = OutcomeUnknown(), asyncio.Event()
        unknown = asyncio.ensure_future(store.submit(named("unknown")))
        await asyncio.sleep(0.3)  # The watch shows it meanwhile.
        engine.after.set()
        with pytest.raises(OutcomeUnknown):
            await unknown
        assert not store.leads
        await asyncio.sleep(0.05)
        assert {secret.spec.name for secret in store.committed.secrets.values()} == {"unknown"}
        assert store.committed.changed_since(before) is not None
        engine.fails_after = None
        leader = await managers.leader()
        await leader.submit(named("next"))

    cluster(work)


def test_a_take_over_that_was_overtaken_itself_before_its_answer_came_is_none() -> None:
    async def work(managers: Managers, engine: Held, store: Store) -> None:
        slow, late = managers.all["b"].engine, managers.store("b")
        assert isinstance(slow, Held)
        slow.after = asyncio.Event()
        taking = asyncio.ensure_future(late._leadership._take_over())
        await asyncio.sleep(0.1)
        last = managers.store("c")
        assert await last._leadership._take_over()
        await asyncio.sleep(0.1)
        slow.after.set()
        assert not await taking
        assert not late.leads
        assert late.epoch == last.epoch

    cluster(work)


def test_a_value_that_is_sealed_anew_at_this_moment_is_read_all_the_same() -> None:
    async def work(managers: Managers, engine: Held, store: Store) -> None:
        await store.submit(named("name"))
        (secret_id,) = store.committed.secrets
        await store.rotate_keyring()
        engine.after = asyncio.Event()
        upkeep = asyncio.ensure_future(store.upkeep())
        await asyncio.sleep(0.1)  # The engine holds the new record, and the answer is on its way.
        reading = asyncio.ensure_future(store.value(Kind.SECRET, secret_id))
        await asyncio.sleep(0.1)
        assert not reading.done()
        engine.after.set()
        assert (await reading).reveal() == b"x"
        await upkeep

    cluster(work)


def test_a_caller_hears_soon_that_nobody_answers() -> None:
    async def run() -> None:
        managers = await Managers("a", "b", "c").found()
        store = managers.store("a")
        managers.ensemble.cut_off("a")
        at = asyncio.get_running_loop().time()
        with pytest.raises(OutcomeUnknown):
            await store.submit(named("late"))
        assert asyncio.get_running_loop().time() - at < 4.8
        assert not store.leads

    play(run())


def test_what_is_not_sent_when_a_manager_that_is_alone_fails_is_refused() -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        engine.fails = [EngineStopped("a test")]
        first = asyncio.ensure_future(store.submit(named("first")))
        await asyncio.sleep(0)
        with pytest.raises(EngineStopped):
            await store.submit(named("second"))
        with pytest.raises(EngineStopped):
            await first
        await store.stopped()

    asyncio.run(run())


async def _crowd(store: Store, *, callers: int, apart_s: float) -> list[int]:
    """Have callers write at once, and again as soon as they are answered, one a moment after the other."""

    async def one(number: int) -> int:
        await store.submit(named(f"first-{number}"))
        await asyncio.sleep(number * apart_s)
        return await store.submit(named(f"second-{number}"))

    return await asyncio.gather(*map(one, range(callers)))


def test_a_crowd_that_was_just_answered_shares_the_next_commit_too() -> None:
    async def work(managers: Managers, engine: Held, store: Store) -> None:
        assert len(set(await _crowd(store, callers=6, apart_s=0.0005))) == 1

    cluster(work)


def test_a_few_callers_are_not_made_to_wait_for_each_other() -> None:
    async def work(managers: Managers, engine: Held, store: Store) -> None:
        engine.before = asyncio.Event()
        engine.before.set()
        assert len(set(await _crowd(store, callers=3, apart_s=0.0005))) > 1

    cluster(work)


def test_who_asks_after_a_crowd_that_does_not_come_back_is_answered_all_the_same() -> None:
    async def work(managers: Managers, engine: Held, store: Store) -> None:
        await asyncio.gather(*(store.submit(named(f"first-{number}")) for number in range(6)))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await store.submit(named("alone"))
        assert loop.time() - begun < 0.2

    cluster(work)


def test_a_writer_that_ends_while_it_waits_for_a_crowd_refuses_who_waited_with_it() -> None:
    async def work(managers: Managers, engine: Held, store: Store) -> None:
        await asyncio.gather(*(store.submit(named(f"first-{number}")) for number in range(6)))
        waiting = asyncio.ensure_future(store.submit(named("alone")))
        await asyncio.sleep(0)
        store._leadership.leading().end(EngineStopped("a test"))
        with pytest.raises(NotLeading):
            await waiting

    cluster(work)

"""Data keys are rotated on demand: what that promises to callers, and that upkeep begins at once."""

import asyncio
from collections.abc import Callable

import pytest

from tests.raftstore.model_engine import ModelEngine
from tests.raftstore.world import CLUSTER_ID, NOW_S, ROOT, new_secret, store_again, store_on
from vault.crypto import keyring
from vault.crypto.errors import KeyringFull
from vault.model.base import from_s
from vault.model.cluster import DataKeyStatus
from vault.model.errors import DiskFull
from vault.model.ids import Kind
from vault.raftstore.engine import Commit
from vault.raftstore.load import load
from vault.raftstore.proposals import Busy
from vault.raftstore.store import TERM_S, Store
from vault.raftstore.upkeep import keep_young


class SlowEngine(ModelEngine):
    """An engine whose commits wait for `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.go.set()
        self.waiting = asyncio.Event()

    async def _commit(self, make: Callable[[], Commit]) -> Commit:
        self.waiting.set()
        await self.go.wait()
        return await super()._commit(make)


async def until(store: Store, true: Callable[[DataKeyStatus], bool]) -> DataKeyStatus:
    """Return what is said of the data key once it is so."""
    async with asyncio.timeout(10):
        async for _ in store.snapshots():
            if true(store.data_key()):
                break
    return store.data_key()


def is_over(said: DataKeyStatus) -> bool:
    return not said.older_records and not said.older_keys


async def values(store: Store) -> dict[str, bytes]:
    return {
        one.spec.name: (await store.value(Kind.SECRET, one.id)).reveal() for one in store.committed.secrets.values()
    }


def test_what_is_said_of_the_data_key_follows_a_rotation_to_its_end() -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())
        await store.submit(lambda snap: new_secret("one", b"1"))
        first = DataKeyStatus(term=1, created_at=from_s(NOW_S), records=2, older_records=0, older_keys=0)
        assert store.data_key() == first
        await store.rotate_keyring()
        await store.submit(lambda snap: new_secret("two", b"2"))
        said = store.data_key()
        assert (said.term, said.records, said.older_records, said.older_keys) == (2, 4, 2, 1)
        await store.rotate_keyring()
        said = store.data_key()
        assert (said.term, said.records, said.older_records, said.older_keys) == (3, 4, 4, 2)
        assert await store.upkeep() == 0
        said = store.data_key()
        assert (said.term, said.older_records, said.older_keys) == (3, 0, 0), "older keys go with their last record"
        assert await values(store) == {"one": b"1", "two": b"2"}
        await store.close()

    asyncio.run(run())


def test_another_manager_that_takes_over_says_the_same_and_goes_on() -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        await store.submit(lambda snap: new_secret("one", b"1"))
        await store.rotate_keyring()
        said = store.data_key()
        again = await store_again(ModelEngine(engine.disk))
        assert again.data_key() == said
        assert await again.upkeep() == 0
        assert is_over(again.data_key())
        assert await values(again) == {"one": b"1"}

    asyncio.run(run())


def test_records_are_sealed_anew_at_once_and_not_at_the_next_turn() -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())
        loop = asyncio.ensure_future(keep_young(store, pause_s=0, retry_s=0, rest_s=3600))
        for term in (2, 3):
            await store.submit(lambda snap, term=term: new_secret(f"before{term}", b"x"))
            await store.rotate_keyring()
            assert (await until(store, is_over)).term == term
        loop.cancel()
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("failure", [DiskFull(), Busy()])
def test_a_full_or_slow_disk_puts_upkeep_off_for_less_than_a_turn(failure: Exception) -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        await store.submit(lambda snap: new_secret("name", b"x"))
        await store.rotate_keyring()
        if isinstance(failure, DiskFull):
            engine.fails = [failure]
        else:
            _refuse_once(store, failure)
        loop = asyncio.ensure_future(keep_young(store, pause_s=0, retry_s=0, rest_s=3600))
        await until(store, is_over)
        assert not loop.done()
        loop.cancel()
        await store.close()

    asyncio.run(run())


def _refuse_once(store: Store, failure: Exception) -> None:
    """Let the queue be full at the next look."""
    proposals = store._leadership.leading().proposals
    real = proposals.add_records

    def refuse(*given: object) -> None:
        proposals.add_records = real  # type: ignore[method-assign]
        raise failure

    proposals.add_records = refuse  # type: ignore[method-assign, assignment]


def test_a_rotation_whose_caller_has_gone_is_committed_before_the_next_is_made() -> None:
    """Else two keys would have one number, and what was sealed with the first would be lost."""

    async def run() -> None:
        engine = SlowEngine()
        store = await store_on(engine)
        engine.go.clear()
        engine.waiting.clear()
        gone = asyncio.ensure_future(store.rotate_keyring())
        await engine.waiting.wait()
        gone.cancel()
        await asyncio.wait([gone])
        assert gone.cancelled()
        after = asyncio.ensure_future(store.submit(lambda snap: new_secret("after", b"1")))
        second = asyncio.ensure_future(store.rotate_keyring())
        trimming = asyncio.ensure_future(store.upkeep())
        await asyncio.sleep(0)
        engine.go.set()
        async with asyncio.timeout(10):
            await asyncio.gather(after, second, trimming)
        assert store.data_key().term == 3
        assert await values(store) == {"after": b"1"}
        loaded = await load(ModelEngine(engine.disk), root=ROOT, cluster_id=CLUSTER_ID)
        assert set(loaded.snapshot.secrets) == set(store.committed.secrets)
        await store.close()

    asyncio.run(run())


def test_a_rotation_whose_caller_has_gone_wakes_upkeep_all_the_same() -> None:
    async def run() -> None:
        engine = SlowEngine()
        store = await store_on(engine)
        await store.submit(lambda snap: new_secret("name", b"x"))
        loop = asyncio.ensure_future(keep_young(store, pause_s=0, rest_s=3600))
        engine.go.clear()
        engine.waiting.clear()
        gone = asyncio.ensure_future(store.rotate_keyring())
        await engine.waiting.wait()
        gone.cancel()
        await asyncio.wait([gone])
        engine.go.set()
        assert (await until(store, lambda said: said.term == 2 and is_over(said))).records == 2
        loop.cancel()
        await store.close()

    asyncio.run(run())


def test_a_keyring_that_would_forget_the_key_in_use_is_never_sealed() -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())
        ledger = store._replica.ledger
        other = keyring.new_keyring(now_s=NOW_S)
        with pytest.raises(AssertionError):
            ledger.seal(store.committed.index + 1, {}, keyring=other)
        await store.close()

    asyncio.run(run())


def test_no_more_keys_are_made_than_a_keyring_holds_and_upkeep_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "MAX_TERMS", 3)

    async def run() -> None:
        store = await store_on(ModelEngine())
        await store.submit(lambda snap: new_secret("name", b"x"))
        await store.rotate_keyring()
        await store.rotate_keyring()
        with pytest.raises(KeyringFull, match="keeps 3 data keys already: wait until its records are sealed"):
            await store.rotate_keyring()
        assert store.data_key().term == 3
        assert await store.upkeep() == 0
        await store.rotate_keyring()
        assert store.data_key().term == 4
        await store.close()

    asyncio.run(run())


def test_an_old_key_gets_its_successor_only_after_what_came_before_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())
        await store.submit(lambda snap: new_secret("name", b"x"))
        await store.rotate_keyring()
        now_s = NOW_S + TERM_S + 1
        monkeypatch.setattr(store, "now_s", lambda: now_s)
        await store.upkeep()
        assert (store.data_key().term, store.data_key().older_keys) == (2, 0)
        await store.upkeep()
        assert (store.data_key().term, store.data_key().older_keys) == (3, 0)
        assert store.data_key().created_at == from_s(int(now_s))
        await store.close()

    asyncio.run(run())

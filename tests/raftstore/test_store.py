"""The store: what callers are promised."""

import asyncio
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.raftstore.model_engine import ModelEngine
from tests.raftstore.world import (
    CLUSTER_ID,
    NOW_S,
    ROOT,
    create,
    new_secret,
    numbered,
    opened,
    store_again,
    store_on,
)
from vault.crypto.keys import RootKey
from vault.crypto.plaintext import Plaintext
from vault.model.errors import AlreadyExists, DiskFull, OutOfSequence, StoreDamaged
from vault.model.ids import Kind
from vault.model.secret import SecretSpec
from vault.model.stack import StackRecord, StackSpec
from vault.raftstore.engine import EngineStopped
from vault.raftstore.keys import object_key, value_key
from vault.raftstore.lock import DirectoryTaken
from vault.raftstore.opening import StoreExists, StoreMissing
from vault.raftstore.proposals import BATCH_BYTES, Batch, Proposals
from vault.raftstore.store import TERM_S, NoValue, Store
from vault.raftstore.upkeep import keep_young
from vault.store import rules
from vault.store.changes import Atomic, Change, Delete, Put, Relied
from vault.store.snapshot import Snapshot


def test_what_was_acknowledged_is_there_after_a_restart_byte_for_byte(tmp_path: Path) -> None:
    value = bytes(range(256)) + b"\n\0"

    async def run() -> None:
        store = await create(tmp_path)
        index = await store.submit(lambda snap: new_secret("password", value, labels={"a": "b"}))
        before = store.committed.secrets
        await store.close()
        store = await opened(tmp_path)
        assert dict(store.committed.secrets) == dict(before)
        (secret,) = store.committed.secrets.values()
        assert secret.version.index == index
        assert (await store.value(Kind.SECRET, secret.id)).reveal() == value
        await store.close()

    asyncio.run(run())


def test_every_take_over_raises_the_counter_and_the_index(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        generation, counter = store.epoch
        index = store.committed.index
        await store.close()
        store = await opened(tmp_path)
        assert store.epoch == (generation, counter + 1)
        assert store.committed.index == index + 1
        await store.close()

    asyncio.run(run())


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        await store.submit(lambda snap: new_secret("password", b"x"))
        for path in tmp_path.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        await store.close()

    asyncio.run(run())


def test_the_next_caller_sees_what_is_only_proposed(tmp_path: Path) -> None:
    def claim(snap: Snapshot) -> list[Change]:
        rules.check_name_free(snap, Kind.SECRET, "password")
        return list(new_secret("password", b"x"))

    async def run() -> None:
        store = await create(tmp_path)
        results = await asyncio.gather(*(store.submit(claim) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(result, AlreadyExists) for result in results) == 4
        assert len(store.committed.secrets) == 1
        await store.close()

    asyncio.run(run())


def test_a_refusal_comes_after_the_commit_that_it_rests_on(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)

        async def refused() -> int:
            with pytest.raises(AlreadyExists):
                await store.submit(lambda snap: rules.check_name_free(snap, Kind.SECRET, "password") or ())
            return len(store.committed.secrets)

        made = asyncio.ensure_future(store.submit(lambda snap: new_secret("password", b"x")))
        await asyncio.sleep(0)
        assert not store.committed.secrets
        assert await refused() == 1
        await made
        await store.close()

    asyncio.run(run())


def test_an_object_changed_since_it_was_read_is_out_of_sequence(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        await store.submit(lambda snap: new_secret("password", b"x"))
        (old,) = store.committed.secrets.values()
        await store.submit(lambda snap: [Put(old)])
        with pytest.raises(OutOfSequence):
            await store.submit(lambda snap: [Put(old)])
        await store.close()

    asyncio.run(run())


def test_writes_of_one_object_land_in_different_commits_in_order(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        await store.submit(lambda snap: new_secret("password", b"x"))
        (secret_id,) = store.committed.secrets
        indexes = await asyncio.gather(*(store.submit(lambda snap: [Put(snap.secrets[secret_id])]) for _ in range(4)))
        assert indexes == sorted(set(indexes))
        assert store.committed.secrets[secret_id].version.index == indexes[-1]
        await store.close()

    asyncio.run(run())


def test_writes_of_many_callers_share_a_commit(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        indexes = await asyncio.gather(*(store.submit(lambda snap, n=n: new_secret(f"s{n}", b"x")) for n in range(50)))
        assert len(set(indexes)) == 1
        assert len(store.committed.secrets) == 50
        await store.close()

    asyncio.run(run())


def test_the_value_goes_with_its_secret(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        await store.submit(lambda snap: new_secret("password", b"x"))
        (secret_id,) = store.committed.secrets
        await store.submit(lambda snap: rules.removed(snap, Kind.SECRET, secret_id))
        with pytest.raises(NoValue):
            await store.value(Kind.SECRET, secret_id)
        await store.close()
        store = await opened(tmp_path)
        assert not store.committed.secrets
        await store.close()

    asyncio.run(run())


def test_a_proposal_is_applied_where_it_is_still_true_and_the_rest_returned(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        await store.submit(lambda snap: new_secret("old", b"x"))
        (old,) = store.committed.secrets.values()
        await store.submit(lambda snap: [Put(old)])
        stale = Put(old)
        fresh = new_secret("fresh", b"y")
        relying = Put(numbered("relying"), relied_on=(Relied(Kind.SECRET, old.id, old.version.index),))
        together = Atomic((Put(numbered("together")), Delete(Kind.SECRET, old.id, old.version.index)))
        refused = await store.propose([stale, *fresh, relying, together])
        assert set(map(id, refused)) == {id(stale), id(relying), id(together)}
        assert {secret.spec.name for secret in store.committed.secrets.values()} == {"old", "fresh"}
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("stale", [(), (0,), (63,), (99,), (3, 4), (0, 50, 99)])
def test_a_proposal_of_which_little_is_stale_is_taken_in_few_pieces(
    stale: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[int] = []
    add = Proposals.add

    def counting(self: Proposals, changes: Sequence[Change | Atomic]) -> Batch:
        pieces.append(len(changes))
        return add(self, changes)

    async def run() -> None:
        store = await store_on(ModelEngine())
        gone = (Relied(Kind.SECRET, "gone", 9),)
        changes = [Put(numbered(f"s{n}"), relied_on=gone if n in stale else ()) for n in range(100)]
        monkeypatch.setattr(Proposals, "add", counting)
        assert await store.propose(changes) == tuple(changes[number] for number in stale)
        assert len(store.committed.secrets) == 100 - len(stale)
        await store.close()

    asyncio.run(run())
    assert len(pieces) <= 1 + 2 * 7 * len(stale)  # Halves of halves, seven times.


def test_a_value_is_in_the_commit_of_its_object_when_a_proposal_is_taken_apart() -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        stale = replace(new_secret("stale", b"0")[0], relied_on=(Relied(Kind.SECRET, "gone", 9),))
        first, second = (new_secret(name, bytes(BATCH_BYTES * 2 // 3)) for name in ("first", "second"))
        assert await store.propose([stale, first[0], second[0], first[1], second[1]]) == (stale,)
        for put, _ in (first, second):
            of_both = {object_key(Kind.SECRET, put.obj.id), value_key(Kind.SECRET, put.obj.id)}
            (written,) = [keys for commit in engine.commits if of_both & (keys := {key for key, _ in commit.writes})]
            assert of_both <= written
        await store.close()

    asyncio.run(run())


def test_a_reader_of_snapshots_sees_the_newest(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        reader = store.snapshots()
        first = await anext(reader)
        for n in range(3):
            await store.submit(lambda snap, n=n: new_secret(f"s{n}", b"x"))
        newest = await anext(reader)
        assert len(newest.secrets) == 3
        assert newest.changed_since(first) == {(Kind.SECRET, secret_id) for secret_id in newest.secrets}
        waiting = asyncio.ensure_future(anext(reader))
        await store.close()
        with pytest.raises(EngineStopped):
            await waiting

    asyncio.run(run())


def test_a_closed_store_refuses_writes(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        await store.close()
        with pytest.raises(EngineStopped):
            await store.submit(lambda snap: new_secret("late", b"x"))

    asyncio.run(run())


def test_two_stores_never_share_a_directory(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        with pytest.raises(DirectoryTaken):
            await opened(tmp_path)
        await store.close()
        with pytest.raises(StoreExists):
            await create(tmp_path)
        Store.destroy(tmp_path)
        assert not Store.exists(tmp_path)
        with pytest.raises(StoreMissing):
            await opened(tmp_path)
        await (await create(tmp_path)).close()

    asyncio.run(run())


def test_another_root_key_opens_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        await (await create(tmp_path)).close()
        with pytest.raises(StoreDamaged, match="head was altered, or belongs to another swarm"):
            await Store.open(tmp_path, root=RootKey.generate(), cluster_id=CLUSTER_ID, now=lambda: 0)
        await (await Store.open(tmp_path, root=ROOT, cluster_id=CLUSTER_ID, now=lambda: 0)).close()

    asyncio.run(run())


def test_after_a_new_term_old_and_new_records_open(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        await store.submit(lambda snap: new_secret("before", b"1"))
        await store.rotate_keyring()
        await store.submit(lambda snap: new_secret("after", b"2"))
        await store.close()
        store = await opened(tmp_path)
        values = {
            s.spec.name: (await store.value(Kind.SECRET, s.id)).reveal() for s in store.committed.secrets.values()
        }
        assert values == {"before": b"1", "after": b"2"}
        await store.close()

    asyncio.run(run())


def test_upkeep_seals_everything_anew_and_changes_nothing_else(tmp_path: Path) -> None:
    async def run() -> None:
        clock = [NOW_S]
        store = await Store.create(tmp_path, root=ROOT, cluster_id=CLUSTER_ID, now=lambda: clock[0])
        for n in range(6):
            await store.submit(lambda snap, n=n: new_secret(f"s{n}", bytes([n]) * 400_000))
        before = dict(store.committed.secrets)
        assert await store.upkeep() == 0
        assert len(store._replica.ledger.keyring.terms) == 1
        clock[0] += TERM_S + 1
        left = [await store.upkeep()]
        assert left[0] > 0, "a piece at a time"
        await store.close()

        store = await Store.open(tmp_path, root=ROOT, cluster_id=CLUSTER_ID, now=lambda: clock[0])
        (gone, *_) = before
        await store.submit(lambda snap: rules.removed(snap, Kind.SECRET, gone))
        while left[-1]:
            left.append(await store.upkeep())
        assert left == sorted(left, reverse=True)
        await store.upkeep()
        assert set(store._replica.ledger.keyring.terms) == {2}
        await store.close()

        store = await opened(tmp_path)
        assert dict(store.committed.secrets) == {key: secret for key, secret in before.items() if key != gone}
        for secret in store.committed.secrets.values():
            assert len(await store.value(Kind.SECRET, secret.id)) == 400_000
        assert await store.upkeep() == 0
        await store.close()

    asyncio.run(run())


def test_keys_that_are_rotated_at_once_are_two_keys(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        await asyncio.gather(store.rotate_keyring(), store.rotate_keyring())
        assert set(store._replica.ledger.keyring.terms) == {1, 2, 3}
        await store.submit(lambda snap: new_secret("name", b"x"))
        await store.close()
        await (await opened(tmp_path)).close()

    asyncio.run(run())


def test_a_record_written_while_it_is_sealed_anew_keeps_what_was_written() -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        await store.submit(lambda snap: new_secret("name", b"x"))
        (secret_id,) = store.committed.secrets
        await store.rotate_keyring()
        labelled = SecretSpec(name="name", labels={"new": "yes"})
        changed, _ = await asyncio.gather(
            store.submit(
                lambda snap: rules.updated_secret(
                    snap, secret_id, labelled, version=snap.secrets[secret_id].version.index, same_value=True
                )
            ),
            store.upkeep(),
        )
        assert store.committed.secrets[secret_id].version.index == changed
        assert await store.upkeep() == 0
        again = await store_again(ModelEngine(engine.disk))
        assert again.committed.secrets[secret_id].spec == labelled

    asyncio.run(run())


def test_the_upkeep_loop_ends_with_one_key_and_survives_a_full_disk() -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        await store.submit(lambda snap: new_secret("name", b"x"))
        await store.rotate_keyring()
        engine.fails = [DiskFull()]
        async with asyncio.timeout(10):
            loop = asyncio.ensure_future(keep_young(store, pause_s=0, retry_s=0, rest_s=0))
            async for _ in store.snapshots():
                if set(store._replica.ledger.keyring.terms) == {2}:
                    break
            loop.cancel()
        await store.close()

    asyncio.run(run())


def test_a_tag_of_a_value_is_the_same_after_a_restart_and_under_every_data_key(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path)
        tags = {store.content_tag(Kind.SECRET, name, Plaintext(value)) for name, value in (("a", b"1"), ("b", b"1"))}
        assert len(tags) == 2
        await store.rotate_keyring()
        await store.close()
        store = await opened(tmp_path)
        assert store.content_tag(Kind.SECRET, "a", Plaintext(b"1")) in tags
        assert store.content_tag(Kind.SECRET, "a", Plaintext(b"2")) not in tags
        await store.close()

    asyncio.run(run())


def test_a_record_takes_the_place_of_another_in_one_commit_and_is_there_after_a_restart(tmp_path: Path) -> None:
    def record(object_id: str) -> StackRecord:
        return StackRecord(id=object_id.ljust(25, "0"), spec=StackSpec(name="demo"), deployed_by=object_id)

    async def run() -> None:
        store = await create(tmp_path)
        first = record("a")
        index = await store.submit(lambda snap: (Put(first),))
        await store.submit(lambda snap: (Delete(Kind.STACK, first.id, index), Put(record("b"))))
        await store.close()
        store = await opened(tmp_path)
        assert [one.deployed_by for one in store.committed.stacks.values()] == ["b"]
        await store.close()

    asyncio.run(run())

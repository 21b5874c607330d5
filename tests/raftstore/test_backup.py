"""Backups: what is restored is what was written, and an altered one changes nothing."""

import asyncio
import io
import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.raftstore.model_engine import ModelEngine
from tests.raftstore.world import CLUSTER_ID, NOW_S, ROOT, create, new_secret, store_on
from vault.crypto.errors import WrongPassphrase
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.passphrase import Cost
from vault.crypto.plaintext import Plaintext
from vault.model.errors import StoreDamaged, VaultError
from vault.model.ids import Kind
from vault.raftstore import backup
from vault.raftstore.backup import (
    NothingToLockWith,
    OtherLock,
    UnderPassphrase,
    UnderUnlockKey,
    WrongKey,
    restore_into,
    write_backup,
)
from vault.raftstore.backup_file import BackupDamaged
from vault.raftstore.engine import Write
from vault.raftstore.opening import StoreExists
from vault.raftstore.store import Store
from vault.store import rules

UNLOCK = UnlockKey(bytes(range(32, 64)))
UNDER = UnderUnlockKey(key=UNLOCK, version=7)
NAMES = {f"s{n}": bytes([n]) * (n * 200_000 + 1) for n in range(4)}


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretch passphrases only a little."""
    wrap = backup.wrap_with_passphrase
    monkeypatch.setattr(
        backup, "wrap_with_passphrase", lambda root, text: wrap(root, text, cost=Cost(passes=1, memory_mib=1))
    )


@cache
def template() -> tuple[bytes, tuple[int, int], int]:
    """Return a backup, and epoch and index of its store."""

    async def run() -> tuple[bytes, tuple[int, int], int]:
        store = await store_on(ModelEngine())
        for name, value in NAMES.items():
            await store.submit(lambda snap, name=name, value=value: new_secret(name, value))
            await store.rotate_keyring()
        file = io.BytesIO()
        await write_backup(store, ROOT, file, lock=UNDER)
        epoch, index = store.epoch, store.committed.index
        await store.close()
        return file.getvalue(), epoch, index

    return asyncio.run(run())


async def restored(directory: Path, data: bytes, key: UnlockKey | Plaintext = UNLOCK, now_s: float = NOW_S) -> Store:
    made = await restore_into(directory, io.BytesIO(data), key=key, now=lambda: now_s)
    return await Store.open(directory, root=made.root, cluster_id=made.cluster_id, now=lambda: now_s)


async def values(store: Store) -> dict[str, bytes]:
    return {
        secret.spec.name: (await store.value(Kind.SECRET, secret.id)).reveal()
        for secret in store.committed.secrets.values()
    }


def test_a_restored_store_holds_the_same_in_a_new_generation(tmp_path: Path) -> None:
    data, epoch, index = template()

    async def run() -> None:
        for place, now_s in enumerate((5.0, NOW_S + 500)):
            store = await restored(tmp_path / str(place), data, now_s=now_s)
            assert await values(store) == NAMES
            assert store.cluster_id == CLUSTER_ID
            assert store.epoch == (max(epoch[0] + 1, int(now_s)), 2)
            assert store.committed.index == index + 2**32 + 1
            await store.submit(lambda snap: new_secret("after", b"x"))
            await store.close()

    asyncio.run(run())


def test_a_backup_of_a_live_store_is_one_moment_and_holds_nothing_that_was_removed(tmp_path: Path) -> None:
    async def run() -> None:
        store = await create(tmp_path / "live")
        for n in range(20):
            await store.submit(lambda snap, n=n: new_secret(f"s{n}", bytes([n]) * 200_000))
        (gone,) = [secret for secret in store.committed.secrets.values() if secret.spec.name == "s3"]
        await store.submit(lambda snap: rules.removed(snap, Kind.SECRET, gone.id))

        async def write() -> None:
            for n in range(100):
                await store.submit(lambda snap, n=n: new_secret(f"more{n}", b"x"))

        file = io.BytesIO(b"what was there before " * 100)
        writing = asyncio.create_task(write())
        count = await write_backup(store, ROOT, file, lock=UNDER)
        await writing
        await store.close()
        again = await restored(tmp_path / "again", file.getvalue())
        names = {secret.spec.name for secret in again.committed.secrets.values()}
        more = [name for name in names if name.startswith("more")]
        assert set(more) == {f"more{n}" for n in range(len(more))}, "a prefix of what was written meanwhile"
        assert names - set(more) == {f"s{n}" for n in range(20)} - {"s3"}
        assert count == 1 + 2 * len(names)
        assert gone.id.encode() not in file.getvalue()
        await again.close()

    asyncio.run(run())


def test_nothing_in_a_backup_is_in_the_clear() -> None:
    data, _, _ = template()
    assert b"\x03" * 16 not in data
    assert ROOT.reveal() not in data
    assert UNLOCK.reveal() not in data


def test_a_passphrase_opens_it_and_another_key_says_what_is_needed(tmp_path: Path) -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())
        await store.submit(lambda snap: new_secret("name", b"x"))
        file = io.BytesIO()
        with pytest.raises(NothingToLockWith):
            await write_backup(store, ROOT, file, lock=None)
        assert file.getvalue() == b""
        await write_backup(store, ROOT, file, lock=UnderPassphrase(passphrase=Plaintext(b"correct horse")))
        data, _, _ = template()
        for place, (backup_data, key, error) in enumerate(
            (
                (file.getvalue(), Plaintext(b"wrong horse"), WrongPassphrase),
                (file.getvalue(), UNLOCK, OtherLock),
                (data, Plaintext(b"correct horse"), OtherLock),
                (data, UnlockKey.generate(), WrongKey),
            )
        ):
            with pytest.raises(error):
                await restored(tmp_path / str(place), backup_data, key)
            assert not (tmp_path / str(place)).exists()
        there = await restored(tmp_path / "there", file.getvalue(), Plaintext(b"correct horse"))
        assert await values(there) == {"name": b"x"}
        await there.close()
        with pytest.raises(StoreExists):
            await restored(tmp_path / "there", data)
        assert Store.exists(tmp_path / "there")

    asyncio.run(run())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_altered_backup_is_refused_and_leaves_nothing(data: st.DataObject) -> None:
    good, _, _ = template()
    altered = bytearray(good)
    where = data.draw(st.one_of(st.integers(0, 700), st.integers(0, len(good) - 1)))
    match data.draw(st.sampled_from(["flip", "cut", "insert", "remove", "add"])):
        case "flip":
            altered[where] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del altered[where:]
        case "insert":
            altered[where:where] = data.draw(st.binary(min_size=1, max_size=9))
        case "remove":
            del altered[where : where + data.draw(st.integers(1, 9))]
        case "add":
            altered += data.draw(st.binary(min_size=1, max_size=40))
    if bytes(altered) == good:
        return
    with TemporaryDirectory() as directory:
        with pytest.raises(VaultError) as caught:
            asyncio.run(restore_into(Path(directory), io.BytesIO(bytes(altered)), key=UNLOCK, now=lambda: NOW_S))
        assert isinstance(caught.value, BackupDamaged | WrongKey | OtherLock)
        assert "\n" not in caught.value.message
        assert set(os.listdir(directory)) <= {"lock"}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_other_bytes_are_no_backup(data: bytes) -> None:
    async def run() -> None:
        with TemporaryDirectory() as directory:
            for text in (data, b"VAULTBAK\x01" + data):
                with pytest.raises(BackupDamaged):
                    await restore_into(Path(directory), io.BytesIO(text), key=UNLOCK, now=lambda: NOW_S)
            assert not os.listdir(directory)

    asyncio.run(run())


def test_a_store_that_is_damaged_is_not_written_as_a_backup() -> None:
    async def run() -> None:
        engine = ModelEngine()
        store = await store_on(engine)
        await store.submit(lambda snap: new_secret("name", b"x"))
        key = next(key for key in engine.disk.records if "value" in key)
        kept = engine.disk.records.pop(key)
        with pytest.raises(StoreDamaged, match=key.removeprefix("/v1/")):
            await write_backup(store, ROOT, io.BytesIO(), lock=UNDER)
        engine.disk.records[key] = Write(key, kept).value or b""
        await write_backup(store, ROOT, io.BytesIO(), lock=UNDER)

    asyncio.run(run())


def test_a_backup_of_another_root_key_is_not_written() -> None:
    async def run() -> None:
        store = await store_on(ModelEngine())
        with pytest.raises(StoreDamaged):
            await write_backup(store, RootKey.generate(), io.BytesIO(), lock=UNDER)

    asyncio.run(run())

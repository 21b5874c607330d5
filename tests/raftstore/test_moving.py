"""The move to the engine of several managers: broken off anywhere, one store is left and nothing acknowledged lost."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.raftstore.model_engine import Disk, ModelEngine
from tests.raftstore.world import CLUSTER_ID, NOW_S, ROOT, create, new_secret
from vault.model.errors import StoreDamaged, Unavailable, VaultError
from vault.model.ids import Kind
from vault.raftstore import files, moving
from vault.raftstore.engine import Commit, Engine, EngineStopped, Write
from vault.raftstore.files import EngineFile
from vault.raftstore.head import decode_head
from vault.raftstore.moving import STEPS, MoveFailed
from vault.raftstore.opening import StoreUnusable
from vault.raftstore.store import Store
from vault.store.changes import Put

ETCD = EngineFile("etcd", "etcd-1")
NAMES = {f"s{n}": bytes([n]) * (n * 300_000 + 1) for n in range(5)}


class Etcds:
    """What lies in the directories of etcd members, by name."""

    def __init__(self, disks: dict[str, Disk] | None = None) -> None:
        self.disks = disks or {}
        self.made: list[ModelEngine] = []

    async def start(self, home: Path) -> Engine:
        assert home.is_dir()
        (home / "member").mkdir(exist_ok=True)
        self.made.append(ModelEngine(self.disks.setdefault(home.name, Disk())))
        return self.made[-1]

    def crashed(self) -> "Etcds":
        """Return what is on the disks now."""
        disks = {}
        for name, disk in self.disks.items():
            disks[name] = Disk()
            disks[name].head, disks[name].records = disk.head, dict(disk.records)
        return Etcds(disks)


async def filled(directory: Path) -> Store:
    store = await create(directory)
    for name, value in NAMES.items():
        await store.submit(lambda snap, name=name, value=value: new_secret(name, value))
    return store


async def again(directory: Path, start: Callable[[Path], Awaitable[Engine]]) -> Store:
    return await Store.open(
        directory, root=ROOT, cluster_id=CLUSTER_ID, now=lambda: NOW_S, node_id="me", start_etcd=start
    )


async def values(store: Store) -> dict[str, bytes]:
    return {
        secret.spec.name: (await store.value(Kind.SECRET, secret.id)).reveal()
        for secret in store.committed.secrets.values()
    }


async def idle() -> None:
    await asyncio.Event().wait()


async def until_it_leads(store: Store) -> None:
    while not store.leads:
        await store._replica.changed()


def test_a_moved_store_holds_the_same_leads_on_and_is_found_again(tmp_path: Path) -> None:
    etcds, steps = Etcds(), []

    async def run() -> None:
        store = await filled(tmp_path)
        running = asyncio.create_task(store.run(idle))
        await asyncio.sleep(0)
        epoch, before, head = store.epoch, store.committed, store._replica.ledger.head_bytes
        await store.move(ETCD, etcds.start, steps.append)
        assert (store.engine_name, store.leads, store.epoch) == ("etcd", True, epoch)
        assert store.committed is before
        assert etcds.disks["etcd-1"].head == head
        assert sorted(path.name for path in tmp_path.iterdir()) == ["engine", "etcd-1", "lock"]
        await store.submit(lambda snap: new_secret("after", b"a"))
        await store.barrier()
        assert await values(store) == NAMES | {"after": b"a"}
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        await store.close()

        store = await again(tmp_path, etcds.start)
        assert not store.leads, "one of several follows first"
        running = asyncio.create_task(store.run(idle))
        await until_it_leads(store)
        assert store.epoch == (epoch[0], epoch[1] + 1)
        assert await values(store) == NAMES | {"after": b"a"}
        running.cancel()
        await asyncio.wait([running])
        await store.close()

    asyncio.run(run())
    assert tuple(dict.fromkeys(steps)) == STEPS
    assert steps.count("copy") > 2
    for commit in etcds.made[0].commits[:-2]:
        with pytest.raises(StoreDamaged):
            decode_head(_integrity(), commit.head)


def _integrity():  # type: ignore[no-untyped-def]
    from vault.crypto.integrity import integrity_key

    return integrity_key(ROOT, cluster_id=CLUSTER_ID)


def test_killed_at_any_step_one_store_is_left_with_everything_that_was_acknowledged(tmp_path: Path) -> None:
    etcds, copies = Etcds(), []

    def killed(step: str) -> None:
        place = tmp_path / f"killed-{len(copies)}"
        shutil.copytree(tmp_path / "store", place)
        copies.append((step, place, etcds.crashed()))

    async def run() -> None:
        store = await filled(tmp_path / "store")
        await store.move(ETCD, etcds.start, killed)
        killed("done")
        await store.close()
        assert {step for step, _, _ in copies} == {*STEPS, "done"}
        for step, place, left in copies:
            there = await again(place, left.start)
            late = step in ("switch", "remove", "done")
            assert there.engine_name == ("etcd" if late else "sqlite"), step
            assert await values(there) == NAMES, step
            directories = [path.name for path in place.iterdir() if path.is_dir()]
            assert len(directories) == 1, (step, directories)
            assert directories[0].startswith("etcd" if late else "sqlite")
            await there.close()

    asyncio.run(run())


@pytest.mark.parametrize("where", STEPS[:6])
def test_a_move_that_fails_leaves_the_store_as_it_was_and_can_be_tried_again(tmp_path: Path, where: str) -> None:
    etcds = Etcds()

    def fail(step: str) -> None:
        if step == where:
            raise MoveFailed("a test")

    async def run() -> None:
        store = await filled(tmp_path)
        with pytest.raises(MoveFailed):
            await store.move(ETCD, etcds.start, fail)
        assert store.engine_name == "sqlite"
        assert not (tmp_path / "etcd-1").exists()
        await store.submit(lambda snap: new_secret("between", b"b"))
        etcds.disks.clear()
        await store.move(ETCD, etcds.start)
        assert await values(store) == NAMES | {"between": b"b"}
        await store.close()

    asyncio.run(run())


def test_a_write_during_the_move_waits_and_is_there_afterwards(tmp_path: Path) -> None:
    etcds, asked = Etcds(), []

    async def run() -> None:
        store = await filled(tmp_path)

        def write(step: str) -> None:
            if step in STEPS[:6]:
                name = f"during {len(asked)}".replace(" ", "-")
                asked.append(asyncio.ensure_future(store.submit(lambda snap: new_secret(name, b"d"))))

        await store.move(ETCD, etcds.start, write)
        await asyncio.gather(*asked)
        assert len(await values(store)) == len(NAMES) + len(asked)
        await store.close()
        there = await again(tmp_path, etcds.start)
        assert len(await values(there)) == len(NAMES) + len(asked)
        await there.close()

    asyncio.run(run())


@pytest.mark.parametrize("lie", ["drop", "alter", "add", "head"])
def test_an_engine_that_does_not_hold_what_was_copied_is_not_taken(tmp_path: Path, lie: str) -> None:
    etcds = Etcds()

    def spoil(step: str) -> None:
        disk = etcds.disks.get("etcd-1")
        if step == "compare" and disk is not None:
            key = next(key for key in disk.records if "value" in key)
            match lie:
                case "drop":
                    del disk.records[key]
                case "alter":
                    disk.records[key] = disk.records[key][:-1] + bytes([disk.records[key][-1] ^ 1])
                case "add":
                    disk.records[key[:-2] + "zz"] = disk.records[key]
                case "head":
                    disk.head = b"other"

    async def run() -> None:
        store = await filled(tmp_path)
        with pytest.raises(MoveFailed):
            await store.move(ETCD, etcds.start, spoil)
        assert await values(store) == NAMES
        await store.close()

    asyncio.run(run())


def test_an_engine_that_holds_something_already_is_not_taken(tmp_path: Path) -> None:
    etcds = Etcds({"etcd-1": Disk()})

    async def run() -> None:
        engine = ModelEngine(etcds.disks["etcd-1"])
        await engine.commit(lambda: Commit(expected=None, head=b"x", writes=[Write("/v1/task/a", b"")]))
        store = await filled(tmp_path)
        with pytest.raises(MoveFailed, match="not empty"):
            await store.move(ETCD, etcds.start)
        await store.close()

    asyncio.run(run())


def test_a_rename_that_fails_ends_the_store_since_only_a_start_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etcds = Etcds()

    def fail(directory: Path, content: EngineFile) -> None:
        raise OSError(5, "Input/output error")

    async def run() -> None:
        store = await filled(tmp_path)
        monkeypatch.setattr(moving.files, "write", fail)
        with pytest.raises(EngineStopped, match="Input/output"):
            await store.move(ETCD, etcds.start)
        with pytest.raises(EngineStopped):
            await store.submit(lambda snap: new_secret("after", b"x"))
        await store.stopped()
        await store.close()
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2, "either may be in charge"
        there = await again(tmp_path, etcds.start)
        assert await values(there) == NAMES
        await there.close()

    asyncio.run(run())


@pytest.mark.parametrize("where", STEPS)
def test_whoever_gives_up_waiting_for_the_move_breaks_it_off_or_not_at_all(tmp_path: Path, where: str) -> None:
    etcds = Etcds()

    async def run() -> None:
        store = await filled(tmp_path)
        running = asyncio.create_task(store.run(idle))

        def give_up(step: str) -> None:
            if step == where:
                asyncio.get_running_loop().call_soon(moving_.cancel)

        moving_ = asyncio.create_task(store.move(ETCD, etcds.start, give_up))
        await asyncio.wait([moving_])
        await store.submit(lambda snap: new_secret("after", b"x"))
        assert await values(store) == NAMES | {"after": b"x"}
        assert store.engine_name == files.read(tmp_path).engine  # type: ignore[union-attr]
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        await store.close()

    asyncio.run(run())


def test_a_new_manager_enters_and_is_found_again_even_if_it_never_got_to_load(tmp_path: Path) -> None:
    etcds = Etcds()

    async def refuse(home: Path) -> Engine:
        raise Unavailable("etcd does not start")

    async def run() -> None:
        store = await filled(tmp_path / "one")
        await store.move(ETCD, etcds.start)
        shared = etcds.disks["etcd-1"]
        entering = {
            "root": ROOT,
            "cluster_id": CLUSTER_ID,
            "now": lambda: NOW_S,
            "node_id": "two",
            "engine_directory": "etcd-2",
        }
        with pytest.raises(Unavailable):
            await Store.enter(tmp_path / "two", start_etcd=refuse, **entering)  # type: ignore[arg-type]
        assert files.read(tmp_path / "two") == EngineFile("etcd", "etcd-2")
        second = await again(tmp_path / "two", Etcds({"etcd-2": shared}).start)
        assert await values(second) == NAMES
        await second.close()
        third = await Store.enter(
            tmp_path / "three",
            start_etcd=Etcds({"etcd-2": shared}).start,
            **entering,  # type: ignore[arg-type]
        )
        assert not third.leads
        assert third.committed.index == store.committed.index
        await third.close()
        with pytest.raises(VaultError):
            await Store.enter(tmp_path / "three", start_etcd=refuse, **entering)  # type: ignore[arg-type]
        with pytest.raises(StoreUnusable, match="several"):
            await Store.open(tmp_path / "three", root=ROOT, cluster_id=CLUSTER_ID, now=lambda: NOW_S)
        await store.close()

    asyncio.run(run())


def test_a_new_generation_is_behind_everything_that_lost_managers_may_hold(tmp_path: Path) -> None:
    async def run() -> None:
        store = await filled(tmp_path)
        generation, index = store.epoch[0], store.committed.index
        await store.close()
        for now_s in (NOW_S + 1000, 5.0):
            store = await Store.open(
                tmp_path, root=ROOT, cluster_id=CLUSTER_ID, now=lambda now_s=now_s: now_s, new_generation=True
            )
            assert store.epoch == (max(int(now_s), generation + 1), 1)
            assert store.committed.index == index + 2**32
            generation, index = store.epoch[0], store.committed.index
            await store.submit(lambda snap: [Put(next(iter(snap.secrets.values())))])
            index = store.committed.index
            await store.close()

    asyncio.run(run())


def test_the_last_of_several_managers_begins_a_new_generation_and_leads_it(tmp_path: Path) -> None:
    etcds = Etcds()

    async def run() -> None:
        store = await filled(tmp_path)
        await store.move(ETCD, etcds.start)
        generation, index = store.epoch[0], store.committed.index
        await store.close()
        store = await Store.open(
            tmp_path,
            root=ROOT,
            cluster_id=CLUSTER_ID,
            now=lambda: NOW_S,
            node_id="me",
            start_etcd=etcds.start,
            new_generation=True,
        )
        assert store.epoch == (generation + 1, 1)
        assert store.committed.index == index + 2**32
        running = asyncio.create_task(store.run(idle))
        await until_it_leads(store)
        await store.submit(lambda snap: new_secret("after", b"x"))
        assert store.epoch == (generation + 1, 2)
        assert await values(store) == NAMES | {"after": b"x"}
        running.cancel()
        await asyncio.wait([running])
        await store.close()

    asyncio.run(run())

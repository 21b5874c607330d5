"""The store as the agent and the API see it, with real worker processes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.images.archives import Made, docker_archive, image, member, oci_archive, pieces, tar
from vault.agent.images.errors import BadArchive, BadReference, NoSpace, RegistryFailed, StoreUnreadable, WorkerFailed
from vault.agent.images.protocol import Progress
from vault.agent.images.store import ImageStore
from vault.model.container import HealthConfig
from vault.model.errors import Conflict, NoSuch

pytestmark = pytest.mark.machine

ONE = image(tar(member("one", b"1")), created="2026-01-01T00:00:00Z")
TWO = image(tar(member("two", b"2")), created="2026-02-01T00:00:00Z")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "images"


def load(store: ImageStore, made: Made, *tags: str) -> list[str]:
    return list(asyncio.run(store.load(pieces(docker_archive(made, tags)))))


def on_disk(root: Path) -> tuple[int, int, int]:
    """How many blobs, layers and unfinished files there are."""
    return tuple(len(list((root / name).iterdir())) for name in ("blobs/sha256", "layers", "incoming"))  # type: ignore[return-value]


def test_a_loaded_image_is_found_by_name_id_and_the_beginning_of_its_id(root: Path) -> None:
    store = ImageStore(root)
    assert load(store, ONE, "app:1", "other/app:2") == ["app:1", "other/app:2"]
    for reference in ("app:1", "docker.io/library/app:1", "other/app:2", ONE.id, ONE.id[7:], ONE.id[7:19], ONE.id[:20]):
        found = store.find(reference)
        assert found is not None, reference
        assert found.id == ONE.id
    for reference in ("app", "app:2", "nosuch", "", "sha256:", "0" * 64, "UPPER"):
        assert store.find(reference) is None, reference


def test_the_health_check_and_the_shell_of_an_image_are_kept(root: Path) -> None:
    check = {"Test": ["CMD-SHELL", "probe"], "Interval": 5_000_000_000, "Retries": 2}
    store = ImageStore(root)
    load(store, image(config={"Cmd": ["/a"], "Healthcheck": check, "Shell": ["/bin/ash", "-c"]}), "app:1")
    load(store, image(config={"Cmd": ["/b"]}), "other:1")
    found, other = store.find("app:1"), store.find("other:1")
    assert found is not None
    assert other is not None
    wanted = HealthConfig(test=("CMD-SHELL", "probe"), interval=5_000_000_000, retries=2)
    assert (found.config.healthcheck, found.config.shell) == (wanted, ("/bin/ash", "-c"))
    assert (other.config.healthcheck, other.config.shell) == (None, ())


def test_an_image_without_a_name_is_reported_by_its_id(root: Path) -> None:
    assert load(ImageStore(root), ONE) == [ONE.id]


def test_images_outlive_the_daemon(root: Path) -> None:
    store = ImageStore(root)
    load(store, ONE, "app:1")
    load(store, TWO, "b:1")
    again = ImageStore(root)
    assert [one.repo_tags for one in again.list()] == [("b:1",), ("app:1",)]
    assert again.list() == store.list()
    assert all(layer.is_dir() for one in again.list() for layer in one.layers)


def test_a_name_moves_to_the_image_that_is_loaded_last_and_the_other_stays(root: Path) -> None:
    store = ImageStore(root)
    load(store, ONE, "app:1")
    load(store, TWO, "app:1")
    found = store.find("app:1")
    assert found is not None
    assert found.id == TWO.id
    left = store.find(ONE.id)
    assert left is not None
    assert left.repo_tags == ()
    assert len(ImageStore(root).list()) == 2


def test_removing_the_last_name_deletes_the_files_and_nothing_that_is_shared(root: Path) -> None:
    shared = tar(member("shared"))
    store = ImageStore(root)
    load(store, image(shared, tar(member("a"))), "a:1")
    load(store, image(shared, tar(member("b"))), "b:1")
    removed = asyncio.run(store.remove("a:1", used={}))
    assert removed.untagged == ("a:1",)
    assert store.find("a:1") is None
    assert on_disk(root) == (4, 2, 0)  # Manifest, configuration, two layers; two of them unpacked.
    assert [one.repo_tags for one in ImageStore(root).list()] == [("b:1",)]
    asyncio.run(store.remove("b:1", used={}))
    assert on_disk(root) == (0, 0, 0)


def test_an_image_in_use_is_not_removed(root: Path) -> None:
    store = ImageStore(root)
    load(store, ONE, "app:1")
    with pytest.raises(Conflict):
        asyncio.run(store.remove("app:1", used={ONE.id: "4ba00cff43c1"}))
    assert store.find("app:1") is not None
    with pytest.raises(NoSuch, match=r"^No such image: nosuch:1$"):
        asyncio.run(store.remove("nosuch:1", used={}))


def test_a_local_image_is_used_without_asking_a_registry(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ImageStore(root)
    load(store, ONE, "app:1")

    async def never(*arguments: object, **named: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("vault.agent.images.store.run_worker", never)
    assert asyncio.run(store.ensure("app:1")).id == ONE.id


def test_an_image_that_cannot_be_had_is_refused_in_dockers_words(root: Path) -> None:
    with pytest.raises(NoSuch, match=r"^No such image: 127\.0\.0\.1:1/nosuchimage:1$") as refused:
        asyncio.run(ImageStore(root).ensure("127.0.0.1:1/nosuchimage:1"))
    assert isinstance(refused.value.__cause__, RegistryFailed)


def test_many_who_wait_for_one_image_cause_one_pull(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ImageStore(root)
    load(store, ONE, "source:1")
    source = store.find("source:1")
    assert source is not None
    pulls = []

    async def pull(reference: str, **named: object) -> object:
        pulls.append(reference)
        await asyncio.sleep(0)
        await store.load(pieces(docker_archive(TWO, ["app:1"])))
        return store.find("app:1")

    monkeypatch.setattr(store, "pull", pull)

    async def wait() -> list[str]:
        return [found.id for found in await asyncio.gather(*(store.ensure("app:1") for _ in range(5)))]

    assert asyncio.run(wait()) == [TWO.id] * 5
    assert pulls == ["app:1"]


def test_a_root_file_system_is_imported_under_a_name(root: Path) -> None:
    store = ImageStore(root)
    rootfs = tar(member("bin/x", b"1"))
    made = asyncio.run(store.import_(pieces(rootfs), "mine:1", ['CMD ["/bin/x"]'], message="by hand"))
    assert (made.repo_tags, made.config.cmd, made.comment) == (("mine:1",), ("/bin/x",), "by hand")
    with pytest.raises(BadReference):
        asyncio.run(store.import_(pieces(rootfs), "Mine"))
    with pytest.raises(BadArchive):
        asyncio.run(store.import_(pieces(b"junk" * 1000), "other:1"))
    assert [one.repo_tags for one in store.list()] == [("mine:1",)]


def test_a_refused_archive_leaves_nothing_and_says_why(root: Path) -> None:
    store = ImageStore(root)
    with pytest.raises(BadArchive, match="neither manifest"):
        asyncio.run(store.load(pieces(tar(member("x", bytes(1 << 20))))))
    load(store, ONE, "app:1")
    asyncio.run(store.remove("app:1", used={}))
    assert on_disk(root) == (0, 0, 0)


def test_a_worker_that_has_heard_enough_does_not_hold_up_who_feeds_it(root: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"no tar" * 10_000

    with pytest.raises(BadArchive, match="not a tar archive"):
        asyncio.run(asyncio.wait_for(ImageStore(root).load(endless()), 20))


def test_an_archive_that_breaks_off_raises_its_own_error_and_ends_the_worker(root: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield oci_archive(ONE)[:1000]
        raise ConnectionAbortedError("client went away")

    with pytest.raises(ConnectionAbortedError):
        asyncio.run(ImageStore(root).load(broken()))
    assert not workers()


def test_a_cancelled_load_ends_the_worker_and_the_next_one_cleans_up(root: Path) -> None:
    archive = oci_archive(ONE)

    async def cancelled() -> None:
        store = ImageStore(root)
        fed = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield archive[:5000]
            fed.set()
            await asyncio.Event().wait()

        loading = asyncio.ensure_future(store.load(slow()))
        await fed.wait()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading

    asyncio.run(cancelled())
    assert not workers()
    (root / "incoming" / "left").mkdir(parents=True, exist_ok=True)
    (root / "layers" / ("0" * 64)).mkdir()
    store = ImageStore(root)
    load(store, TWO, "b:1")
    assert on_disk(root)[1:] == (1, 0)


def workers() -> list[str]:
    """Command lines of our children that are image workers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (process / "stat").read_text(), (process / "cmdline").read_text()
        except OSError:
            continue
        if int(status.rpartition(")")[2].split()[1]) == os.getpid() and "vault.agent.images.worker" in command:
            found.append(command)
    return found


def test_a_worker_that_dies_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(WorkerFailed, match="ended without an answer"):
        asyncio.run(ImageStore(root).load(pieces(oci_archive(ONE))))


def test_a_full_disk_is_reported_as_such(tmp_path: Path) -> None:
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(NoSpace, match="no space left for images"):
            asyncio.run(ImageStore(small / "images").load(pieces(oci_archive(ONE))))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_image_whose_files_are_damaged_is_left_out(root: Path) -> None:
    store = ImageStore(root)
    load(store, ONE, "app:1")
    load(store, TWO, "b:1")
    (root / "blobs/sha256" / ONE.id[7:]).write_bytes(b"{}")
    assert [one.repo_tags for one in ImageStore(root).list()] == [("b:1",)]
    load(ImageStore(root), ONE, "app:1")
    assert len(ImageStore(root).list()) == 2


@pytest.mark.parametrize("index", [b"", b"{", b"[]", b'{"manifests":[{"digest":"../x","size":0}]}'])
def test_a_damaged_list_is_refused_with_what_to_do(root: Path, index: bytes) -> None:
    load(ImageStore(root), ONE, "app:1")
    (root / "index.json").write_bytes(index)
    with pytest.raises(StoreUnreadable, match=r"move .* away and load the images again"):
        ImageStore(root)
    assert on_disk(root)[1] == 1


def test_the_list_is_an_oci_layout_that_other_tools_read(root: Path) -> None:
    load(ImageStore(root), ONE, "app:1")
    index = json.loads((root / "index.json").read_bytes())
    (descriptor,) = index["manifests"]
    manifest = json.loads((root / "blobs/sha256" / descriptor["digest"][7:]).read_bytes())
    assert json.loads((root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert descriptor["mediaType"] == manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert descriptor["annotations"]["io.containerd.image.name"] == "docker.io/library/app:1"
    assert manifest["config"]["digest"] == ONE.id
    assert all((root / "blobs/sha256" / layer["digest"][7:]).exists() for layer in manifest["layers"])


def test_nobody_but_root_may_enter_the_store(root: Path) -> None:
    load(ImageStore(root), ONE, "app:1")
    assert root.stat().st_mode & 0o777 == 0o700


def test_progress_is_passed_on(root: Path) -> None:
    said: list[Progress] = []
    asyncio.run(ImageStore(root).load(pieces(docker_archive(ONE)), tell=said.append))
    assert [progress.status for progress in said] == ["Extracting", "Pull complete"]

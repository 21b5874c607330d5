"""Named volumes: made, listed, used and removed as in Docker."""

import threading
from pathlib import Path

import msgspec
import pytest

from vault.agent.volumes import NoSuchVolume, VolumeStore
from vault.model.errors import BadRequest, Conflict, NotFound
from vault.tmpfs.mount import mounts_under, unmount_all


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    return VolumeStore(tmp_path / "volumes")


def test_a_volume_is_shown_as_docker_shows_it(store: VolumeStore, tmp_path: Path) -> None:
    made = store.create("db_data", labels={"a": "b"})
    assert store.get("db_data") == made
    shown = msgspec.to_builtins(made)
    assert shown.pop("CreatedAt").endswith("Z")
    assert shown == {
        "Driver": "local",
        "Labels": {"a": "b"},
        "Mountpoint": str(tmp_path / "volumes/db_data/_data"),
        "Name": "db_data",
        "Options": None,
        "Scope": "local",
    }
    assert (tmp_path / "volumes/db_data/_data").stat().st_mode & 0o7777 == 0o755


def test_creating_a_volume_again_returns_the_one_that_is_there(store: VolumeStore) -> None:
    first = store.create("x1", labels={"a": "1"})
    assert store.create("x1", labels={"a": "2"}) == first
    with pytest.raises(Conflict, match="exists with other options"):
        store.create("x1", options={"type": "tmpfs", "device": "tmpfs"})


def test_volumes_are_listed_by_name_and_survive_a_restart(store: VolumeStore, tmp_path: Path) -> None:
    assert store.list() == []
    for name in ("b2", "a1", "c3"):
        store.create(name)
    assert [volume.name for volume in VolumeStore(tmp_path / "volumes").list()] == ["a1", "b2", "c3"]


@pytest.mark.parametrize("name", ["../x", "a/b", "-a", ".a", "a b", "a\0b", "\u0430bc", "a" * 256, "_x"])
def test_a_name_that_could_be_a_path_is_refused_in_dockers_words(store: VolumeStore, name: str) -> None:
    with pytest.raises(BadRequest, match="includes invalid characters for a local volume name"):
        store.create(name)
    with pytest.raises(NoSuchVolume):
        store.get(name)
    with pytest.raises(NoSuchVolume):
        store.remove(name)


@pytest.mark.parametrize("name", ["", "a"])
def test_a_name_that_is_too_short_is_refused(store: VolumeStore, name: str) -> None:
    with pytest.raises(BadRequest, match="volume name is too short, names should be at least two alphanumeric"):
        store.create(name)


def test_an_unknown_volume_or_driver_is_told_in_dockers_words(store: VolumeStore) -> None:
    with pytest.raises(NoSuchVolume) as missing:
        store.get("ghost")
    assert str(missing.value) == "get ghost: no such volume"
    with pytest.raises(NotFound) as unknown:
        store.create("x1", driver="nfs")
    assert str(unknown.value) == 'create x1: error looking up volume plugin nfs: plugin "nfs" not found'


def test_a_volume_in_use_is_kept_until_its_last_user_lets_go(store: VolumeStore, tmp_path: Path) -> None:
    store.create("x1")
    (store.use("x1", "task1", "c" * 64) / "file").write_text("kept")
    store.use("x1", "task2", "d" * 64)
    store.release(["x1"], "task1")
    with pytest.raises(Conflict) as refusal:
        store.remove("x1", force=True)
    assert str(refusal.value) == f"remove x1: volume is in use - [{'d' * 64}]"
    store.release(["x1", "never-used"], "task2")
    store.remove("x1")
    assert list((tmp_path / "volumes").iterdir()) == []
    with pytest.raises(NoSuchVolume):
        store.remove("x1")
    store.remove("x1", force=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"color": "red"}, 'invalid option: "color"'),
        ({"type": "nfs"}, 'missing required option: "device"'),
        ({"device": "/dev/sdb"}, 'missing required option: "type"'),
        ({"o": "ro"}, 'missing required option: "device"'),
        ({"o": "bind", "device": "/srv"}, 'missing required option: "type"'),
        ({"type": "cifs", "device": "//host:445/share"}, "port not allowed in CIFS device URL"),
        ({"size": "10m"}, "quota size requested but no quota support"),
    ],
)
def test_bad_options_are_refused_when_the_volume_is_made(
    store: VolumeStore, options: dict[str, str], text: str
) -> None:
    with pytest.raises(BadRequest, match=text):
        store.create("x1", options=options)
    assert store.list() == []


def test_many_threads_make_one_volume(store: VolumeStore) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(store.create("x1").mountpoint)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 16
    assert [volume.name for volume in store.list()] == ["x1"]


@pytest.mark.machine
def test_a_device_is_mounted_while_the_volume_is_used(store: VolumeStore, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    store.create("bound", options={"type": "none", "o": "bind", "device": str(tmp_path / "shared")})
    store.create("memory", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,nosuid"})
    try:
        (store.use("bound", "t1", "c" * 64) / "x").write_text("there")
        place = store.use("memory", "t1", "c" * 64)
        store.use("memory", "t2", "d" * 64)
        (mounted,) = mounts_under(place)
        assert {"size=1024k", "nosuid"} <= set(mounted.options)
        assert (tmp_path / "shared/x").read_text() == "there"
        store.release(["bound", "memory"], "t1")
        assert len(mounts_under(tmp_path)) == 1
        store.release(["memory"], "t2")
        store.remove("bound")
        assert (tmp_path / "shared/x").read_text() == "there"
        assert mounts_under(tmp_path) == []
    finally:
        for mounted in mounts_under(tmp_path):
            unmount_all(mounted.point)


@pytest.mark.machine
def test_a_device_that_cannot_be_mounted_is_told_with_the_kernels_reason(store: VolumeStore, tmp_path: Path) -> None:
    store.create("x1", options={"type": "none", "o": "bind", "device": str(tmp_path / "missing")})
    with pytest.raises(BadRequest, match=r"failed to mount local volume: mount .*missing.*: no such file or directory"):
        store.use("x1", "t1", "c" * 64)


def test_a_half_made_or_half_removed_volume_is_not_seen(store: VolumeStore, tmp_path: Path) -> None:
    store.create("x1")
    (tmp_path / "volumes/.new-x2").mkdir()
    (tmp_path / "volumes/.removed-x3").mkdir()
    (tmp_path / "volumes/x4").mkdir()
    assert [volume.name for volume in store.list()] == ["x1"]
    store.create("x2")
    store.create("x4")
    assert [volume.name for volume in store.list()] == ["x1", "x2", "x4"]


@pytest.mark.parametrize("damage", [b"{", b'{"created_at": "\xff"}', b"[]"])
def test_a_volume_whose_record_is_damaged_is_told_as_missing(tmp_path: Path, damage: bytes) -> None:
    store = VolumeStore(tmp_path / "volumes")
    store.create("v1")
    (tmp_path / "volumes" / "v1" / "volume.json").write_bytes(damage)
    with pytest.raises(NoSuchVolume):
        store.get("v1")
    assert store.list() == []

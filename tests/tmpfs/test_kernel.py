"""Memory files on the kernel that runs the tests."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from vault.crypto.plaintext import Plaintext
from vault.tmpfs import kernel
from vault.tmpfs.fake import OLD_KERNEL
from vault.tmpfs.kernel import KernelMemoryFiles
from vault.tmpfs.mount import MountFlag, mount, mounts_under, unmount_all
from vault.tmpfs.port import Backing, MemoryFile, Support, UnsafePath

pytestmark = pytest.mark.machine


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "mount"
    place.mkdir()
    yield place
    unmount_all(place)


def files_on(tmp_path: Path, support: Support | None = None) -> KernelMemoryFiles:
    files = KernelMemoryFiles(tmp_path / "probe")
    files._support = support
    return files


def file(path: str, data: bytes, uid: int = 0, gid: int = 0, mode: int = 0o444) -> MemoryFile:
    return MemoryFile(path=PurePosixPath(path), data=Plaintext(data), uid=uid, gid=gid, mode=mode)


@pytest.mark.parametrize("support", [None, OLD_KERNEL], ids=["probed", "ramfs"])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_bytes_owner_and_mode_are_exactly_those_asked_for(
    tmp_path: Path, at: Path, support: Support | None, umask: int
) -> None:
    every_byte = bytes(range(256)) * 2000 + b"\n\n"
    before = os.umask(umask)
    try:
        files_on(tmp_path, support).create(
            at, [file("plain", every_byte), file("deep/er/key", b"\0", 999, 33, 0o400), file("empty", b"")]
        )
    finally:
        os.umask(before)
    assert (at / "plain").read_bytes() == every_byte
    assert (at / "deep/er/key").read_bytes() == b"\0"
    assert (at / "empty").read_bytes() == b""
    key = (at / "deep/er/key").stat()
    assert (key.st_uid, key.st_gid, key.st_mode & 0o7777) == (999, 33, 0o400)
    assert (at / "deep").stat().st_mode & 0o7777 == 0o755
    assert (at / "plain").stat().st_mode & 0o7777 == 0o444


@pytest.mark.parametrize("support", [None, OLD_KERNEL], ids=["probed", "ramfs"])
def test_a_descriptor_that_a_forked_child_still_holds_is_waited_for(
    tmp_path: Path, at: Path, support: Support | None
) -> None:
    class Meddling(Plaintext):
        """Opens the first file for writing while the second is written, as a child between fork and exec has it."""

        def reveal(self) -> bytes:
            if (at / "first").exists():
                threading.Timer(0.05, os.close, [os.open(at / "first", os.O_WRONLY)]).start()
            return super().reveal()

    second = MemoryFile(path=PurePosixPath("second"), data=Meddling(b"2"), uid=0, gid=0, mode=0o444)
    files_on(tmp_path, support).create(at, [file("first", b"1"), second])
    assert [one.options for one in mounts_under(at) if "rw" in one.options] == []
    with pytest.raises(OSError, match="Read-only"):
        (at / "first").open("wb")


def test_the_mount_is_noswap_read_only_and_lets_nothing_run(tmp_path: Path, at: Path) -> None:
    assert files_on(tmp_path).create(at, [file("a", b"x")]) is Backing.NOSWAP
    (mounted,) = mounts_under(at)
    assert {"ro", "nosuid", "nodev", "noexec", "noswap"} <= set(mounted.options)
    with pytest.raises(OSError, match="Read-only") as refusal:
        (at / "b").write_bytes(b"y")
    assert refusal.value.errno == errno.EROFS


def test_a_mount_has_room_for_its_files_and_hardly_more(tmp_path: Path, at: Path) -> None:
    many = [file(f"d{n}/f{n}", b"x" * n * 1000) for n in range(40)]
    files_on(tmp_path).create(at, many)
    assert all((at / f"d{n}/f{n}").stat().st_size == n * 1000 for n in range(40))
    room = os.statvfs(at)
    assert room.f_bfree <= 2
    assert room.f_ffree <= 2


def test_after_removal_nothing_is_mounted_and_removing_again_is_no_error(tmp_path: Path, at: Path) -> None:
    files = files_on(tmp_path)
    files.create(at, [file("a", b"x")])
    files.remove(at)
    files.remove(at)
    assert mounts_under(at) == []
    assert list(at.iterdir()) == []


def test_a_failed_creation_leaves_no_mount(tmp_path: Path, at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_mount_options", lambda backing, files: ("tmpfs", "size=4096,nr_inodes=2"))
    with pytest.raises(OSError, match="No space left"):
        files_on(tmp_path).create(at, [file("a", b"x"), file("b", b"y" * 9000)])
    assert mounts_under(at) == []


def test_an_unsafe_path_is_refused_before_anything_is_mounted(tmp_path: Path, at: Path) -> None:
    with pytest.raises(UnsafePath):
        files_on(tmp_path).create(at, [file("../out", b"x")])
    assert mounts_under(at) == []


def test_the_probe_cleans_up_and_gives_the_kernels_words_for_what_it_refuses(tmp_path: Path) -> None:
    assert files_on(tmp_path).probe() == Support()
    assert not (tmp_path / "probe").exists()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert kernel._try(scratch, "tmpfs", "size=4096,nosuchoption") == "mount: Invalid argument"
    assert kernel._try(scratch, "nosuchfs", "") == "mount: No such device"


def test_a_symlink_planted_in_the_place_of_a_file_is_not_followed(tmp_path: Path, at: Path) -> None:
    """Nothing else can write there; should it ever, the value must not leave the mount."""
    mount("tmpfs", at, "tmpfs", MountFlag.NOSUID)
    (at / "a").symlink_to(tmp_path / "outside")
    root = os.open(at, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            kernel._write(root, file("a", b"secret"))
    finally:
        os.close(root)
    assert not (tmp_path / "outside").exists()

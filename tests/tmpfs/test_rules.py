"""What may be asked of memory files, on every kernel."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto.plaintext import Plaintext
from vault.tmpfs.fake import BARE_KERNEL, NO_NOSWAP, NO_RAMFS, OLD_KERNEL, FakeMemoryFiles
from vault.tmpfs.mount import parse_mountinfo
from vault.tmpfs.port import (
    MAX_TOTAL_BYTES,
    Backing,
    MemoryFile,
    NoMemoryOnlyMount,
    Support,
    TooMuchForMemory,
    UnsafePath,
    check_files,
    directories_of,
)


def file(path: str, data: bytes = b"x") -> MemoryFile:
    return MemoryFile(path=PurePosixPath(path), data=Plaintext(data))


def test_the_best_backing_of_a_new_kernel_is_noswap() -> None:
    assert FakeMemoryFiles().create(Path("/m"), [file("a")]) is Backing.NOSWAP


def test_an_old_kernel_falls_back_to_ramfs() -> None:
    assert FakeMemoryFiles(OLD_KERNEL).create(Path("/m"), [file("a")]) is Backing.RAMFS


def test_with_swap_on_and_no_memory_only_mount_the_task_is_refused_with_both_reasons() -> None:
    files = FakeMemoryFiles(BARE_KERNEL)
    with pytest.raises(NoMemoryOnlyMount) as refusal:
        files.create(Path("/m"), [file("a")])
    text = str(refusal.value)
    assert f"noswap: {NO_NOSWAP}" in text
    assert f"ramfs: {NO_RAMFS}" in text
    assert "allow-swappable-mounts" in text
    assert files.mounted == {}


@pytest.mark.parametrize(("swap_on", "allowed"), [(False, False), (True, True)])
def test_a_swappable_mount_needs_swap_off_or_permission(swap_on: bool, allowed: bool) -> None:
    assert BARE_KERNEL.choose(swap_on=swap_on, allow_swappable=allowed) is Backing.SWAPPABLE


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/a", "..", ".", "a/..", "a\0b"])
def test_a_path_that_leaves_its_directory_is_refused(path: str) -> None:
    with pytest.raises(UnsafePath, match="choose another target"):
        check_files([file(path)])


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b"), ("a/b/c", "a/b"), ("a", "./a")])
def test_paths_that_clash_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(UnsafePath):
        check_files([file(each) for each in paths])


def test_more_than_a_node_keeps_for_a_task_is_refused_without_naming_a_value() -> None:
    half = file("a", b"s" * (MAX_TOTAL_BYTES // 2))
    other = file("b", b"s" * (MAX_TOTAL_BYTES // 2 + 1))
    with pytest.raises(TooMuchForMemory, match=f"{MAX_TOTAL_BYTES + 1} bytes"):
        check_files([half, other])


def test_directories_come_parents_first_and_once() -> None:
    wanted = directories_of([file("z/y/x"), file("z/a"), file("q")])
    assert [str(each) for each in wanted] == ["z", "z/y"]


def test_mountinfo_is_read_with_its_escapes() -> None:
    line = r"36 35 0:52 / /run/a\040b\134c rw,nosuid shared:7 - tmpfs tmpfs rw,size=4k,noswap"
    (found,) = parse_mountinfo(line)
    assert str(found.point) == "/run/a b\\c"
    assert found.fstype == "tmpfs"
    assert {"nosuid", "noswap"} <= set(found.options)


@given(st.text(max_size=200))
def test_mountinfo_of_any_content_is_read_without_failing(text: str) -> None:
    assert len(list(parse_mountinfo(text))) <= len(text.splitlines())


def test_a_kernel_that_offers_all_is_described_by_empty_reasons() -> None:
    assert Support().choose(swap_on=True, allow_swappable=False) is Backing.NOSWAP

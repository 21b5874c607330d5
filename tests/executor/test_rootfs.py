"""Paths inside an image never lead out of it."""

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.agent.executors.oci.process import Accounts
from vault.agent.executors.oci.rootfs import read_accounts, resolve_in_root
from vault.agent.executors.port import TaskRejected


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    (place / "a/b").mkdir(parents=True)
    (place / "a/absolute").symlink_to("/a/b")
    (place / "a/relative").symlink_to("b")
    (place / "a/up").symlink_to("../../../../a")
    (place / "a/loop").symlink_to("loop")
    (place / "a/dangling").symlink_to("/no/where")
    (place / "a/chain").symlink_to("/a/up/absolute")
    return place


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/a/b", "a/b"),
        ("/a/absolute/x", "a/b/x"),
        ("/a/relative", "a/b"),
        ("/a/up/b", "a/b"),
        ("/a/chain/../x", "a/x"),
        ("/a/dangling/x", "no/where/x"),
        ("/../../etc/passwd", "etc/passwd"),
        ("a/b", "a/b"),
        ("/", "."),
    ],
)
def test_links_are_followed_as_if_the_image_were_the_whole_world(root: Path, path: str, wanted: str) -> None:
    assert resolve_in_root(root, PurePosixPath(path)) == root / wanted


def test_a_loop_of_links_is_refused(root: Path) -> None:
    with pytest.raises(TaskRejected, match="too many symbolic links"):
        resolve_in_root(root, PurePosixPath("/a/loop"))


_PARTS = st.lists(st.sampled_from(["a", "b", "..", ".", "absolute", "relative", "up", "dangling", "chain"]), max_size=9)


@settings(max_examples=200, deadline=None)
@given(_PARTS)
def test_no_path_whatever_its_parts_leaves_the_image(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    place = tmp_path_factory.getbasetemp() / "fuzzed-root"
    if not place.exists():
        (place / "a/b").mkdir(parents=True)
        for name, target in (("absolute", "/a/b"), ("relative", "b"), ("up", "../../../../a"), ("chain", "/a/up/b")):
            (place / "a" / name).symlink_to(target)
    found = resolve_in_root(place, PurePosixPath("/", *parts))
    assert found == place or place in found.parents
    assert ".." not in found.parts


def test_account_files_that_are_no_files_count_as_empty(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    (tmp_path / "etc/group").mkdir()
    assert read_accounts(tmp_path) == Accounts()
    assert read_accounts(tmp_path / "etc") == Accounts()


def test_account_files_are_read_through_links_within_the_image_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "real").write_text("inside")
    (tmp_path / "outside").write_text("outside")
    (root / "etc/passwd").symlink_to("/real")
    (root / "etc/group").symlink_to(tmp_path / "outside")
    assert read_accounts(root) == Accounts(passwd="inside", group="")

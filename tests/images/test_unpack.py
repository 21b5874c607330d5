"""Unpacking a layer: what overlayfs shows afterwards, and that nothing leads out of the directory."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.archives import directory, hard_link, member, symlink, tar
from vault.agent.images.errors import BadArchive, NoSpace
from vault.agent.images.tar import TarReader
from vault.agent.images.unpack import unpack

pytestmark = pytest.mark.machine

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    target = tmp_path / "layer"
    target.mkdir()
    (tmp_path / "outside").write_text("untouched")
    return target


def put(target: Path, *members: Member, below: tuple[Path, ...] = ()) -> int:
    target.mkdir(exist_ok=True)
    return unpack(TarReader(io.BytesIO(tar(*members)).read), target, below=below)


@pytest.fixture
def stacked(tmp_path: Path) -> Iterator[Path]:
    """A mount point; layers l1, l2, … beside it are stacked by `stack`."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    yield mounted
    subprocess.run(["umount", str(mounted)], check=False, capture_output=True)


def stack(mounted: Path, *layers: Path) -> set[str]:
    """Mount layers, lowermost first; return every path that shows."""
    lower = ":".join(str(layer) for layer in reversed(layers))
    empty = mounted.parent / "empty"
    empty.mkdir(exist_ok=True)
    options = f"lowerdir={lower}" if len(layers) > 1 else f"lowerdir={lower}:{empty}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(mounted)], check=True)
    return {str(path.relative_to(mounted)) for path in mounted.rglob("*")}


def test_owner_mode_time_and_content_are_as_in_the_layer(place: Path) -> None:
    size = put(
        place,
        directory("d", 0o1777, uid=5, gid=6, mtime=1_000_000_000),
        member("d/f", b"content", mode=0o640, uid=7, gid=8, mtime=1_200_000_000),
        symlink("d/s", "/etc/passwd"),
        hard_link("h", "d/f"),
    )
    shown = (place / "d/f").stat()
    assert size == 7
    assert (shown.st_uid, shown.st_gid, stat.S_IMODE(shown.st_mode), shown.st_mtime) == (7, 8, 0o640, 1_200_000_000)
    assert (place / "d").stat().st_mtime == 1_000_000_000
    assert stat.S_IMODE((place / "d").stat().st_mode) == 0o1777
    assert os.readlink(place / "d/s") == "/etc/passwd"
    assert (place / "h").stat().st_ino == shown.st_ino


def test_set_uid_bits_and_capabilities_outlive_the_change_of_owner(place: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service+ep
    headers = {"SCHILY.xattr.security.capability": capability.decode("latin-1")}
    info, data = member("ping", b"x", mode=0o4755, uid=0, gid=0)
    info.pax_headers = headers
    put(place, (info, data))
    assert stat.S_IMODE((place / "ping").stat().st_mode) == 0o4755
    assert os.getxattr(place / "ping", "security.capability") == capability


def test_attributes_that_overlayfs_believes_are_not_taken_from_a_layer(place: Path) -> None:
    info, data = directory("d")
    info.pax_headers = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}
    put(place, (info, data))
    assert not [name for name in os.listxattr(place / "d") if name.startswith("trusted")]


def test_a_white_out_hides_a_lower_file_and_an_opaque_mark_a_lower_directory(tmp_path: Path, stacked: Path) -> None:
    low, high = tmp_path / "l1", tmp_path / "l2"
    put(low, directory("d"), member("d/a"), member("d/b"), directory("e"), member("e/a"), member("top"))
    put(high, member("d/.wh.a"), member("e/.wh..wh..opq"), member("e/new"), member(".wh.top"))
    assert stack(stacked, low, high) == {"d", "d/b", "e", "e/new"}


def test_a_white_out_does_not_hide_what_its_own_layer_brings(tmp_path: Path, stacked: Path) -> None:
    low, high = tmp_path / "l1", tmp_path / "l2"
    put(low, directory("d"), member("d/old"), directory("e"), member("e/old"), member("f", b"old"))
    put(
        high,
        member(".wh.d"), directory("d"), member("d/new"),
        directory("e"), member("e/new"), member(".wh.e"),
        member("f", b"new"), member(".wh.f"),
    )  # fmt: skip
    assert stack(stacked, low, high) == {"d", "d/new", "e", "e/new", "f"}
    assert (stacked / "f").read_bytes() == b"new"


def test_a_directory_that_a_layer_does_not_describe_looks_like_the_one_below(tmp_path: Path) -> None:
    low, middle, high = (tmp_path / name for name in ("l1", "l2", "l3"))
    put(low, directory("tmp", 0o1777, uid=3), directory("var", 0o700))
    put(middle, directory("var", 0o750))
    put(high, member("tmp/f"), member("var/x/y"), below=(low, middle))
    assert stat.S_IMODE((high / "tmp").stat().st_mode) == 0o1777
    assert (high / "tmp").stat().st_uid == 3
    assert stat.S_IMODE((high / "var").stat().st_mode) == 0o750
    assert stat.S_IMODE((high / "var/x").stat().st_mode) == 0o755


def test_what_comes_later_in_a_layer_replaces_what_came_before(place: Path) -> None:
    put(
        place,
        member("a", b"1"), member("a", b"2"),
        directory("b"), member("b/x"), member("b", b"file"),
        symlink("c", "elsewhere"), directory("c"), member("c/y"),
        directory("e", 0o700), member("e/z"), directory("e", 0o755),
    )  # fmt: skip
    assert (place / "a").read_bytes() == b"2"
    assert (place / "b").read_bytes() == b"file"
    assert (place / "c").is_dir()
    assert not (place / "c").is_symlink()
    assert [path.name for path in (place / "e").iterdir()] == ["z"]


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/outside", "a/..", "..", "./../x"])
def test_names_that_lead_elsewhere_are_refused(place: Path, name: str) -> None:
    with pytest.raises(BadArchive, match="forbidden name"):
        put(place, member(name, b"evil"))
    assert (place.parent / "outside").read_text() == "untouched"


@pytest.mark.parametrize("target", ["..", "../..", "/", "{outside}"])
def test_links_lead_nowhere_but_into_the_layer(place: Path, target: str) -> None:
    """A link that points out is kept as it is, and followed as a container would: inside."""
    target = target.format(outside=place.parent)
    with suppress(BadArchive):
        put(place, symlink("out", target), member("out/outside", b"evil"), hard_link("h", "out/outside"))
    assert (place.parent / "outside").read_text() == "untouched"
    assert not Path("/outside").exists()


def test_a_hard_link_to_a_file_outside_is_refused(place: Path) -> None:
    for target in ("../outside", "a/../../outside", str(place.parent / "outside"), "out/outside"):
        with pytest.raises(BadArchive):
            put(place, symlink("out", str(place.parent)), hard_link("h", target))
        assert (place.parent / "outside").stat().st_nlink == 1


def test_a_file_is_not_written_through_a_link_of_the_same_name(place: Path) -> None:
    put(place, symlink("f", str(place.parent / "outside")), member("f", b"evil"))
    assert (place.parent / "outside").read_text() == "untouched"
    assert (place / "f").read_bytes() == b"evil"


def test_devices_are_left_to_the_runtime_and_refused_elsewhere(place: Path) -> None:
    disk = {"type": tarfile.BLKTYPE, "devmajor": 8, "devminor": 0}
    put(
        place,
        member("dev/sda", **disk),
        member("chroot/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
    )
    assert not (place / "dev/sda").exists()
    assert (place / "chroot/null").stat().st_rdev == os.makedev(1, 3)
    with pytest.raises(BadArchive, match="device outside /dev"):
        put(place, member("etc/sda", **disk))
    with pytest.raises(BadArchive, match="device outside /dev"):
        put(place, member("etc/mem", type=tarfile.CHRTYPE, devmajor=1, devminor=1))


def test_white_outs_without_a_name_and_roots_that_are_files_are_refused(place: Path) -> None:
    for bad in (member(".wh."), member("a/.wh..."), member(".wh.."), member("./", type=tarfile.REGTYPE)):
        if bad[0].name == "./":
            bad[0].name = "."
        with pytest.raises(BadArchive):
            put(place, bad)


def test_a_name_too_long_or_too_deep_is_refused_in_a_sentence(place: Path) -> None:
    with pytest.raises(BadArchive, match="cannot be unpacked: File name too long"):
        put(place, member("x" * 300))
    with pytest.raises(BadArchive, match="forbidden name"):
        put(place, member("d/" * 300 + "f"))
    put(place, member("d/" * 200 + "f"))


def test_unpacking_stops_before_the_disk_is_full(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(NoSpace, match="free space under the data root"):
            put(small, member("f", bytes(2 << 20)))
    finally:
        subprocess.run(["umount", str(small)], check=True)


parts = st.sampled_from(["a", "b", "c", "..", ".", ".wh.a", ".wh..wh..opq", "", "dev"])
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
kinds = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
targets = st.sampled_from(["a", "b/c", "..", "../../outside", "/", "/outside", "c", "../a", "."])


@given(st.lists(st.tuples(paths, kinds, targets), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_layer_reaches_what_is_outside_its_directory(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, bytes, str]]
) -> None:
    around = tmp_path_factory.mktemp("around")
    (around / "outside").write_text("untouched")
    before = (around / "outside").stat()
    target = around / "layer"
    members = [
        member(name, b"evil" if kind == tarfile.REGTYPE else b"", type=kind, linkname=link, mode=0o777, uid=7)
        for name, kind, link in entries
    ]
    with suppress(BadArchive):
        put(target, *members)
    after = (around / "outside").stat()
    assert (after.st_ctime_ns, after.st_nlink) == (before.st_ctime_ns, before.st_nlink)
    assert sorted(path.name for path in around.iterdir()) == ["layer", "outside"]

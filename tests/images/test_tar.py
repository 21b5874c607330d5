"""The tar reader: it reads what `tarfile` writes, and nothing makes it crash, hang or read without bound."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.archives import digest, directory, hard_link, member, symlink, tar
from vault.agent.images.errors import BadArchive
from vault.agent.images.streams import Hashing
from vault.agent.images.tar import Entry, Kind, TarReader

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def read(data: bytes) -> list[tuple[Entry, bytes]]:
    reader = TarReader(io.BytesIO(data).read)
    return [(entry, b"".join(reader.body())) for entry in reader]


names = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60),
    min_size=1,
    max_size=4,
).map("/".join)
numbers = st.integers(min_value=0, max_value=0o7777777)


@pytest.mark.parametrize("format", FORMATS[1:])
@given(
    st.lists(
        st.tuples(names, st.binary(max_size=1500), numbers, numbers, st.integers(min_value=0, max_value=0o7777)),
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_files_come_back_as_they_were_written(format: int, files: list[tuple[str, bytes, int, int, int]]) -> None:
    written = [member(name, data, uid=uid, gid=gid, mode=mode, mtime=uid) for name, data, uid, gid, mode in files]
    got = read(tar(*written, format=format))
    assert [(e.name, body, e.uid, e.gid, e.mode, e.mtime_ns) for e, body in got] == [
        (name, data, uid, gid, mode, uid * 10**9) for name, data, uid, gid, mode in files
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_every_kind_of_entry_is_told_apart(format: int) -> None:
    data = tar(
        directory("d/"),
        symlink("s", "target"),
        hard_link("h", "d/f"),
        member("p", type=tarfile.FIFOTYPE),
        member("c", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("b", type=tarfile.BLKTYPE, devmajor=8, devminor=0),
        format=format,
    )
    entries = [entry for entry, _ in read(data)]
    assert [entry.kind for entry in entries] == [
        Kind.DIRECTORY, Kind.SYMLINK, Kind.HARD_LINK, Kind.FIFO, Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE,
    ]  # fmt: skip
    assert (entries[1].target, entries[2].target) == ("target", "d/f")
    assert (entries[4].device, entries[5].device) == ((1, 3), (8, 0))


@pytest.mark.parametrize("format", FORMATS[1:])
def test_long_names_large_numbers_and_odd_bytes_survive(format: int) -> None:
    name, link = "x" * 90 + "/" + "y" * 200, "z" * 300
    data = tar(
        member(name, b"1", uid=2**31, gid=3_000_000), symlink(name + "2", link), member("a\udcff", b"2"), format=format
    )
    entries = [entry for entry, _ in read(data)]
    assert [entry.name for entry in entries] == [name, name + "2", "a\udcff"]
    assert (entries[0].uid, entries[0].gid, entries[1].target) == (2**31, 3_000_000, link)


def test_fractions_of_seconds_and_extended_attributes_are_read() -> None:
    headers = {"mtime": "12.5", "SCHILY.xattr.user.note": "a=b\nc"}
    ((entry, _),) = read(tar(member("f", pax_headers=headers)))
    assert entry.mtime_ns == 12_500_000_000
    assert entry.xattrs == {"user.note": b"a=b\nc"}


def test_what_follows_the_end_mark_counts_for_the_digest_only_once_it_is_drained() -> None:
    data = tar(member("f", b"x")) + bytes(5000) + b"tail"
    source = Hashing(io.BytesIO(data))
    reader = TarReader(source.read)
    assert [entry.name for entry in reader] == ["f"]
    reader.drain()
    assert source.digest == digest(data)


@pytest.mark.parametrize("cut", [1, 511, 513, 1000, 1535])
def test_an_archive_that_ends_too_early_is_refused(cut: int) -> None:
    with pytest.raises(BadArchive):
        read(tar(member("f", b"x" * 1024))[:cut])


def header(**fields: Any) -> bytearray:
    """The first block of a tar with one entry, checksum and all."""
    info = tarfile.TarInfo("f")
    for field, value in fields.items():
        setattr(info, field, value)
    return bytearray(info.tobuf(tarfile.GNU_FORMAT)[:512])


def signed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_sizes_that_are_negative_or_absurd_are_refused() -> None:
    for field, words in (
        (b"\xff" * 12, "not a number"),
        (b"\x80" + b"\x7f" * 11, "too large"),
        (b"99999999999\0", "not a number"),
        (b"-1\0" + bytes(9), "not a number"),
    ):
        block = header()
        block[124:136] = field
        with pytest.raises(BadArchive, match=words):
            read(signed(block) + bytes(1024))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_of_a_gigabyte_is_refused_before_it_is_read(kind: bytes) -> None:
    asked = []

    def source(count: int) -> bytes:
        asked.append(count)
        return signed(header(type=kind, size=1 << 30)) if len(asked) == 1 else bytes(count)

    with pytest.raises(BadArchive, match="too large"):
        list(TarReader(source))
    assert asked == [512]


def test_headers_without_end_are_refused() -> None:
    one = signed(header(type=b"x", size=0))
    with pytest.raises(BadArchive, match="too large"):
        read(one * 3000)


@pytest.mark.parametrize(
    "records",
    [b"5 a=\n", b"99 path=x\n", b"0 a=b\n", b"path=x\n", b"9 path=x ", b"-5 a=b\n", b"18 size=9999999999999\n"],
)
def test_records_that_do_not_add_up_are_refused(records: bytes) -> None:
    data = signed(header(type=b"x", size=len(records))) + records.ljust(512, b"\0") + signed(header()) + bytes(1024)
    if records == b"5 a=\n":
        assert [entry.name for entry, _ in read(data)] == ["f"]
    else:
        with pytest.raises(BadArchive):
            read(data)


def test_sparse_files_and_unknown_kinds_are_refused() -> None:
    for kind in (b"S", b"V", b"M", b"Z"):
        with pytest.raises(BadArchive, match="unknown kind"):
            read(signed(header(type=kind)) + bytes(1024))
    with pytest.raises(BadArchive, match="sparse"):
        read(tar(member("f", pax_headers={"GNU.sparse.major": "1"})))


SEEDS = [
    tar(member("a/b", b"x" * 700), directory("d"), symlink("s", "t"), member("n" * 150, b"y"), format=format)
    for format in FORMATS[1:]
]


@given(
    st.sampled_from(range(len(SEEDS))),
    st.lists(st.tuples(st.integers(min_value=0, max_value=4000), st.binary(min_size=1, max_size=12)), max_size=6),
    st.booleans(),
)
@settings(max_examples=400, deadline=2000)
def test_altered_bytes_are_read_or_refused_and_never_more_than_there_are(
    seed: int, changes: list[tuple[int, bytes]], sign: bool
) -> None:
    data = bytearray(SEEDS[seed])
    for place, new in changes:
        data[place : place + len(new)] = new
    if sign:  # Past the checksum, to reach what lies behind it.
        for start in range(0, len(data) - 511, 512):
            if data[start : start + 512].strip(b"\0"):
                data[start : start + 512] = signed(data[start : start + 512])
    try:
        got = read(bytes(data))
    except BadArchive:
        return
    assert sum(len(body) for _, body in got) <= len(data)


@given(st.binary(max_size=3000))
@settings(max_examples=200, deadline=2000)
def test_random_bytes_are_refused(data: bytes) -> None:
    try:
        assert read(data) == []
    except BadArchive:
        return

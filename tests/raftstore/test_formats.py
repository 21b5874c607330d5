"""Byte formats: what is read back is what was written, and altered bytes are refused by name, never a crash."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.raftstore.world import CLUSTER_ID, ROOT, numbered
from vault.crypto.integrity import integrity_key
from vault.crypto.keyring import new_keyring
from vault.model.base import Version
from vault.model.errors import StoreDamaged
from vault.model.ids import Kind
from vault.raftstore import codec, files
from vault.raftstore.head import HEAD_BYTES, Epoch, Head, Part, Tally, decode_head
from vault.raftstore.keys import check, key_of, kind_in, number_of, object_key, split, value_key

KEY = integrity_key(ROOT, cluster_id=CLUSTER_ID)
KEYRING = new_keyring(now_s=0)
IDS = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=25)
KEYS = st.builds(object_key, st.sampled_from(Kind), IDS) | st.builds(
    value_key, st.sampled_from([Kind.SECRET, Kind.CONFIG]), IDS
)
U64 = st.integers(0, 2**64 - 1)
PARTS = st.builds(Part, U64, st.integers(0, 2**256 - 1))
LIVE = st.dictionaries(KEYS, PARTS, max_size=8)


@given(KEYS)
def test_a_key_says_where_it_belongs(key: str) -> None:
    check(key)
    word, object_id = split(key)
    assert key == f"/v1/{word}/{object_id}"
    assert word.removesuffix("-value") == kind_in(key).value
    assert key_of(number_of(key)) == key


@pytest.mark.parametrize(
    "key",
    ["", "/v1/secret/", "/v1/secret/A", "/v1/secret/a/b", "/v1/secret/../x", "/v1/other/a", "/v2/secret/a",
     "/v1/secret/" + "a" * 26, "/v1/secret/ä", "/v1/secret/a\n", "/v1/keyring/other"],
)  # fmt: skip
def test_a_key_of_another_form_is_refused(key: str) -> None:
    with pytest.raises(StoreDamaged):
        check(key)


@given(st.integers(0, 2**400))
def test_any_number_is_a_key_of_ours_or_none(number: int) -> None:
    key = key_of(number)
    assert key == "" or number_of(key) == number


@given(U64, U64, U64, LIVE)
def test_head_is_read_as_it_was_written(generation: int, counter: int, index: int, live: dict[str, Part]) -> None:
    tally = Tally().changed((), live.items())
    head = Head(epoch=Epoch(generation, counter), index=index, tally=tally)
    encoded = head.encode(KEY)
    assert len(encoded) == HEAD_BYTES
    assert decode_head(KEY, encoded) == head


@given(st.integers(0, HEAD_BYTES - 1), st.integers(1, 255))
def test_an_altered_head_is_refused(where: int, bits: int) -> None:
    encoded = bytearray(Head(epoch=Epoch(1, 2), index=3, tally=Tally()).encode(KEY))
    encoded[where] ^= bits
    with pytest.raises(StoreDamaged, match="head"):
        decode_head(KEY, bytes(encoded))


@given(st.binary(max_size=400))
def test_any_bytes_are_no_head(encoded: bytes) -> None:
    with pytest.raises(StoreDamaged, match="head"):
        decode_head(KEY, encoded)


@given(LIVE, LIVE)
def test_a_tally_depends_on_what_is_live_and_not_on_how_it_came(first: dict[str, Part], then: dict[str, Part]) -> None:
    gone = [(key, first[key]) for key in then if key in first]
    stepwise = Tally().changed((), first.items()).changed(gone, then.items())
    assert stepwise == Tally().changed((), (first | then).items())
    assert Tally().changed((), first.items()).changed(first.items(), ()) == Tally()


@given(LIVE, KEYS, PARTS, U64)
def test_one_record_with_another_index_is_found(live: dict[str, Part], key: str, part: Part, other: int) -> None:
    newest = Tally().changed((), (live | {key: part}).items())
    found = Tally().changed((), (live | {key: Part(other, part.mac)}).items())
    difference = newest.less(found)
    assert difference.is_of_one(key) == (part.at != other)
    assert not any(difference.is_of_one(another) for another in live if another != key)


@given(KEYS, U64, st.binary(max_size=300))
def test_a_record_opens_at_its_place_only(key: str, index: int, plaintext: bytes) -> None:
    sealed = codec.seal(KEYRING, CLUSTER_ID, key, index, plaintext)
    assert codec.unseal(KEYRING, CLUSTER_ID, key, index, sealed) == plaintext
    for other in ((key + "x", index, CLUSTER_ID), (key, index ^ 1, CLUSTER_ID), (key, index, "other")):
        with pytest.raises(StoreDamaged):
            codec.unseal(KEYRING, other[2], other[0], other[1], sealed)


@given(U64, st.binary(min_size=1, max_size=300))
def test_a_frame_is_read_as_it_was_written(index: int, sealed: bytes) -> None:
    assert codec.unframe("/v1/task/a", codec.frame(index, sealed)) == (index, sealed)


@given(st.binary(max_size=100).filter(lambda framed: len(framed) < 10 or framed[0] != 1))
def test_other_bytes_are_no_frame(framed: bytes) -> None:
    with pytest.raises(StoreDamaged, match="task/a"):
        codec.unframe("/v1/task/a", framed)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_object(packed: bytes) -> None:
    for kind in Kind:
        with pytest.raises(StoreDamaged, match=f"{kind}/a"):
            codec.decode(object_key(kind, "a"), 1, packed)


def test_an_object_under_another_id_or_version_is_refused() -> None:
    secret = numbered("name")
    packed = codec.encode(secret)
    assert codec.decode(object_key(Kind.SECRET, secret.id), 0, packed) == secret
    with pytest.raises(StoreDamaged):
        codec.decode(object_key(Kind.SECRET, "a"), 0, packed)
    with pytest.raises(StoreDamaged):
        codec.decode(object_key(Kind.SECRET, secret.id), Version(index=1).index, packed)


@given(IDS)
def test_the_engine_file_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    directory = tmp_path_factory.mktemp("engine")
    content = files.EngineFile("sqlite", f"sqlite-{name}")
    files.write(directory, content)
    assert files.read(directory) == content


def test_only_left_over_engine_directories_are_swept(tmp_path: Path) -> None:
    for name in ("sqlite-a", "sqlite-b", "etcd-c", "mine", "sqlite-B"):
        (tmp_path / name).mkdir()
    files.sweep(tmp_path, keep="sqlite-a")
    assert {path.name for path in tmp_path.iterdir()} == {"sqlite-a", "mine", "sqlite-B"}

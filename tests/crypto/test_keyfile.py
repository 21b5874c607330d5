"""The node key file opens under its unlock key only, and says which version of it that is."""

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from vault.crypto.certificates import new_tls_key
from vault.crypto.errors import Altered, CryptoError, UnknownFormat, WrongUnlockKey
from vault.crypto.keyfile import MAX_FILE_BYTES, NodeKeys, open_key_file, seal_key_file, unlock_version_of
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Plaintext

UNLOCK = UnlockKey(b"u" * 32)
MANAGER = NodeKeys(
    cluster_id="c" * 25,
    node_id="n" * 25,
    tls_key=new_tls_key(),
    node_key=NodeKey.generate(),
    root_key=RootKey.generate(),
    peer_key=Plaintext(b"peer"),
)
WORKER = dataclasses.replace(MANAGER, root_key=None, peer_key=None)
FILE = seal_key_file(MANAGER, UNLOCK, unlock_version=12)


@pytest.mark.parametrize("keys", [MANAGER, WORKER], ids=["manager", "worker"])
def test_keys_come_back_as_they_went_in(keys: NodeKeys) -> None:
    back = open_key_file(seal_key_file(keys, UNLOCK, unlock_version=1), UNLOCK)
    assert (back.cluster_id, back.node_id) == (keys.cluster_id, keys.node_id)
    for name in ("tls_key", "node_key", "root_key", "peer_key"):
        mine, theirs = getattr(keys, name), getattr(back, name)
        assert (mine is None and theirs is None) or mine == theirs


def test_libsodium_itself_opens_the_box() -> None:
    inside = bindings.crypto_secretbox_open(FILE[33:], FILE[9:33], b"u" * 32)
    assert MANAGER.tls_key.reveal() in inside


def test_a_wrong_unlock_key_is_named_with_the_version_the_file_waits_for() -> None:
    assert unlock_version_of(FILE) == 12
    with pytest.raises(WrongUnlockKey, match=r"invalid key provided .*version 12") as caught:
        open_key_file(FILE, UnlockKey.generate())
    assert caught.value.status == 401


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    for position in range(len(FILE) * 8):
        altered = bytearray(FILE)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(CryptoError):
            open_key_file(bytes(altered), UNLOCK)
    for size in range(0, len(FILE), 3):
        with pytest.raises(CryptoError):
            open_key_file(FILE[:size], UNLOCK)


def test_a_changed_version_of_the_unlock_key_is_noticed_though_it_lies_outside_the_box() -> None:
    with pytest.raises(Altered):
        open_key_file(FILE[:8] + b"\x63" + FILE[9:], UNLOCK)


def test_an_oversized_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(UnknownFormat):
        open_key_file(b"\x01" + bytes(MAX_FILE_BYTES), UNLOCK)


@given(st.binary(max_size=200))
def test_bytes_from_outside_are_refused_by_name(data: bytes) -> None:
    for start in (b"", b"\x01"):
        with pytest.raises(CryptoError):
            open_key_file(start + data, UNLOCK)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.one_of(st.none(), st.binary(max_size=40), st.text())).map(msgspec.msgpack.encode),
    )
)
def test_a_well_sealed_box_with_anything_else_inside_is_refused_by_name(inside: bytes) -> None:
    header, nonce = FILE[:9], bytes(24)
    with pytest.raises(CryptoError):
        open_key_file(header + nonce + bindings.crypto_secretbox(inside, nonce, b"u" * 32), UNLOCK)


def test_printing_keys_shows_none_of_them() -> None:
    shown = repr(MANAGER)
    assert "BEGIN" not in shown
    assert "RootKey(32 bytes)" in shown

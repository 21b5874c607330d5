"""The node key file opens under its unlock key only, and says which version of it that is."""

import dataclasses
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from vault.crypto.certificates import Role, issue, new_authority, new_tls_key, request_certificate
from vault.crypto.errors import Altered, CryptoError, InvalidCertificate, UnknownFormat, WrongUnlockKey
from vault.crypto.keyfile import (
    MAX_FILE_BYTES,
    NodeKeys,
    open_key_file,
    rewrap_key_file,
    seal_key_file,
    unlock_version_of,
)
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


def test_a_renewal_that_breaks_off_leaves_the_key_of_whichever_certificate_was_kept() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    authority, fresh = new_authority(now=now), new_tls_key()

    def certificate(key: Plaintext) -> bytes:
        request = request_certificate(key, node_key=MANAGER.node_key.public())
        made, _ = issue(authority, request, cluster_id="c" * 25, node_id="n" * 25, role=Role.WORKER, now=now)
        return made

    kept = seal_key_file(dataclasses.replace(MANAGER, next_tls_key=fresh), UNLOCK, unlock_version=1)
    for key in (MANAGER.tls_key, fresh):
        settled = open_key_file(kept, UNLOCK).settled(certificate(key))
        assert settled.tls_key == key
        assert settled.next_tls_key is None
    with pytest.raises(InvalidCertificate, match="for another key"):
        open_key_file(kept, UNLOCK).settled(certificate(new_tls_key()))


def test_a_key_file_of_the_release_before_is_read() -> None:
    body = msgspec.msgpack.decode(bindings.crypto_secretbox_open(FILE[33:], FILE[9:33], b"u" * 32))
    before = msgspec.msgpack.encode(body[:7])
    box = FILE[9:33] + bindings.crypto_secretbox(before, FILE[9:33], b"u" * 32)
    assert open_key_file(FILE[:9] + box, UNLOCK).tls_key == MANAGER.tls_key


def test_wrapping_a_key_file_anew_changes_the_key_that_opens_it_and_nothing_inside() -> None:
    other = UnlockKey.generate()
    wrapped = rewrap_key_file(FILE, UNLOCK, other, unlock_version=13)
    assert unlock_version_of(wrapped) == 13
    assert open_key_file(wrapped, other).root_key == MANAGER.root_key
    with pytest.raises(WrongUnlockKey, match="version 13"):
        open_key_file(wrapped, UNLOCK)
    with pytest.raises(WrongUnlockKey):
        rewrap_key_file(FILE, other, UNLOCK, unlock_version=14)


def test_a_worker_s_keys_have_no_key_of_managers() -> None:
    worker = MANAGER.as_worker()
    assert (worker.root_key, worker.peer_key) == (None, None)
    assert (worker.tls_key, worker.node_key) == (MANAGER.tls_key, MANAGER.node_key)

"""The keyring keeps its terms, and opens only under its root key and for its cluster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto.errors import Altered, CryptoError, UnknownFormat, UnknownTerm
from vault.crypto.keyring import (
    MAX_TERMS,
    new_keyring,
    unwrap_keyring,
    with_new_term,
    without_terms_before,
    wrap_keyring,
)
from vault.crypto.keys import RootKey

ROOT = RootKey(b"r" * 32)
RING = with_new_term(with_new_term(new_keyring(now_s=10.9), now_s=20), now_s=30)


def test_terms_count_from_one_and_remember_when_they_were_made() -> None:
    assert [(t.number, t.created_s) for t in RING.terms.values()] == [(1, 10), (2, 20), (3, 30)]
    assert RING.newest.number == 3


def test_a_wrapped_keyring_comes_back_whole() -> None:
    back = unwrap_keyring(wrap_keyring(RING, ROOT, cluster_id="c"), ROOT, cluster_id="c")
    assert back.newest == RING.newest
    assert dict(back.terms) == dict(RING.terms)


def test_adding_a_term_keeps_the_old_ones_and_leaves_the_first_keyring_alone() -> None:
    more = with_new_term(RING, now_s=40)
    assert set(more.terms) == {1, 2, 3, 4}
    assert set(RING.terms) == {1, 2, 3}
    assert more.key(1) == RING.key(1)
    assert more.key(4) != more.key(3)


def test_forgetting_terms_keeps_the_newest() -> None:
    assert set(without_terms_before(RING, 3).terms) == {3}
    assert set(without_terms_before(RING, 99).terms) == {3}
    with pytest.raises(UnknownTerm):
        without_terms_before(RING, 3).key(1)


def test_another_root_key_or_cluster_is_refused() -> None:
    wrapped = wrap_keyring(RING, ROOT, cluster_id="c")
    with pytest.raises(Altered, match="the keyring"):
        unwrap_keyring(wrapped, RootKey.generate(), cluster_id="c")
    with pytest.raises(Altered):
        unwrap_keyring(wrapped, ROOT, cluster_id="d")


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    wrapped = wrap_keyring(RING, ROOT, cluster_id="c")
    for position in range(len(wrapped) * 8):
        altered = bytearray(wrapped)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(CryptoError):
            unwrap_keyring(bytes(altered), ROOT, cluster_id="c")
    for size in range(len(wrapped)):
        with pytest.raises(CryptoError):
            unwrap_keyring(wrapped[:size], ROOT, cluster_id="c")


@given(st.binary(max_size=300))
def test_bytes_from_outside_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(CryptoError):
        unwrap_keyring(data, ROOT, cluster_id="c")
    with pytest.raises(CryptoError):
        unwrap_keyring(b"\x01" + data, ROOT, cluster_id="c")


def test_an_oversized_keyring_is_refused_before_it_is_read() -> None:
    with pytest.raises(UnknownFormat):
        unwrap_keyring(b"\x01" + bytes(MAX_TERMS * 60), ROOT, cluster_id="c")


def test_printing_a_keyring_shows_no_key() -> None:
    shown = repr(RING)
    assert all(repr(term.key.reveal())[2:-1] not in shown for term in RING.terms.values())
    assert "DataKey(32 bytes)" in shown

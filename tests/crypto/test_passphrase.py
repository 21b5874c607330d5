"""A root key under a passphrase."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto._hazmat import argon2id_key
from vault.crypto.errors import CryptoError, UnknownFormat, WrongPassphrase
from vault.crypto.keys import RootKey
from vault.crypto.passphrase import Cost, unwrap_with_passphrase, wrap_with_passphrase
from vault.crypto.plaintext import Plaintext

CHEAP = Cost(passes=1, memory_mib=1)
ROOT = RootKey(b"r" * 32)
PHRASE = Plaintext("čertova brzda".encode())
WRAPPED = wrap_with_passphrase(ROOT, PHRASE, cost=CHEAP)


def test_argon2id_gives_what_the_reference_code_gives() -> None:
    """Source: the Argon2 reference C code, through argon2-cffi 25.1.0, 2 passes, 1 MiB, one lane."""
    key = argon2id_key(b"correct horse", bytes(range(16)), passes=2, memory_kib=1024)
    assert key.hex() == "77237b8a217dfd77699617e3893817f9fa215bff881849f3c007154da0b4788d"


def test_the_right_passphrase_opens_and_another_does_not() -> None:
    assert len(WRAPPED) == 124
    assert unwrap_with_passphrase(WRAPPED, PHRASE) == ROOT
    with pytest.raises(WrongPassphrase, match="check it and try again"):
        unwrap_with_passphrase(WRAPPED, Plaintext(b"other"))


def test_every_flipped_bit_past_the_cost_is_refused() -> None:
    for position in range(4 * 8, len(WRAPPED) * 8):
        altered = bytearray(WRAPPED)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(CryptoError):
            unwrap_with_passphrase(bytes(altered), PHRASE)


def test_another_cost_than_it_was_made_with_is_refused() -> None:
    with pytest.raises(WrongPassphrase):
        unwrap_with_passphrase(WRAPPED[:1] + b"\x02" + WRAPPED[2:], PHRASE)


@pytest.mark.parametrize(
    "header", [b"\x02\x01\x00\x01", b"\x01\x00\x00\x01", b"\x01\x11\x00\x01", b"\x01\x01\x00\x00", b"\x01\x01\x04\x01"]
)
def test_a_cost_out_of_bounds_is_refused_before_any_work(header: bytes) -> None:
    with pytest.raises(UnknownFormat):
        unwrap_with_passphrase(header + WRAPPED[4:], PHRASE)


@given(st.binary(max_size=150))
def test_other_lengths_are_refused(data: bytes) -> None:
    if len(data) != 124:
        with pytest.raises(UnknownFormat):
            unwrap_with_passphrase(data, PHRASE)


def test_two_wraps_differ() -> None:
    assert wrap_with_passphrase(ROOT, PHRASE, cost=CHEAP) != WRAPPED

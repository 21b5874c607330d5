"""PAE is injective; identifiers have Docker's form."""

from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import independent
from vault.crypto.ids import base36, new_id
from vault.crypto.pae import number, pae
from vault.model.ids import is_id

pieces = st.lists(st.binary(max_size=40), max_size=6)


def test_vectors_of_the_paseto_specification() -> None:
    """Source: PASETO specification, "Common implementation details", PAE examples."""
    assert pae() == bytes(8)
    assert pae(b"") == b"\x01" + bytes(7) + bytes(8)
    assert pae(b"test") == b"\x01" + bytes(7) + b"\x04" + bytes(7) + b"test"


@given(pieces)
def test_it_agrees_with_code_written_apart(parts: list[bytes]) -> None:
    assert pae(*parts) == independent.pae(*parts)


@given(pieces, pieces)
def test_two_lists_never_give_the_same_bytes(one: list[bytes], other: list[bytes]) -> None:
    assert (pae(*one) == pae(*other)) == (one == other)


@given(st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=20))
def test_moving_one_byte_across_a_field_boundary_changes_the_encoding(left: bytes, right: bytes) -> None:
    assert pae(left, right) != pae(left + right[:1], right[1:])
    assert pae(left, right) != pae(left[:-1], left[-1:] + right)
    assert pae(left, right) != pae(left + right)


def test_numbers_take_eight_bytes_big_endian() -> None:
    assert number(0x0102) == bytes((0, 0, 0, 0, 0, 0, 1, 2))


def test_new_ids_have_25_characters_of_base_36_and_differ() -> None:
    ids = {new_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(is_id(text) for text in ids)


def test_every_digit_occurs_at_every_place_of_an_id() -> None:
    """A fixed or skewed digit would show: 5,000 ids leave out one of 36 digits at a place with chance below e^-135."""
    seen = [set(column) for column in zip(*(new_id() for _ in range(5000)), strict=True)]
    assert all(len(digits) == 36 for digits in seen)


@given(st.integers(min_value=0, max_value=1 << 200))
def test_base_36_is_what_int_reads_back(value: int) -> None:
    assert int(base36(value), 36) == value

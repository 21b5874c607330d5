"""Keys have one length, and the unlock key one text."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto.errors import MalformedUnlockKey, WrongLength
from vault.crypto.keys import DataKey, RootKey, UnlockKey


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
@pytest.mark.parametrize("kind", [RootKey, DataKey, UnlockKey])
def test_another_length_is_refused(kind: type[RootKey], size: int) -> None:
    with pytest.raises(WrongLength, match=f"must be 32 bytes, not {size}"):
        kind(bytes(size))


def test_generated_keys_differ() -> None:
    assert RootKey.generate() != RootKey.generate()


def test_the_text_of_an_unlock_key_is_dockers_form() -> None:
    """Source: SwarmKit, `encryption.HumanReadableKey`: the prefix and unpadded standard base64."""
    key = UnlockKey(bytes(range(32)))
    assert key.text() == "SWMKEY-1-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert UnlockKey.parse(key.text()) == key


@given(st.binary(min_size=32, max_size=32))
def test_every_key_survives_its_text(raw: bytes) -> None:
    assert UnlockKey.parse(UnlockKey(raw).text()).reveal() == raw


GOOD = UnlockKey(b"k" * 32).text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SWMKEY-1-",
        "SWMKEY-2-" + GOOD[9:],
        GOOD[9:],
        GOOD + "=",
        GOOD + " ",
        " " + GOOD,
        GOOD[:-1],
        GOOD[:-1] + "é",
        GOOD[:-1] + "\n",
        GOOD[:20] + "-" + GOOD[21:],
        "SWMKEY-1-" + base64.b64encode(b"k" * 31).decode(),
        "swmkey-1-" + GOOD[9:],
    ],
)
def test_what_is_no_unlock_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(MalformedUnlockKey) as caught:
        UnlockKey.parse(text)
    assert GOOD[9:20] not in str(caught.value)


def test_a_second_spelling_of_the_same_key_is_refused() -> None:
    """The last character carries two spare bits; a decoder that ignores them would take four spellings."""
    text = UnlockKey(bytes(32)).text()
    with pytest.raises(MalformedUnlockKey):
        UnlockKey.parse(text[:-1] + "B")


@given(st.text(max_size=80))
def test_any_text_is_a_key_or_malformed(text: str) -> None:
    with pytest.raises(MalformedUnlockKey):
        UnlockKey.parse(text)
    with pytest.raises(MalformedUnlockKey):
        UnlockKey.parse("SWMKEY-1-" + text[:42])

"""Join tokens have Docker's form, admit only whom they should, and pin the CA."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto.errors import InvalidJoinToken, UnpinnedAuthority
from vault.crypto.tokens import JoinToken, digest_of, new_join_token

PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def test_a_token_survives_its_text() -> None:
    token = new_join_token(PEM)
    assert JoinToken.parse(token.text()) == token
    assert len(token.text()) == len("SWMTKN-1-") + 50 + 1 + 25


def test_the_digest_is_sha256_in_50_digits_of_base_36() -> None:
    assert int(digest_of(PEM), 36) == int(hashlib.sha256(PEM).hexdigest(), 16)
    assert all(len(digest_of(bytes((n,)))) == 50 for n in range(256))


def test_a_token_admits_itself_and_no_other() -> None:
    token = new_join_token(PEM)
    token.check(JoinToken.parse(token.text()))
    with pytest.raises(InvalidJoinToken, match="A valid join token is necessary to join this cluster"):
        token.check(new_join_token(PEM))


def test_a_token_pins_the_authority() -> None:
    token = new_join_token(PEM)
    token.check_authority(PEM)
    with pytest.raises(UnpinnedAuthority):
        token.check_authority(PEM + b"\n")


def test_printing_a_token_hides_its_secret() -> None:
    token = new_join_token(PEM)
    assert token.secret not in repr(token)


GOOD = new_join_token(PEM).text()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("SWMTKN-1-", id="no more than its head"),
        pytest.param(GOOD[:-1], id="too short"),
        pytest.param(GOOD + "a", id="too long"),
        pytest.param(GOOD + "\n", id="newline after it"),
        pytest.param(GOOD.upper(), id="upper case"),
        pytest.param(" " + GOOD, id="space before it"),
        pytest.param("SWMTKN-2-" + GOOD[9:], id="another version"),
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidJoinToken):
        JoinToken.parse(text)


@given(st.text(max_size=100))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidJoinToken):
        JoinToken.parse(text)

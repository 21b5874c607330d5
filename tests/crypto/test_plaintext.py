"""Plaintext and keys give their bytes to `reveal()` and to nothing else."""

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable

import msgspec
import pytest

from vault.crypto import Plaintext
from vault.crypto.keys import DataKey, RootKey, UnlockKey
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Guarded

CANARY = b"canary-canary-canary-canary-1234"
GUARDED: tuple[type[Guarded], ...] = (Plaintext, RootKey, DataKey, UnlockKey, NodeKey)


@pytest.fixture(params=GUARDED, ids=lambda kind: kind.__name__)
def secret(request: pytest.FixtureRequest) -> Guarded:
    kind: type[Guarded] = request.param
    return kind(CANARY)


def test_reveal_returns_the_bytes_and_len_their_number(secret: Guarded) -> None:
    assert secret.reveal() == CANARY
    assert len(secret) == len(CANARY)


def test_repr_shows_the_length_only(secret: Guarded) -> None:
    assert repr(secret) == f"{type(secret).__name__}(32 bytes)"


REFUSED: dict[str, Callable[[Guarded], object]] = {
    "str": str,
    "format": lambda s: f"{s}",
    "percent": lambda s: "%s" % (s,),  # noqa: UP031
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "hash": hash,
    "bytes": bytes,  # type: ignore[dict-item]
    "iterate": lambda s: list(s),  # type: ignore[call-overload]
    "index": lambda s: s[0],  # type: ignore[index]
    "memoryview": memoryview,  # type: ignore[dict-item]
    "json": json.dumps,
    "msgpack": msgspec.msgpack.encode,
    "compare with bytes": lambda s: s == CANARY,
    "compare with text": lambda s: s == CANARY.decode(),
    "vars": vars,
    "add": lambda s: b"" + s,  # type: ignore[operator]
}


@pytest.mark.parametrize("way", REFUSED)
def test_every_other_way_out_is_refused_without_the_bytes(secret: Guarded, way: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        REFUSED[way](secret)
    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY.decode() not in shown.replace("CANARY", "")


def test_it_cannot_be_changed(secret: Guarded) -> None:
    with pytest.raises(AttributeError):
        secret._value = b"other"
    with pytest.raises(AttributeError):
        del secret._value
    assert secret.reveal() == CANARY


def test_logging_it_writes_no_bytes(caplog: pytest.LogCaptureFixture, secret: Guarded) -> None:
    logging.getLogger("test").error("value %r", secret)
    assert CANARY.decode() not in caplog.text


def test_equal_bytes_are_equal_only_within_one_type() -> None:
    assert Plaintext(b"a") == Plaintext(b"a")
    assert Plaintext(b"a") != Plaintext(b"b")
    with pytest.raises(TypeError):
        _ = RootKey(CANARY) == DataKey(CANARY)


def test_text_is_not_taken_for_bytes() -> None:
    with pytest.raises(TypeError, match="takes bytes, not str"):
        Plaintext("text")  # type: ignore[arg-type]

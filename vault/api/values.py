"""Posted secrets and configs: their values decoded to `Plaintext` at once.

Pure.  Called by `vault.api.secrets` and `configs`.  The fast decoder serves nearly all requests; a body it refuses is
decoded again slowly, for nulls and for Go's error texts.
"""

import binascii
from typing import Any, TypeVar

import msgspec

from vault.api.bodies import decode
from vault.api.gojson import base64_bytes
from vault.crypto.plaintext import Plaintext
from vault.model.secret import ConfigSpec, SecretSpec

T = TypeVar("T")
EMPTY = Plaintext(b"")


class PostedSecret(SecretSpec, frozen=True, kw_only=True):
    """A secret as it is posted."""

    data: Plaintext | None = None  # Base64 in JSON.


class PostedConfig(ConfigSpec, frozen=True, kw_only=True):
    """A config as it is posted."""

    data: Plaintext | None = None  # Base64 in JSON.


def plaintext(type_: type, posted: Any) -> Any:
    """Decode base64; called by msgspec for `Plaintext`."""
    if type_ is not Plaintext or not isinstance(posted, str):
        raise TypeError("expected base64")
    try:
        return Plaintext(binascii.a2b_base64(posted, strict_mode=True))
    except ValueError:
        return Plaintext(base64_bytes(posted.encode()))


_SECRET = msgspec.json.Decoder(PostedSecret, dec_hook=plaintext)
_CONFIG = msgspec.json.Decoder(PostedConfig, dec_hook=plaintext)


def _is_whole(posted: PostedSecret | PostedConfig) -> bool:
    """Whether a name and a value were found; the fast decoder knows fields only by their exact names."""
    return bool(posted.name) and posted.data is not None


def secret_of(body: bytes) -> PostedSecret:
    """Return a posted secret; raises `BadRequest`."""
    try:
        posted = _SECRET.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode(body, PostedSecret, plaintext)
    return posted if _is_whole(posted) else decode(body, PostedSecret, plaintext)


def config_of(body: bytes) -> PostedConfig:
    """Return a posted config; raises `BadRequest`."""
    try:
        posted = _CONFIG.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode(body, PostedConfig, plaintext)
    return posted if _is_whole(posted) else decode(body, PostedConfig, plaintext)

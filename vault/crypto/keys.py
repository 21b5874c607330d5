"""The three symmetric keys of the hierarchy: unlock key, root key, data key; 32 bytes and a type each.

Not pure (`generate` draws chance).  The unlock key has a text form that operators keep: `SWMKEY-1-` and base64
without padding.
"""

import base64
import binascii
import secrets
from typing import ClassVar, Self

from vault.crypto._hazmat import MacKey
from vault.crypto.errors import MalformedUnlockKey, WrongLength
from vault.crypto.plaintext import Guarded

KEY_BYTES = 32
_UNLOCK_PREFIX = "SWMKEY-1-"


class _Key(Guarded):
    """32 bytes of one purpose; another length raises `WrongLength`."""

    __slots__ = ()
    _what: ClassVar[str]

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        if len(value) != KEY_BYTES:
            raise WrongLength(self._what, expected=KEY_BYTES, got=len(value))

    @classmethod
    def generate(cls) -> Self:
        """Draw a new key."""
        return cls(secrets.token_bytes(KEY_BYTES))


class RootKey(_Key):
    """Wraps the keyring and, through it, everything; derives the integrity key."""

    __slots__ = ()
    _what = "a root key"


class DataKey(_Key):
    """One term of the keyring; each record derives its own key from it, by `prf`, which is keyed once."""

    __slots__ = ("_prf",)
    _what = "a data key"
    _prf: MacKey

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        object.__setattr__(self, "_prf", MacKey(value))

    @property
    def prf(self) -> MacKey:
        """What record keys are expanded from."""
        return self._prf


class UnlockKey(_Key):
    """Opens a manager's key file; kept by the operator when autolock is on."""

    __slots__ = ()
    _what = "an unlock key"

    def text(self) -> str:
        """Return `SWMKEY-1-` and 43 characters of base64 without padding, as `swarm unlock-key` prints it."""
        return _UNLOCK_PREFIX + base64.b64encode(self.reveal()).decode("ascii").rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that `text()` printed.

        Raises `MalformedUnlockKey`, also for a second spelling of the same key.
        """
        body = text.removeprefix(_UNLOCK_PREFIX)
        if body == text or len(body) != 43 or not body.isascii():
            raise MalformedUnlockKey
        try:
            key = cls(base64.b64decode(body + "=", validate=True))
        except (binascii.Error, WrongLength):
            raise MalformedUnlockKey from None
        if key.text() != text:  # The last character has two spare bits.
            raise MalformedUnlockKey
        return key

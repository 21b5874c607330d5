"""A root key under a passphrase, for backups: Argon2id stretches, then a committed seal.

Not pure (draws a salt).  Slow on purpose (about a second) and hungry (256 MiB): call it in a thread.  The commitment
matters here: without it one file could open under two passphrases, and an attacker could test many at once.
Layout: version (1) ‖ passes (1) ‖ memory in MiB (2) ‖ salt (16) ‖ committed seal of 32 bytes.
"""

import secrets
from dataclasses import dataclass
from struct import Struct
from typing import Final

from vault.crypto import _hazmat, committed
from vault.crypto.errors import Altered, UnknownFormat, WrongPassphrase
from vault.crypto.keys import KEY_BYTES, RootKey
from vault.crypto.plaintext import Plaintext

_VERSION: Final = 1
_LABEL: Final = b"vault/passphrase/1"
_WHAT: Final = "the passphrase-wrapped key"
_SALT_BYTES: Final = 16
_HEADER: Final = Struct(f">BBH{_SALT_BYTES}s")
_SIZE: Final = _HEADER.size + committed.OVERHEAD_BYTES + KEY_BYTES
_MAX_PASSES: Final = 16
_MAX_MEMORY_MIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """How much work one guess takes."""

    passes: int  # 1 to 16.
    memory_mib: int  # 1 to 1024.


MODERATE: Final = Cost(passes=3, memory_mib=256)  # libsodium's MODERATE.


def wrap_with_passphrase(root: RootKey, passphrase: Plaintext, *, cost: Cost = MODERATE) -> bytes:
    """Encrypt a root key under a passphrase; returns 124 bytes.  Source: RFC 9106 (Argon2id, one lane)."""
    assert 1 <= cost.passes <= _MAX_PASSES
    assert 1 <= cost.memory_mib <= _MAX_MEMORY_MIB
    salt = secrets.token_bytes(_SALT_BYTES)
    header = _HEADER.pack(_VERSION, cost.passes, cost.memory_mib, salt)
    return committed.seal(_stretched(passphrase, salt, cost), _LABEL, header, (), root.reveal())


def unwrap_with_passphrase(wrapped: bytes, passphrase: Plaintext) -> RootKey:
    """Undo `wrap_with_passphrase`.  Raises `UnknownFormat` (also for a cost out of bounds), or `WrongPassphrase`."""
    if len(wrapped) != _SIZE:
        raise UnknownFormat(_WHAT)
    version, passes, memory_mib, salt = _HEADER.unpack_from(wrapped)
    if version != _VERSION or not (1 <= passes <= _MAX_PASSES and 1 <= memory_mib <= _MAX_MEMORY_MIB):
        raise UnknownFormat(_WHAT)
    key = _stretched(passphrase, salt, Cost(passes=passes, memory_mib=memory_mib))
    try:
        return RootKey(committed.unseal(key, _LABEL, _HEADER.size, (), wrapped, what=_WHAT))
    except Altered:
        raise WrongPassphrase from None


def _stretched(passphrase: Plaintext, salt: bytes, cost: Cost) -> _hazmat.MacKey:
    """Return a key that costs this much to compute."""
    memory_kib = cost.memory_mib * 1024
    return _hazmat.MacKey(_hazmat.argon2id_key(passphrase.reveal(), salt, passes=cost.passes, memory_kib=memory_kib))

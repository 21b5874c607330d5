"""A root key under the unlock key, for backups; `passphrase` has the other way to lock one.

Not pure (the seal draws chance).  The version of the unlock key is readable without any key, so that an error can name
which one a backup waits for.  Called by `vault.raftstore.backup`.
Layout: version (1) ‖ version of the unlock key (8) ‖ committed seal of 32 bytes.
"""

from struct import Struct
from typing import Final

from vault.crypto import _hazmat, committed
from vault.crypto.errors import UnknownFormat
from vault.crypto.keys import KEY_BYTES, RootKey, UnlockKey

_VERSION: Final = 1
_LABEL: Final = b"vault/unlock/1"
_WHAT: Final = "the root key under the unlock key"
_HEADER: Final = Struct(">BQ")
_SIZE: Final = _HEADER.size + committed.OVERHEAD_BYTES + KEY_BYTES


def wrap_with_unlock_key(root: RootKey, unlock: UnlockKey, *, unlock_version: int) -> bytes:
    """Encrypt a root key under an unlock key; returns 113 bytes."""
    header = _HEADER.pack(_VERSION, unlock_version)
    return committed.seal(_hazmat.MacKey(unlock.reveal()), _LABEL, header, (), root.reveal())


def unwrap_with_unlock_key(wrapped: bytes, unlock: UnlockKey) -> RootKey:
    """Undo `wrap_with_unlock_key`.  Raises `UnknownFormat`, or `Altered` for another key or other bytes."""
    unlock_version_in(wrapped)
    key = _hazmat.MacKey(unlock.reveal())
    return RootKey(committed.unseal(key, _LABEL, _HEADER.size, (), wrapped, what=_WHAT))


def unlock_version_in(wrapped: bytes) -> int:
    """Return which version of the unlock key it says it waits for.  Raises `UnknownFormat`."""
    if len(wrapped) != _SIZE:
        raise UnknownFormat(_WHAT)
    version, unlock_version = _HEADER.unpack_from(wrapped)
    if version != _VERSION:
        raise UnknownFormat(_WHAT)
    return int(unlock_version)

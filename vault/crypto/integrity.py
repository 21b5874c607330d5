"""The integrity sum: one number over all live records, kept in head, that finds replayed, dropped and swapped ones.

Pure.  `vault.raftstore` adds what a commit writes, subtracts what it replaces, and checks the whole at load and
take-over.
"""

from typing import Final

from vault.crypto import _hazmat
from vault.crypto.keys import KEY_BYTES, RootKey
from vault.crypto.pae import number, pae
from vault.crypto.plaintext import Guarded

SUM_BYTES: Final = 32
_MODULUS: Final = 1 << (8 * SUM_BYTES)
_LABEL: Final = b"vault/integrity/1"


class IntegrityKey(Guarded):
    """32 bytes, derived from the root key; keyed once, since every record of every commit is counted."""

    __slots__ = ("_mac",)
    _mac: _hazmat.MacKey

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        object.__setattr__(self, "_mac", _hazmat.MacKey(value))

    def mac(self, message: bytes) -> bytes:
        """Return HMAC-SHA256 of a message, 32 bytes."""
        return self._mac.mac(message)


def integrity_key(root: RootKey, *, cluster_id: str) -> IntegrityKey:
    """Derive the cluster's integrity key: HKDF-Expand-SHA256(root key, PAE(label, cluster id))."""
    return IntegrityKey(_hazmat.hkdf_expand(root.reveal(), pae(_LABEL, cluster_id.encode()), KEY_BYTES))


def record_sum(key: IntegrityKey, *, kind: str, object_id: str, index: int, record: bytes) -> int:
    """Return one record's part: HMAC-SHA256(key, PAE(kind, id, index, record)) as a number below 2^256.

    record: the sealed bytes as the engine holds them.
    """
    message = pae(kind.encode(), object_id.encode(), number(index), record)
    return int.from_bytes(key.mac(message), "big")


def add(total: int, part: int) -> int:
    """Return the sum with a record that is now live."""
    return (total + part) % _MODULUS


def subtract(total: int, part: int) -> int:
    """Return the sum without a record that is live no more."""
    return (total - part) % _MODULUS

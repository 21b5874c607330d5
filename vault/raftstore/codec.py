"""Objects as bytes, and records as the engine holds them.  Pure but for the randomness in sealing.

Object -> MessagePack -> sealed record -> framed record.
Frame: version (1) ‖ commit index (8, big endian) ‖ sealed record.  The index is outside the seal because opening needs
it, and bound by it: under another index a record does not open.
"""

from struct import Struct
from typing import Final

import msgspec

from vault.crypto.errors import CryptoError
from vault.crypto.keyring import Keyring
from vault.crypto.records import MAX_RECORD_BYTES, open_record, seal_record, term_of
from vault.model.errors import StoreDamaged
from vault.raftstore.keys import kind_in, split
from vault.store.changes import TYPES, AnyObject

_VERSION: Final = 1
_FRAME: Final = Struct(">BQ")
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final = {kind: msgspec.msgpack.Decoder(type_) for kind, type_ in TYPES.items()}


def encode(obj: AnyObject) -> bytes:
    """Return an object as MessagePack."""
    return _ENCODER.encode(obj)


def decode(key: str, index: int, packed: bytes) -> AnyObject:
    """Undo `encode`.  Raises `StoreDamaged` if it is no such object, or of another id or version."""
    try:
        obj: AnyObject = _DECODERS[kind_in(key)].decode(packed)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        raise damaged(key, "it holds no such object") from None
    if obj.id != split(key)[1] or obj.version.index != index:
        raise damaged(key, "it names another object or version")
    return obj


def frame(index: int, sealed: bytes) -> bytes:
    """Return a sealed record behind its commit index."""
    return _FRAME.pack(_VERSION, index) + sealed


def unframe(key: str, framed: bytes) -> tuple[int, bytes]:
    """Undo `frame`.  Raises `StoreDamaged`."""
    if not _FRAME.size < len(framed) <= MAX_RECORD_BYTES + _FRAME.size:
        raise damaged(key, "its length cannot be")
    version, index = _FRAME.unpack_from(framed)
    if version != _VERSION:
        raise damaged(key, "it was altered, or written by another version of vault")
    return index, framed[_FRAME.size :]


def seal(keyring: Keyring, cluster_id: str, key: str, index: int, plaintext: bytes) -> bytes:
    """Return the sealed record for a key, of one commit."""
    kind, object_id = split(key)
    return seal_record(keyring, cluster_id=cluster_id, kind=kind, object_id=object_id, index=index, plaintext=plaintext)


def unseal(keyring: Keyring, cluster_id: str, key: str, index: int, sealed: bytes) -> bytes:
    """Undo `seal`.  Raises `StoreDamaged` naming the record."""
    kind, object_id = split(key)
    try:
        return open_record(keyring, cluster_id=cluster_id, kind=kind, object_id=object_id, index=index, record=sealed)
    except CryptoError as error:
        raise damaged(key, error.message) from None


def term(key: str, sealed: bytes) -> int:
    """Return which of the keyring's terms a record is sealed under.  Raises `StoreDamaged` naming the record."""
    try:
        return term_of(sealed)
    except CryptoError as error:
        raise damaged(key, error.message) from None


def damaged(key: str, why: str) -> StoreDamaged:
    """Return the error that names a record."""
    return StoreDamaged(f"the record {key.removeprefix('/v1/')} is damaged ({why}): restore it from a backup")

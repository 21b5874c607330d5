"""Objects as bytes, and records as the engine holds them.  Pure but for the randomness in sealing.

Object -> MessagePack -> sealed record -> framed record.
Frame: version (1) ‖ commit index (8, big endian) ‖ sealed record.  The index is outside the seal because opening needs
it, and bound by it: another index does not open.
"""

from struct import Struct
from typing import Final

import msgspec

from vault.crypto.errors import CryptoError
from vault.crypto.keyring import Keyring
from vault.crypto.records import MAX_RECORD_BYTES, open_record, seal_record
from vault.model.errors import StoreDamaged
from vault.raftstore.keys import OBJECT_KINDS, Place
from vault.store.changes import TYPES, AnyObject

_VERSION: Final = 1
_FRAME: Final = Struct(">BQ")
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final = {kind: msgspec.msgpack.Decoder(type_) for kind, type_ in TYPES.items()}


def encode(obj: AnyObject) -> bytes:
    """Return an object as MessagePack."""
    return _ENCODER.encode(obj)


def decode(place: Place, index: int, packed: bytes) -> AnyObject:
    """Undo `encode`.  Raises `StoreDamaged` if it is no such object, or of another id or version."""
    try:
        obj: AnyObject = _DECODERS[OBJECT_KINDS[place.kind]].decode(packed)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        raise damaged(place, "it holds no such object") from None
    if obj.id != place.id or obj.version.index != index:
        raise damaged(place, "it names another object or version")
    return obj


def frame(index: int, sealed: bytes) -> bytes:
    """Return a sealed record behind its commit index."""
    return _FRAME.pack(_VERSION, index) + sealed


def unframe(place: Place, framed: bytes) -> tuple[int, bytes]:
    """Undo `frame`.  Raises `StoreDamaged`."""
    if not _FRAME.size < len(framed) <= MAX_RECORD_BYTES + _FRAME.size:
        raise damaged(place, "its length cannot be")
    version, index = _FRAME.unpack_from(framed)
    if version != _VERSION:
        raise damaged(place, "it was altered, or written by another version of vault")
    return index, framed[_FRAME.size :]


def seal(keyring: Keyring, cluster_id: str, place: Place, index: int, plaintext: bytes) -> bytes:
    """Return the sealed record for a place, of one commit."""
    return seal_record(
        keyring, cluster_id=cluster_id, kind=place.kind, object_id=place.id, index=index, plaintext=plaintext
    )


def unseal(keyring: Keyring, cluster_id: str, place: Place, index: int, sealed: bytes) -> bytes:
    """Undo `seal`.  Raises `StoreDamaged` naming the record."""
    try:
        return open_record(
            keyring, cluster_id=cluster_id, kind=place.kind, object_id=place.id, index=index, record=sealed
        )
    except CryptoError as error:
        raise damaged(place, error.message) from None


def damaged(place: Place, why: str) -> StoreDamaged:
    """Return the error that names a record."""
    return StoreDamaged(f"the record {place.kind}/{place.id} is damaged ({why}): restore it from a backup")

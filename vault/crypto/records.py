"""Records at rest: sealed under the keyring's newest term, bound to their place in the store.

Not pure (`seal_record` draws chance).  Called by `vault.raftstore` for every object and value.
Layout: version (1) ‖ term (4) ‖ n (24) ‖ commitment (32) ‖ ciphertext ‖ tag (16).
"""

from struct import Struct
from typing import Final

from vault.crypto import committed
from vault.crypto.errors import UnknownFormat
from vault.crypto.keyring import Keyring
from vault.crypto.pae import number

_VERSION: Final = 1
_LABEL: Final = b"vault/at-rest/1"
_HEADER: Final = Struct(">BI")
OVERHEAD_BYTES: Final = _HEADER.size + committed.OVERHEAD_BYTES
MAX_RECORD_BYTES: Final = 16 * 1024 * 1024


def seal_record(keyring: Keyring, *, cluster_id: str, kind: str, object_id: str, index: int, plaintext: bytes) -> bytes:
    """Encrypt one record, to be opened only at this place: cluster, kind, id and commit index.

    index: the commit index this record is written with.  Returns 77 bytes more than the plaintext.
    Source of the construction: security.md, "At rest, per record"; AES-256-GCM under a key of its own, nonce 0.
    """
    assert len(plaintext) + OVERHEAD_BYTES <= MAX_RECORD_BYTES
    term = keyring.newest
    place = (cluster_id.encode(), kind.encode(), object_id.encode(), number(index))
    return committed.seal(term.key.prf, _LABEL, _HEADER.pack(_VERSION, term.number), place, plaintext)


def open_record(keyring: Keyring, *, cluster_id: str, kind: str, object_id: str, index: int, record: bytes) -> bytes:
    """Undo `seal_record` at the same place.

    Raises `UnknownFormat` (version, length), `UnknownTerm`, or `Altered`; each names what to do, none the content.
    """
    what = f"record {kind}/{object_id} of commit {index}"
    key = keyring.key(term_of(record, what=what))
    place = (cluster_id.encode(), kind.encode(), object_id.encode(), number(index))
    return committed.unseal(key.prf, _LABEL, _HEADER.size, place, record, what=what)


def term_of(record: bytes, *, what: str = "a record") -> int:
    """Return the term a record says it is sealed under, so that re-sealing finds old ones.  Raises `UnknownFormat`."""
    if not OVERHEAD_BYTES <= len(record) <= MAX_RECORD_BYTES:
        raise UnknownFormat(what)
    version, term = _HEADER.unpack_from(record)
    if version != _VERSION:
        raise UnknownFormat(what)
    return int(term)

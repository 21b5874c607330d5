"""The node key file: what a node must keep between starts, sealed under the unlock key.

Not pure (the seal draws a nonce); the caller writes the bytes by temp file, fsync and rename.  Called by
`vault.daemon`.
Layout: version (1) ‖ version of the unlock key (8) ‖ SecretBox of a MessagePack array that repeats those 9 bytes.
"""

from dataclasses import dataclass, replace
from struct import Struct
from typing import Final, Self

import msgspec

from vault.crypto import _hazmat
from vault.crypto.certificates import key_for
from vault.crypto.errors import Altered, UnknownFormat, WrongUnlockKey
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Plaintext

MAX_FILE_BYTES: Final = 64 * 1024
_VERSION: Final = 1
_HEADER: Final = Struct(">BQ")
_WHAT: Final = "the node key file"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """A node's identity and keys; prints lengths only."""

    cluster_id: str
    node_id: str
    tls_key: Plaintext  # PKCS#8 PEM, ECDSA P-256.
    node_key: NodeKey
    root_key: RootKey | None = None  # On managers only.
    peer_key: Plaintext | None = None  # PKCS#8 PEM for etcd's peers, on managers of an etcd cluster only.
    next_tls_key: Plaintext | None = None  # Of a certificate that was asked for and is not kept yet.

    def settled(self, certificate_pem: bytes) -> Self:
        """Return the keys with the TLS key that the kept certificate is for, after a renewal that may have broken off.

        Certificate and key file are written one after the other, the key first: either key may be the right one.
        Raises `InvalidCertificate` if neither is.
        """
        keys = (self.tls_key,) if self.next_tls_key is None else (self.tls_key, self.next_tls_key)
        return replace(self, tls_key=key_for(certificate_pem, keys), next_tls_key=None)

    def as_worker(self) -> Self:
        """Return the keys without what only managers have."""
        return replace(self, root_key=None, peer_key=None)


class _Body(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What is inside the box; never leaves this module."""

    header: bytes
    cluster_id: str
    node_id: str
    tls_key: bytes
    node_key: bytes
    root_key: bytes | None
    peer_key: bytes | None
    next_tls_key: bytes | None = None


_decoder = msgspec.msgpack.Decoder(_Body)


def seal_key_file(keys: NodeKeys, unlock: UnlockKey, *, unlock_version: int) -> bytes:
    """Return the bytes of the key file.

    unlock_version: the version of the unlock key's record, shown without the key so that errors can name it.
    Source: NaCl, `crypto_secretbox`, under the 32 random bytes of the unlock key; the layout is our own.
    """
    header = _HEADER.pack(_VERSION, unlock_version)
    body = _Body(
        header=header,
        cluster_id=keys.cluster_id,
        node_id=keys.node_id,
        tls_key=keys.tls_key.reveal(),
        node_key=keys.node_key.reveal(),
        root_key=keys.root_key.reveal() if keys.root_key else None,
        peer_key=keys.peer_key.reveal() if keys.peer_key else None,
        next_tls_key=keys.next_tls_key.reveal() if keys.next_tls_key else None,
    )
    return header + _hazmat.box_seal(unlock.reveal(), msgspec.msgpack.encode(body))


def open_key_file(data: bytes, unlock: UnlockKey) -> NodeKeys:
    """Undo `seal_key_file`.

    Raises `UnknownFormat`; `WrongUnlockKey`, which an altered box cannot be told from; `Altered` for an altered header.
    """
    version = unlock_version_of(data)
    try:
        inside = _hazmat.box_open(unlock.reveal(), data[_HEADER.size :])
    except _hazmat.Refused:
        raise WrongUnlockKey(version) from None
    try:
        body = _decoder.decode(inside)
    except msgspec.MsgspecError:
        raise UnknownFormat(_WHAT) from None
    if body.header != data[: _HEADER.size]:
        raise Altered(_WHAT)
    return NodeKeys(
        cluster_id=body.cluster_id,
        node_id=body.node_id,
        tls_key=Plaintext(body.tls_key),
        node_key=NodeKey(body.node_key),
        root_key=None if body.root_key is None else RootKey(body.root_key),
        peer_key=None if body.peer_key is None else Plaintext(body.peer_key),
        next_tls_key=None if body.next_tls_key is None else Plaintext(body.next_tls_key),
    )


def rewrap_key_file(data: bytes, old: UnlockKey, new: UnlockKey, *, unlock_version: int) -> bytes:
    """Return the key file under another unlock key, of another version.  Raises what `open_key_file` does."""
    return seal_key_file(open_key_file(data, old), new, unlock_version=unlock_version)


def unlock_version_of(data: bytes) -> int:
    """Return the version of the unlock key that the file says it waits for; readable without any key.

    Raises `UnknownFormat`.
    """
    if not _HEADER.size + _hazmat.BOX_OVERHEAD_BYTES <= len(data) <= MAX_FILE_BYTES:
        raise UnknownFormat(_WHAT)
    version, unlock_version = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise UnknownFormat(_WHAT)
    return int(unlock_version)

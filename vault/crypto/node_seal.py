"""Sealing a value to one node: HPKE to the node's X25519 key, bound to what it is, for whom, and when it was sent.

Not pure (draws chance).  Sealed by the dispatcher's session, opened by the agent.
Layout: version (1) ‖ encapsulated key (32) ‖ ciphertext ‖ tag (16).
"""

from typing import Final, Self

from vault.crypto import _hazmat
from vault.crypto.errors import Altered, UnknownFormat, WrongLength
from vault.crypto.pae import number, pae
from vault.crypto.plaintext import Guarded, Plaintext

NODE_KEY_BYTES: Final = 32
OVERHEAD_BYTES: Final = 1 + _hazmat.HPKE_OVERHEAD_BYTES
MAX_PAYLOAD_BYTES: Final = 2 * 1024 * 1024  # Configs may have 1,024,000 bytes less one.
_VERSION: Final = b"\x01"
_LABEL: Final = b"vault/node-seal/1"
_WHAT: Final = "a value sealed to this node"


class NodeKey(Guarded):
    """A node's X25519 private key, 32 bytes; lives in its key file and nowhere else."""

    __slots__ = ()

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        if len(value) != NODE_KEY_BYTES:
            raise WrongLength("a node key", expected=NODE_KEY_BYTES, got=len(value))

    @classmethod
    def generate(cls) -> Self:
        """Draw a new key."""
        return cls(_hazmat.x25519_generate())

    def public(self) -> bytes:
        """Return the public half, 32 bytes, as it goes into the certificate request."""
        return _hazmat.x25519_public(self.reveal())


def seal_to_node(
    public_key: bytes,
    value: Plaintext,
    *,
    cluster_id: str,
    node_id: str,
    kind: str,
    object_id: str,
    version: int,
    epoch: tuple[int, int],
    sequence: int,
) -> bytes:
    """Encrypt a value so that only this node opens it, and only as this version, in this place of the stream.

    public_key: 32 bytes, as recorded when the node's certificate was issued.  epoch: generation and counter.
    Returns 49 bytes more than the value.  Raises `Altered` if public_key is no usable key.
    Source: RFC 9180, base mode, info = PAE(label, cluster, node, kind, id, version, generation, counter, sequence).
    """
    info = _info(cluster_id, node_id, kind, object_id, version, epoch, sequence)
    try:
        return _VERSION + _hazmat.hpke_seal(public_key, value.reveal(), info)
    except _hazmat.Refused:
        raise Altered("the node's public key") from None


def open_at_node(
    key: NodeKey,
    payload: bytes,
    *,
    cluster_id: str,
    node_id: str,
    kind: str,
    object_id: str,
    version: int,
    epoch: tuple[int, int],
    sequence: int,
) -> Plaintext:
    """Undo `seal_to_node`.

    Raises `UnknownFormat`, or `Altered` when the payload was made for another node, object, version, epoch or sequence.
    """
    if payload[:1] != _VERSION or not OVERHEAD_BYTES <= len(payload) <= MAX_PAYLOAD_BYTES:
        raise UnknownFormat(_WHAT)
    info = _info(cluster_id, node_id, kind, object_id, version, epoch, sequence)
    try:
        return Plaintext(_hazmat.hpke_open(key.reveal(), payload[1:], info))
    except _hazmat.Refused:
        raise Altered(_WHAT) from None


def _info(
    cluster_id: str, node_id: str, kind: str, object_id: str, version: int, epoch: tuple[int, int], sequence: int
) -> bytes:
    """Return what the payload is bound to."""
    names = (text.encode() for text in (cluster_id, node_id, kind, object_id))
    return pae(_LABEL, *names, *(number(count) for count in (version, *epoch, sequence)))

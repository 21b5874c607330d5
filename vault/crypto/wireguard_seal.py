"""A node's WireGuard key on its way from the leader: one key of one epoch, sealed to that node.

Not pure (draws chance).  HPKE as in `node_seal`, under another label, so that neither opens as the other.  Made by
`vault.dispatcher.encryption`, kept and sent only as sealed here, opened by the node.
Layout: version (1) ‖ encapsulated key (32) ‖ ciphertext (32) ‖ tag (16).
"""

from typing import Final, Self

from vault.crypto import _hazmat
from vault.crypto.errors import Altered, UnknownFormat, WrongLength
from vault.crypto.node_seal import NodeKey
from vault.crypto.pae import number, pae
from vault.crypto.plaintext import Guarded

WIREGUARD_KEY_BYTES: Final = 32
SEALED_BYTES: Final = 1 + _hazmat.HPKE_OVERHEAD_BYTES + WIREGUARD_KEY_BYTES
_VERSION: Final = b"\x01"
_LABEL: Final = b"vault/wireguard-key/1"
_WHAT: Final = "the WireGuard key sealed to this node"


class WireGuardKey(Guarded):
    """The private key of one node in the underlay of encrypted networks, 32 bytes, clamped.

    Clamped as `wg genkey` does it, so that what a device says it has compares equal.  Source: RFC 7748, section 5.
    """

    __slots__ = ()

    def __init__(self, value: bytes) -> None:
        if len(value) != WIREGUARD_KEY_BYTES:
            raise WrongLength("a WireGuard key", expected=WIREGUARD_KEY_BYTES, got=len(value))
        super().__init__(bytes((value[0] & 248, *value[1:31], value[31] & 127 | 64)))

    @classmethod
    def generate(cls) -> Self:
        """Draw a new key."""
        return cls(_hazmat.x25519_generate())

    def public(self) -> bytes:
        """Return the public half, 32 bytes, by which peers know the node."""
        return _hazmat.x25519_public(self.reveal())


def seal_wireguard_key(public_key: bytes, key: WireGuardKey, *, cluster_id: str, node_id: str, epoch: int) -> bytes:
    """Encrypt a key so that only this node opens it, and only as its key of that epoch.

    public_key: 32 bytes, as recorded when the node's certificate was issued.  Returns 81 bytes.
    Raises `Altered` if public_key is no usable key.
    Source: RFC 9180, base mode, info = PAE(label, cluster, node, epoch).
    """
    try:
        return _VERSION + _hazmat.hpke_seal(public_key, key.reveal(), _info(cluster_id, node_id, epoch))
    except _hazmat.Refused:
        raise Altered("the node's public key") from None


def open_wireguard_key(key: NodeKey, payload: bytes, *, cluster_id: str, node_id: str, epoch: int) -> WireGuardKey:
    """Undo `seal_wireguard_key`.

    Raises `UnknownFormat`, or `Altered` when the payload was made for another node, cluster or epoch.
    """
    if payload[:1] != _VERSION or len(payload) != SEALED_BYTES:
        raise UnknownFormat(_WHAT)
    try:
        return WireGuardKey(_hazmat.hpke_open(key.reveal(), payload[1:], _info(cluster_id, node_id, epoch)))
    except _hazmat.Refused:
        raise Altered(_WHAT) from None


def _info(cluster_id: str, node_id: str, epoch: int) -> bytes:
    """Return what the payload is bound to."""
    return pae(_LABEL, cluster_id.encode(), node_id.encode(), number(epoch))

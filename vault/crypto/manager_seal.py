"""What makes a node a manager, on its way from the leader: the root key and the unlock key, sealed to that node.

Not pure (draws chance).  HPKE as in `node_seal`, under another label, so that neither opens as the other.  Sealed by
the leader after the node's promotion, opened by the new manager.
Layout: version (1) ‖ encapsulated key (32) ‖ ciphertext ‖ tag (16); inside: root key (32) ‖ version of the unlock key
(8) ‖ unlock key (32), or nothing while autolock is off.
"""

from dataclasses import dataclass
from typing import Final

from vault.crypto import _hazmat
from vault.crypto.errors import Altered, UnknownFormat
from vault.crypto.keys import KEY_BYTES, RootKey, UnlockKey
from vault.crypto.node_seal import NodeKey
from vault.crypto.pae import number, pae

_VERSION: Final = b"\x01"
_LABEL: Final = b"vault/manager-seal/1"
_WHAT: Final = "the keys sealed to this manager"
_NUMBER_BYTES: Final = 8
_SIZES: Final = tuple(1 + _hazmat.HPKE_OVERHEAD_BYTES + KEY_BYTES + _NUMBER_BYTES + more for more in (0, KEY_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerKeys:
    """What a manager has and a worker has not."""

    root_key: RootKey
    unlock_version: int  # Of the unlock key that the manager's key file is to be wrapped under.
    unlock_key: UnlockKey | None = None  # None: autolock is off, and each manager keeps one of its own beside the file.


def seal_to_manager(
    public_key: bytes, keys: ManagerKeys, *, cluster_id: str, node_id: str, epoch: tuple[int, int]
) -> bytes:
    """Encrypt a manager's keys so that only this node opens them, and only as of this leadership.

    public_key: 32 bytes, as recorded when the node's certificate was issued.  epoch: generation and counter.
    Returns 89 or 121 bytes.  Raises `Altered` if public_key is no usable key.
    Source: RFC 9180, base mode, info = PAE(label, cluster, node, generation, counter).
    """
    unlock = b"" if keys.unlock_key is None else keys.unlock_key.reveal()
    inside = keys.root_key.reveal() + number(keys.unlock_version) + unlock
    try:
        return _VERSION + _hazmat.hpke_seal(public_key, inside, _info(cluster_id, node_id, epoch))
    except _hazmat.Refused:
        raise Altered("the node's public key") from None


def open_at_manager(
    key: NodeKey, payload: bytes, *, cluster_id: str, node_id: str, epoch: tuple[int, int]
) -> ManagerKeys:
    """Undo `seal_to_manager`.

    Raises `UnknownFormat`, or `Altered` when the payload was made for another node, cluster or leadership.
    """
    if payload[:1] != _VERSION or len(payload) not in _SIZES:
        raise UnknownFormat(_WHAT)
    try:
        inside = _hazmat.hpke_open(key.reveal(), payload[1:], _info(cluster_id, node_id, epoch))
    except _hazmat.Refused:
        raise Altered(_WHAT) from None
    unlock = inside[KEY_BYTES + _NUMBER_BYTES :]
    return ManagerKeys(
        root_key=RootKey(inside[:KEY_BYTES]),
        unlock_version=int.from_bytes(inside[KEY_BYTES : KEY_BYTES + _NUMBER_BYTES], "big"),
        unlock_key=UnlockKey(unlock) if unlock else None,
    )


def _info(cluster_id: str, node_id: str, epoch: tuple[int, int]) -> bytes:
    """Return what the payload is bound to."""
    return pae(_LABEL, cluster_id.encode(), node_id.encode(), *(number(part) for part in epoch))

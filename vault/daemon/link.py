"""Values and keys that were sealed for this node, opened.  Called by `vault.daemon.compose`."""

from vault.agent.values import Open
from vault.crypto import Plaintext
from vault.crypto.keyfile import NodeKeys
from vault.crypto.node_seal import open_at_node
from vault.crypto.wireguard_seal import WireGuardKey, open_wireguard_key
from vault.model.node import EncryptionKey
from vault.network.wireguard.underlay import OpenKey
from vault.rpc.messages import Assignments, SealedValue


def opener(keys: NodeKeys) -> Open:
    """Return what opens the values that were sealed for this node."""

    def open_sealed(sealed: SealedValue, message: Assignments) -> Plaintext:
        return open_at_node(
            keys.node_key,
            sealed.payload,
            cluster_id=keys.cluster_id,
            node_id=keys.node_id,
            kind=sealed.kind,
            object_id=sealed.id,
            version=sealed.version,
            epoch=(message.generation, message.counter),
            sequence=message.sequence,
        )

    return open_sealed


def wireguard_opener(keys: NodeKeys) -> OpenKey:
    """Return what opens the WireGuard keys that were sealed for this node."""

    def open_key(key: EncryptionKey) -> WireGuardKey:
        return open_wireguard_key(
            keys.node_key, key.sealed, cluster_id=keys.cluster_id, node_id=keys.node_id, epoch=key.epoch
        )

    return open_key

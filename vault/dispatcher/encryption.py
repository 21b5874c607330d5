"""Keys of encrypted overlay networks: which nodes have some, of which epoch, and when all of them are rotated.

Pure but for chance (keys) and a count of tasks that any snapshot can rebuild.  A decider for the leader's loop; all
that it decides is in the store, so that a new leader goes on where the old one stopped (docs/decisions/0010).

A node has keys while it takes part in an encrypted network: it has a task there, or a place of its own.  A key is
sealed to its node as soon as it is made; nobody else can open it, the managers included.  A rotation gives every such
node a key of the next epoch, waits until each says that it uses it with all its peers, and then withdraws the older
ones.  A node that is down is not waited for: what it still has is of no use once the others have dropped it.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from vault.crypto.errors import CryptoError
from vault.crypto.wireguard_seal import WireGuardKey, seal_wireguard_key
from vault.dispatcher.overlay_shapes import is_there
from vault.model.base import from_s
from vault.model.cluster import Cluster, EncryptionEpochs
from vault.model.ids import Kind, NewID
from vault.model.node import EncryptionKey, Node, NodeEncryption
from vault.network.overlay.names import TUNNEL_POOL
from vault.store.changes import Put, Relied
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot

PERIOD: Final = timedelta(hours=12)  # Between rotations, as Docker's.
NODES_AT_ONCE: Final = 40  # In one decision: about 10 ms.


class Encryption:
    """Decides on keys."""

    def __init__(self) -> None:
        self._at: dict[str, str] = {}  # Task on an encrypted network -> its node.
        self._tasks: Counter[str] = Counter()  # By node.
        self._ask_again_s: float | None = None

    def __call__(self, before: Snapshot | None, after: Snapshot, *, now_s: float, new_id: NewID) -> Decision:
        """Return the epochs that begin or end now, else the nodes whose keys are to be others."""
        changed = None if before is None else after.changed_since(before)
        concerned = self._count(after, changed)
        due = self._ask_again_s is not None and now_s >= self._ask_again_s
        if after.cluster is None or not (concerned or due):
            return Decision(ask_again_s=self._ask_again_s)
        now, wanted = from_s(now_s), self._wanted(after)
        epochs = epochs_now(after.cluster, [node for node in after.nodes.values() if node.encryption], wanted, now)
        if epochs is not after.cluster.encryption:
            self._ask_again_s = now_s  # The keys follow, once that is stored.
            return Decision(changes=(Put(msgspec.structs.replace(after.cluster, encryption=epochs)),))
        if epochs is None:
            self._ask_again_s = None
            return Decision()
        puts = _keys(after, after.cluster, epochs, wanted)
        next_s = (epochs.begun_at + PERIOD).timestamp() if wanted and not epochs.rotating else None
        self._ask_again_s = now_s if puts else next_s  # Some of it may be refused, or there may be more.
        return Decision(changes=puts, ask_again_s=self._ask_again_s)

    def _count(self, snap: Snapshot, changed: set[Key] | None) -> bool:
        """Count tasks on encrypted networks as they are now; return whether anything concerns keys."""
        if changed is None:
            self._at, self._tasks = {}, Counter()
            changed = {(Kind.TASK, task_id) for task_id in snap.tasks} | {(Kind.CLUSTER, "")}
        concerned = False
        for kind, object_id in changed:
            if kind is not Kind.TASK:
                concerned |= kind in (Kind.NODE, Kind.CLUSTER, Kind.NETWORK)
                continue
            task = snap.tasks.get(object_id)
            encrypts = task is not None and task.encrypts and is_there(task)
            now_at = task.node_id if task is not None and encrypts else ""
            was_at = self._at.pop(object_id, "")
            if now_at:
                self._at[object_id] = now_at
            if now_at != was_at:
                self._tasks[was_at] -= 1
                self._tasks[now_at] += 1
                concerned = True
        return concerned

    def _wanted(self, snap: Snapshot) -> list[Node]:
        """Return the nodes that take part in an encrypted network, by id."""
        encrypted = {network.id for network in snap.networks.values() if network.spec.encrypted}
        found = (
            node
            for node in snap.nodes.values()
            if self._tasks[node.id] > 0 or any(place.network_id in encrypted for place in node.attachments)
        )
        return sorted((node for node in found if node.seal_key), key=lambda node: node.id)


def epochs_now(cluster: Cluster, holding: list[Node], wanted: list[Node], now: datetime) -> EncryptionEpochs | None:
    """Return the epochs of keys that there should be; those of the cluster if they stay as they are.

    holding: the nodes that have keys.
    """
    epochs = cluster.encryption
    if not wanted:
        return epochs
    if epochs is None:
        return EncryptionEpochs(newest=1, begun_at=now)
    if epochs.rotating:
        return msgspec.structs.replace(epochs, rotating=False) if not waited_for(wanted, epochs.newest) else epochs
    if now >= epochs.begun_at + PERIOD:
        return EncryptionEpochs(newest=epochs.newest + 1, rotating=bool(holding), begun_at=now)
    return epochs


def waited_for(wanted: list[Node], epoch: int) -> list[Node]:
    """Return the nodes that do not say yet that they use the keys of an epoch with all their peers."""
    return [
        node
        for node in wanted
        if node.status.state != "down"
        and (node.description.encryption is None or node.description.encryption.epoch < epoch)
    ]


def _keys(snap: Snapshot, cluster: Cluster, epochs: EncryptionEpochs, wanted: list[Node]) -> tuple[Put, ...]:
    """Return the nodes whose keys are to be others, some of them: those that have too many first."""
    relied = (Relied(Kind.CLUSTER, cluster.id, cluster.version.index),)
    ids = {node.id for node in wanted}
    puts = [
        Put(msgspec.structs.replace(node, encryption=None))
        for node in snap.nodes.values()
        if node.encryption is not None and node.id not in ids
    ]
    live = (epochs.newest - 1, epochs.newest) if epochs.rotating else (epochs.newest,)
    taken = {node.encryption.address for node in snap.nodes.values() if node.encryption is not None}
    free = (str(address) for address in TUNNEL_POOL.hosts() if str(address) not in taken)
    for node in wanted:
        if len(puts) >= NODES_AT_ONCE:
            break
        if (given := _given(node, cluster.id, live, free)) != node.encryption:
            puts.append(Put(msgspec.structs.replace(node, encryption=given), relied))
    return tuple(puts[:NODES_AT_ONCE])


def _given(node: Node, cluster_id: str, live: tuple[int, ...], free: Iterator[str]) -> NodeEncryption | None:
    """Return a node's keys: those it has of the epochs in use, and new ones where it has none."""
    had = node.encryption
    if had is not None and had.sealed_to != node.seal_key:  # It could not open them.
        had = None
    address = had.address if had is not None else next(free, "")
    if not address:
        return None
    try:
        keys = tuple(_held(had, epoch) or _made(node, cluster_id, epoch) for epoch in live)
    except CryptoError:  # The key it is known by is none.
        return None
    return NodeEncryption(address=address, keys=keys, sealed_to=node.seal_key)


def _held(had: NodeEncryption | None, epoch: int) -> EncryptionKey | None:
    return next((key for key in had.keys if key.epoch == epoch), None) if had is not None else None


def _made(node: Node, cluster_id: str, epoch: int) -> EncryptionKey:
    key = WireGuardKey.generate()
    sealed = seal_wireguard_key(node.seal_key, key, cluster_id=cluster_id, node_id=node.id, epoch=epoch)
    return EncryptionKey(epoch=epoch, public=key.public(), sealed=sealed)

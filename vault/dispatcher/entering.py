"""A node becomes a manager: its peer certificate, and what the store notes of it.

Pure but for chance (keys, serial numbers).  Called by the daemon on the leader for `manager.enter`, when the engine can
have several members and before this one is added; `sealed_keys` makes the part of the answer that only the node reads.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.manager_seal import ManagerKeys, seal_to_manager
from vault.crypto.peers import issue_peer, revocation_list
from vault.dispatcher.authority import NoLongerMember, check_address, cluster_of
from vault.model.cluster import Cluster, PeerAuthority
from vault.model.errors import FailedPrecondition
from vault.model.node import ManagerStatus, Node
from vault.rpc.messages_manager import Enter
from vault.store.changes import Change, Put
from vault.store.snapshot import Snapshot
from vault.store.trust import peer_authority, with_peer_authority

PEER_PORT: Final = 2380


@dataclass(frozen=True, slots=True, kw_only=True)
class Entering:
    """What a new manager gets, and what has to be committed before."""

    certificate: bytes  # For etcd's peers, PEM.
    authority: bytes  # PEM.
    peer_url: str
    changes: tuple[Change, ...]


def enter(snapshot: Snapshot, node_id: str, wanted: Enter, *, now: datetime) -> Entering:
    """Issue a manager's peer certificate; a node that asks again gets another one.

    Raises `NoLongerMember`, `FailedPrecondition` for a node that is to be a worker, `AddressTaken` or
    `InvalidCertificate`.
    """
    node = _manager(snapshot, node_id)
    check_address(snapshot, wanted.peer_address, node_id=node_id)
    cluster = with_peer_authority(cluster_of(snapshot), now=now)
    peers = cluster.peer_authority
    assert peers is not None
    certificate, serial = issue_peer(
        peer_authority(peers),
        wanted.peer_request,
        cluster_id=cluster.id,
        node_id=node_id,
        address=wanted.peer_address,
        now=now,
    )
    noted = msgspec.structs.replace(peers, issued=(*peers.issued, (node_id, serial)))
    status = ManagerStatus(reachability="unknown", addr=wanted.control_address)
    return Entering(
        certificate=certificate,
        authority=peers.certificate.encode(),
        peer_url=peer_url(wanted.peer_address),
        changes=(
            Put(msgspec.structs.replace(cluster, peer_authority=noted)),
            Put(msgspec.structs.replace(node, manager_status=status)),
        ),
    )


def sealed_keys(snapshot: Snapshot, node_id: str, root_key: RootKey, *, epoch: tuple[int, int]) -> bytes:
    """Return the manager's keys, sealed to the node's key as it was recorded.  Raises what `enter` does."""
    node, cluster = _manager(snapshot, node_id), cluster_of(snapshot)
    keys = ManagerKeys(
        root_key=root_key,
        unlock_version=cluster.unlock_key_version,
        unlock_key=UnlockKey(cluster.unlock_key) if cluster.unlock_key else None,
    )
    return seal_to_manager(node.seal_key, keys, cluster_id=cluster.id, node_id=node_id, epoch=epoch)


def peer_revocations(cluster: Cluster, *, now: datetime) -> bytes:
    """Return the list, PEM, that etcd is to refuse peers by; each manager writes it anew when `revoked` changes."""
    peers = cluster.peer_authority or PeerAuthority()
    return revocation_list(peer_authority(peers), peers.revoked, now=now) if peers.certificate else b""


def peer_url(address: str) -> str:
    """Return where a manager's etcd answers its peers."""
    host = f"[{address}]" if ":" in address else address
    return f"https://{host}:{PEER_PORT}"


def _manager(snapshot: Snapshot, node_id: str) -> Node:
    node = snapshot.nodes.get(node_id)
    if node is None:
        raise NoLongerMember(node_id)
    if not node.is_manager:
        raise FailedPrecondition(f"node {node_id} is a worker of this swarm: promote it first")
    return node

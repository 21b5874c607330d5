"""What a swarm is begun with: keys, certificates, and first objects; anew, or from a backup.

Draws chance, touches nothing else.  Called by `vault.daemon.membership` at `swarm init`, else by
`vault.daemon.recovery`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from vault.api.ports import InitRequest, NodeInfo
from vault.crypto.certificates import Role, issue, new_authority, new_tls_key, request_certificate
from vault.crypto.ids import new_id
from vault.crypto.keyfile import NodeKeys
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.node_seal import NodeKey
from vault.crypto.tokens import new_join_token
from vault.daemon.identity import Identity, Place
from vault.daemon.machine import description
from vault.dispatcher.authority import life_of
from vault.model.base import from_s
from vault.model.cluster import DEFAULT_SPEC, Cluster, JoinTokens
from vault.model.ids import ClusterID, NodeID
from vault.model.node import ManagerStatus, Node, NodeCertificate, NodeSpec, NodeStatus
from vault.store.changes import Change, Put
from vault.store.rules_network import predefined
from vault.store.rules_swarm import initial, locked_from_the_start
from vault.store.snapshot import Snapshot
from vault.store.trust import signer, tls_info_of, trust_bundle

DATA_PATH_PORT = 4789  # VXLAN.
SUBNET_SIZE = 24  # Bits of a network's address that name the network.


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """A swarm about to be."""

    identity: Identity
    changes: tuple[Put, ...]


def found(request: InitRequest, info: NodeInfo, place: Place, *, now_s: float) -> Founding:
    """Return a new swarm with this node as its manager.  Raises what is wrong with the request's settings."""
    spec = initial(request.spec, DEFAULT_SPEC)
    authority = new_authority(now=from_s(now_s))
    cluster = locked_from_the_start(
        Cluster(
            id=ClusterID(new_id()),
            spec=spec,
            tls_info=tls_info_of(authority.certificate_pem),
            default_addr_pool=request.default_addr_pool,
            subnet_size=request.subnet_size or SUBNET_SIZE,
            data_path_port=request.data_path_port or DATA_PATH_PORT,
            join_tokens=JoinTokens(
                worker=new_join_token(authority.certificate_pem).text(),
                manager=new_join_token(authority.certificate_pem).text(),
            ),
            root_key=authority.key_pem.reveal(),  # Goes into the cluster's sealed record, and into no answer.
        )
    )
    identity, node = _first_manager(
        cluster, info, place, root=RootKey.generate(), availability=request.availability, now=from_s(now_s)
    )
    return Founding(identity=identity, changes=(Put(cluster), Put(node), *predefined(new_id)))


def refound(
    snapshot: Snapshot, root: RootKey, info: NodeInfo, place: Place, *, now_s: float
) -> tuple[Identity, Sequence[Change]]:
    """Return this node as the one manager of a swarm that was restored, and the changes that make it so.

    The nodes of old stay, as workers that are down: they come back by themselves, or are removed by hand.
    """
    cluster = snapshot.cluster
    assert cluster is not None, "a backup has a cluster"
    identity, node = _first_manager(cluster, info, place, root=root, availability="", now=from_s(now_s))
    return identity, (*without_other_managers(snapshot, node.id), Put(node))


def without_other_managers(snapshot: Snapshot, node_id: str, *, at: str = "") -> tuple[Change, ...]:
    """Return the changes after which no other node is a manager, and no certificate of etcd's peers is good.

    at: host:port of the one that is, if the store knows it.
    """
    changes: list[Change] = []
    for node in snapshot.nodes.values():
        if node.id == node_id and node.manager_status is not None and at:
            status_here = msgspec.structs.replace(node.manager_status, addr=at)
            changes.append(Put(msgspec.structs.replace(node, manager_status=status_here)))
        if node.id != node_id and node.is_manager:
            spec = msgspec.structs.replace(node.spec, role="worker")
            status = NodeStatus(state="down", message="the swarm was begun anew without it", addr=node.status.addr)
            # Down from now on, whatever it was: a node of a backup has its time to come back.
            gone = msgspec.structs.replace(node, spec=spec, status=status, manager_status=None, down_since=None)
            changes.append(Put(gone))
    cluster = snapshot.cluster
    if cluster is not None and cluster.peer_authority is not None and node_id not in snapshot.nodes:
        changes.append(Put(msgspec.structs.replace(cluster, peer_authority=None)))
    return tuple(changes)


def _first_manager(
    cluster: Cluster, info: NodeInfo, place: Place, *, root: RootKey, availability: str, now: datetime
) -> tuple[Identity, Node]:
    keys = NodeKeys(
        cluster_id=cluster.id,
        node_id=NodeID(new_id()),
        tls_key=new_tls_key(),
        node_key=NodeKey.generate(),
        root_key=root,
    )
    signs = signer(cluster)
    request = request_certificate(keys.tls_key, node_key=keys.node_key.public())
    certificate, named = issue(
        signs.authority,
        request,
        cluster_id=cluster.id,
        node_id=keys.node_id,
        role=Role.MANAGER,
        now=now,
        life=life_of(cluster),
    )
    unlock = UnlockKey(cluster.unlock_key) if cluster.unlock_key else None
    identity = Identity(
        keys=keys,
        certificate=certificate + signs.cross_certificate,
        roots=trust_bundle(cluster),
        place=place,
        unlock=unlock or UnlockKey.generate(),
        unlock_version=cluster.unlock_key_version,
        locks=unlock is not None,
    )
    node = Node(
        id=NodeID(keys.node_id),
        spec=NodeSpec(role="manager", availability=availability or "active"),
        description=description(info, cluster.tls_info),
        status=NodeStatus(state="ready", addr=place.address),
        manager_status=ManagerStatus(leader=True, reachability="reachable", addr=identity.control_address),
        seal_key=named.node_key,
        certificate=NodeCertificate(
            role="manager", issuer=cluster.tls_info.cert_issuer_public_key, not_after=named.not_after
        ),
    )
    return identity, node

"""What a new swarm is made of: keys, certificates, and its first objects.

Draws chance, touches nothing else.  Called by `vault.daemon.membership` at `swarm init`.
"""

from dataclasses import dataclass

from vault.api.ports import InitRequest, NodeInfo
from vault.crypto.certificates import (
    Authority,
    Role,
    issue,
    issuer_facts,
    new_authority,
    new_tls_key,
    request_certificate,
)
from vault.crypto.ids import new_id
from vault.crypto.keyfile import NodeKeys
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.node_seal import NodeKey
from vault.crypto.tokens import new_join_token
from vault.daemon.identity import Identity
from vault.daemon.machine import description
from vault.model.base import from_s
from vault.model.cluster import DEFAULT_SPEC, Cluster, JoinTokens
from vault.model.ids import ClusterID, NodeID
from vault.model.node import ManagerStatus, Node, NodeSpec, NodeStatus, TLSInfo
from vault.store.changes import Put
from vault.store.rules_cluster import merged
from vault.store.rules_network import predefined

PORT = 2377  # Control plane.
DATA_PATH_PORT = 4789  # VXLAN.
SUBNET_SIZE = 24  # Bits of a network's address that name the network.


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """A swarm about to be."""

    identity: Identity
    unlock: UnlockKey
    changes: tuple[Put, ...]


def found(request: InitRequest, info: NodeInfo, address: str, *, now_s: float) -> Founding:
    """Return a new swarm with this node as its manager.  Raises what is wrong with the request's settings."""
    spec = merged(request.spec, DEFAULT_SPEC)
    cluster_id, node_id = ClusterID(new_id()), NodeID(new_id())
    authority = new_authority(now=from_s(now_s))
    keys = NodeKeys(
        cluster_id=cluster_id,
        node_id=node_id,
        tls_key=new_tls_key(),
        node_key=NodeKey.generate(),
        root_key=RootKey.generate(),
    )
    certificate_request = request_certificate(keys.tls_key, node_key=keys.node_key.public())
    certificate, named = issue(
        authority, certificate_request, cluster_id=cluster_id, node_id=node_id, role=Role.MANAGER, now=from_s(now_s)
    )
    tls_info = tls_info_of(authority)
    cluster = Cluster(
        id=cluster_id,
        spec=spec,
        tls_info=tls_info,
        default_addr_pool=request.default_addr_pool,
        subnet_size=request.subnet_size or SUBNET_SIZE,
        data_path_port=request.data_path_port or DATA_PATH_PORT,
        join_tokens=JoinTokens(
            worker=new_join_token(authority.certificate_pem).text(),
            manager=new_join_token(authority.certificate_pem).text(),
        ),
        root_key=authority.key_pem.reveal(),  # Goes into the cluster's sealed record, and into no answer.
    )
    node = Node(
        id=node_id,
        spec=NodeSpec(role="manager", availability=request.availability or "active"),
        description=description(info, tls_info),
        status=NodeStatus(state="ready", addr=address),
        manager_status=ManagerStatus(leader=True, reachability="reachable", addr=f"{address}:{PORT}"),
        seal_key=named.node_key,
    )
    return Founding(
        identity=Identity(keys=keys, certificate=certificate, address=address),
        unlock=UnlockKey.generate(),
        changes=(Put(cluster), Put(node), *predefined(new_id)),
    )


def tls_info_of(authority: Authority) -> TLSInfo:
    """Return the root CA as nodes and the API show it."""
    facts = issuer_facts(authority.certificate_pem)
    return TLSInfo(
        trust_root=authority.certificate_pem.decode(),
        cert_issuer_subject=facts.subject,
        cert_issuer_public_key=facts.public_key,
    )


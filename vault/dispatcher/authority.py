"""Who gets a certificate: joiners with a valid token, and members for themselves.

Pure but for chance (serial numbers): a snapshot and a request in, a certificate and the change that records it out.
Called by `vault.dispatcher.authority_service` on the leader, and by a manager for itself.
A node is its id: equal host names are no clash, as in Docker; `vault node ls` shows both.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import msgspec

from vault.crypto.certificates import Identity, RequestFacts, Role, issue, read_request
from vault.crypto.errors import InvalidJoinToken
from vault.crypto.tokens import JoinToken
from vault.model.cluster import Cluster
from vault.model.errors import BadRequest, Conflict, ManagerNotReady, VaultError
from vault.model.node import Node, NodeCertificate, NodeDescription, NodeSpec, NodeStatus
from vault.rpc.messages_ca import Issued, IssueRequest, NodeAddress, TrustIs
from vault.store.changes import Change, Put
from vault.store.rules_cluster import AVAILABILITIES
from vault.store.snapshot import Snapshot
from vault.store.trust import signer, trust_bundle

RENEWALS_PER_S: Final = 50  # When all nodes have to renew, they spread over so much time.
ROLES: Final = {"manager": Role.MANAGER, "worker": Role.WORKER}


class NoLongerMember(VaultError):
    """The node was removed; its certificate is good for nothing any more."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self, node_id: str) -> None:
        super().__init__(f"node {node_id} is not part of this swarm any more: leave it, and join again to come back")
        self.node_id = node_id


class AddressTaken(Conflict):
    """A manager would be where another one is already."""

    def __init__(self, node_id: str, address: str) -> None:
        super().__init__(
            f"manager {node_id} of this swarm answers at {address} already: give this node an address of its own "
            "with --advertise-addr"
        )
        self.node_id = node_id
        self.address = address


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A certificate that was issued: the answer to the node, and what has to be committed before it is given."""

    answer: Issued
    identity: Identity
    changes: tuple[Change, ...]


def admit(snapshot: Snapshot, wanted: IssueRequest, *, address: str, new_id: str, now: datetime) -> Admission:
    """Make a node of a joiner, in the role of its token.

    address: where it connects from.  A joiner that asks again with the same keys, since an answer was lost, is the
    same node.  Raises `InvalidJoinToken`, `InvalidCertificate`, `BadRequest` or `AddressTaken`.
    """
    cluster = cluster_of(snapshot)
    role = _role_by(cluster, wanted.token)
    asked = read_request(wanted.request)
    if wanted.availability not in ("", *AVAILABILITIES):
        raise BadRequest(f'invalid Availability: "{wanted.availability[:32]}"')
    node = next((node for node in snapshot.nodes.values() if _same_keys(node, asked)), None)
    if node is None:
        if role == "manager":
            check_address(snapshot, wanted.addr or address)
        node = Node(
            id=new_id,
            spec=NodeSpec(role=role, availability=wanted.availability or "active"),
            description=NodeDescription(hostname=wanted.hostname, tls_info=cluster.tls_info),
            status=NodeStatus(state="unknown", addr=wanted.addr or address),
        )
    return _issue(snapshot, cluster, node, wanted.request, asked, now=now)


def renew(snapshot: Snapshot, node_id: str, request: bytes, *, now: datetime) -> Admission:
    """Issue a member's next certificate, in the role that the store says it acts in now.

    Who asks is the caller's to know: by its certificate, or because it is this manager itself (which may do so with a
    certificate that has expired).  Raises `NoLongerMember` or `InvalidCertificate`.
    """
    cluster = cluster_of(snapshot)
    asked = read_request(request)
    node = snapshot.nodes.get(node_id)
    if node is None:
        raise NoLongerMember(node_id)
    return _issue(snapshot, cluster, node, request, asked, now=now)


def announcement(snapshot: Snapshot, node_id: str) -> TrustIs | None:
    """Return what a member is to have; None when it is none.  Its session tells it whenever this changes."""
    cluster, node = snapshot.cluster, snapshot.nodes.get(node_id)
    if cluster is None or node is None:
        return None
    return TrustIs(
        trust=trust_bundle(cluster),
        role=node.acts_as,
        issuer=cluster.tls_info.cert_issuer_public_key,
        within_s=min(len(snapshot.nodes) // RENEWALS_PER_S, 3600),
    )


def managers_of(snapshot: Snapshot) -> tuple[NodeAddress, ...]:
    """Return the managers that can be asked, with their addresses, by node id."""
    found = ((node.id, node.manager_status) for node in snapshot.nodes.values() if node.is_manager)
    return tuple(sorted((node_id, status.addr) for node_id, status in found if status is not None and status.addr))


def check_address(snapshot: Snapshot, address: str, *, node_id: str = "") -> None:
    """Raise `AddressTaken` if another manager, one that is up, is to be reached at an address (without a port)."""
    for node in snapshot.nodes.values():
        status = node.manager_status
        if node.id == node_id or status is None or node.status.state != "ready":
            continue
        if status.addr.rpartition(":")[0].strip("[]") == address:
            raise AddressTaken(node.id, address)


def cluster_of(snapshot: Snapshot) -> Cluster:
    """Return the cluster.  Raises `ManagerNotReady` before the store has it."""
    if snapshot.cluster is None:
        raise ManagerNotReady
    return snapshot.cluster


def life_of(cluster: Cluster) -> timedelta:
    """Return how long node certificates live."""
    return timedelta(microseconds=cluster.spec.ca_config.node_cert_expiry // 1000)


def _role_by(cluster: Cluster, text: str) -> str:
    """Return the role that a token admits to; each stored token is compared, whatever the other said.

    Raises `InvalidJoinToken`.
    """
    presented = JoinToken.parse(text)
    admitted = [
        role
        for role, stored in (("worker", cluster.join_tokens.worker), ("manager", cluster.join_tokens.manager))
        if _admits(stored, presented)
    ]
    if not admitted:
        raise InvalidJoinToken
    return admitted[0]


def _admits(stored: str, presented: JoinToken) -> bool:
    try:
        JoinToken.parse(stored).check(presented)
    except InvalidJoinToken:
        return False
    return True


def _same_keys(node: Node, asked: RequestFacts) -> bool:
    """Whether a node was made for this very request's keys, both of them: whoever holds the TLS key is that node."""
    return node.certificate is not None and (node.certificate.tls_key, node.seal_key) == (asked.tls_key, asked.node_key)


def _issue(
    snapshot: Snapshot, cluster: Cluster, node: Node, request: bytes, asked: RequestFacts, *, now: datetime
) -> Admission:
    signs = signer(cluster)
    certificate, identity = issue(
        signs.authority,
        request,
        cluster_id=cluster.id,
        node_id=node.id,
        role=ROLES[node.acts_as],
        now=now,
        life=life_of(cluster),
    )
    recorded = msgspec.structs.replace(
        node,
        seal_key=identity.node_key,
        certificate=NodeCertificate(
            role=node.acts_as,
            issuer=cluster.tls_info.cert_issuer_public_key,
            tls_key=asked.tls_key,
            not_after=identity.not_after,
        ),
    )
    answer = Issued(
        cluster_id=cluster.id,
        node_id=node.id,
        certificate=certificate + signs.cross_certificate,
        trust=trust_bundle(cluster),
        managers=managers_of(snapshot),
    )
    return Admission(answer=answer, identity=identity, changes=(Put(recorded),))

"""A swarm's store in one line, with real keys: what tests of identity begin from."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from vault.crypto.certificates import Authority, Role, issue, new_authority, new_tls_key, request_certificate
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Plaintext
from vault.crypto.tokens import new_join_token
from vault.model.cluster import DEFAULT_SPEC, Cluster, JoinTokens
from vault.model.errors import NotLeading
from vault.model.node import ManagerStatus, Node, NodeCertificate, NodeDescription, NodeSpec, NodeStatus
from vault.rpc.messages_ca import IssueRequest
from vault.store.changes import Atomic, Change, Put
from vault.store.snapshot import Snapshot
from vault.store.trust import tls_info_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLUSTER = "c" * 25
AUTHORITY = new_authority(now=NOW)
TLS_KEY, NODE_KEY = new_tls_key(), NodeKey.generate()
REQUEST = request_certificate(TLS_KEY, node_key=NODE_KEY.public())


def ident(name: str) -> str:
    return name.ljust(25, "0")


def swarm(*nodes: Node, authority: Authority = AUTHORITY, **fields: object) -> Snapshot:
    """Return the store of a swarm with these nodes."""
    pem = authority.certificate_pem
    cluster = Cluster(
        id=CLUSTER,
        spec=DEFAULT_SPEC,
        tls_info=tls_info_of(pem),
        join_tokens=JoinTokens(worker=new_join_token(pem).text(), manager=new_join_token(pem).text()),
        root_key=authority.key_pem.reveal(),
        **fields,  # type: ignore[arg-type]
    )
    return after(Snapshot(), Put(cluster), *(Put(node) for node in nodes))


def node(
    name: str, role: str = "worker", *, state: str = "ready", leads: bool = False, authority: Authority = AUTHORITY
) -> Node:
    """Return a member as its managers know it; managers answer at 10.0.0.1."""
    info = tls_info_of(authority.certificate_pem)
    reachability = "reachable" if state == "ready" else "unreachable"
    return Node(
        id=ident(name),
        spec=NodeSpec(role=role),
        description=NodeDescription(hostname=name, tls_info=info),
        status=NodeStatus(state=state, addr="10.0.0.1"),
        manager_status=ManagerStatus(leader=leads, reachability=reachability, addr="10.0.0.1:2377")
        if role == "manager"
        else None,
        certificate=NodeCertificate(role=role, issuer=info.cert_issuer_public_key),
    )


def after(snapshot: Snapshot, *changes: Change | Atomic) -> Snapshot:
    return snapshot.apply(changes, index=snapshot.index + 1, now_s=NOW.timestamp())


def cluster_in(snapshot: Snapshot) -> Cluster:
    assert snapshot.cluster is not None
    return snapshot.cluster


def joiner(snapshot: Snapshot, role: str = "worker", *, keys: tuple[Plaintext, NodeKey] | None = None) -> IssueRequest:
    """Return what a machine asks for that was given the token of a role."""
    tls_key, node_key = keys or (new_tls_key(), NodeKey.generate())
    token: str = getattr(cluster_in(snapshot).join_tokens, role)
    request = request_certificate(tls_key, node_key=node_key.public())
    return IssueRequest(request=request, token=token, hostname="host")


def certificate_for(name: str, role: Role = Role.WORKER, *, authority: Authority = AUTHORITY) -> bytes:
    issued, _ = issue(authority, REQUEST, cluster_id=CLUSTER, node_id=ident(name), role=role, now=NOW)
    return issued


class FakeStore:
    """A store that leads, or does not."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.committed = snapshot
        self.leads = True

    def now_s(self) -> float:
        return NOW.timestamp()

    async def submit(self, build: Callable[[Snapshot], Sequence[Change]]) -> int:
        if not self.leads:
            raise NotLeading
        changes = build(self.committed)
        self.committed = after(self.committed, *changes) if changes else self.committed
        return self.committed.index

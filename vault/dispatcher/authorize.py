"""Which calls a manager takes, from whom.  Pure: the store's newest word decides, not what a certificate claims.

Called by `vault.rpc.server` for every call, with the snapshot of the moment.  That the certificate itself is by this
cluster's CA and in time, TLS has checked by then.
"""

from http import HTTPStatus

from vault.crypto.certificates import Identity
from vault.dispatcher.authority import NoLongerMember, cluster_of
from vault.model.errors import VaultError
from vault.rpc.messages import SESSION
from vault.rpc.messages_ca import ISSUE, ROOT
from vault.store.snapshot import Snapshot

OPEN = (ROOT, ISSUE)  # A joiner has no certificate yet.
MEMBERS = "node."
MANAGERS = "manager."


class NotPermitted(VaultError):
    """This node may not make this call."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self, why: str) -> None:
        super().__init__(f"rpc error: code = PermissionDenied desc = {why}")
        self.why = why


class CertificateNeeded(VaultError):
    """The call is for members, and the caller presented no certificate."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self) -> None:
        super().__init__(
            "rpc error: code = Unauthenticated desc = only members of this swarm may ask that: join it first"
        )


def authorize(snapshot: Snapshot, method: str, identity: Identity | None) -> None:
    """Let a call pass.  Raises `NotPermitted`, `CertificateNeeded`, `NoLongerMember` or `ManagerNotReady`.

    Anybody may ask for the root CA and for a certificate; members may open their session and send logs; managers may
    forward and enter.  Whoever presents a certificate has to be a member, whatever it asks for: a node that was removed
    gets no new certificate for its old one, and its session says that it was.
    """
    cluster = cluster_of(snapshot)
    if identity is None:
        if method not in OPEN:
            raise CertificateNeeded
        return
    if identity.cluster_id != cluster.id:
        raise NotPermitted("this certificate is of another swarm: leave that one, and join this one")
    node = snapshot.nodes.get(identity.node_id)
    if node is None and method == SESSION:
        return  # It ends its tasks when it is sent away, so only the dispatcher does that, and only when it is sure.
    if node is None:
        raise NoLongerMember(identity.node_id)
    if method in OPEN or method.startswith(MEMBERS):
        return
    if not method.startswith(MANAGERS):
        raise NotPermitted("this call is for nobody: run one version of vault on every node")
    if not node.is_manager:
        raise NotPermitted(f"node {node.id} is not a manager of this swarm: promote it first")

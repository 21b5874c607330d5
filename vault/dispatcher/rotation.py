"""Rotating the root CA: when every node has a certificate by the new root, it takes over alone.

Pure but for chance (new join tokens).  A decider for the leader's loop.  `vault.store.trust` says what each step is,
`authority.announcement` what nodes are told, so that they renew; each step's state is in the store, so a new leader
goes on where the old one stopped.
"""

from vault.model.ids import NewID
from vault.model.node import Node
from vault.store.changes import Put
from vault.store.decision import Decision
from vault.store.snapshot import Snapshot
from vault.store.trust import finished


def decide(before: Snapshot | None, after: Snapshot, *, now_s: float, new_id: NewID) -> Decision:
    """Finish the rotation in progress when nothing is waited for.

    What a node *uses* counts, as it says itself, beside what was issued to it: an answer may have been lost.
    """
    cluster = after.cluster
    if cluster is None or cluster.root_rotation is None or waited_for(after):
        return Decision()
    return Decision(changes=(Put(finished(cluster)),))


def waited_for(snapshot: Snapshot) -> tuple[Node, ...]:
    """Return the nodes, by id, whose certificate is not yet by the CA that signs; they know the old root only.

    A node that is down is waited for, since it would be shut out; `vault node rm` ends that.
    """
    if snapshot.cluster is None:
        return ()
    signs = snapshot.cluster.tls_info.cert_issuer_public_key
    late = (node for node in snapshot.nodes.values() if not _is_by(node, signs))
    return tuple(sorted(late, key=lambda node: node.id))


def _is_by(node: Node, issuer: str) -> bool:
    issued, used = node.certificate, node.description.tls_info.cert_issuer_public_key
    return issued is not None and issued.issuer == issuer == used

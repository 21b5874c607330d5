"""What the store keeps of keys and certificates is in no answer, whatever is added to it."""

import msgspec

from vault.api.shown import CLUSTER_FIELDS, NODE_FIELDS, shown_cluster, shown_node
from vault.model.cluster import Cluster, JoinTokens, PeerAuthority, RootRotation
from vault.model.node import Node, NodeAttachment, NodeCertificate

CANARY = "canary"


def test_a_swarm_is_shown_without_any_key_or_what_belongs_to_one() -> None:
    canary = CANARY.encode()
    cluster = Cluster(
        id="c" * 25,
        join_tokens=JoinTokens(worker=CANARY, manager=CANARY),
        root_key=canary,
        root_rotation=RootRotation(certificate=CANARY, key=canary, cross_certificate=CANARY),
        peer_authority=PeerAuthority(certificate=CANARY, key=canary, issued=((CANARY, CANARY),), revoked=(CANARY,)),
        unlock_key=canary,
        unlock_key_version=77,
    )
    shown = msgspec.json.decode(msgspec.json.encode(shown_cluster(cluster, tokens=False)))
    assert CANARY not in str(shown)
    with_tokens = msgspec.json.decode(msgspec.json.encode(shown_cluster(cluster, tokens=True)))
    assert str(with_tokens).count(CANARY) == 2


def test_a_node_is_shown_without_what_is_recorded_of_its_certificate_and_its_own_addresses() -> None:
    node = Node(
        id="n" * 25,
        seal_key=b"canary",
        certificate=NodeCertificate(role=CANARY, tls_key=CANARY),
        attachments=(NodeAttachment(network_id=CANARY, addresses=(CANARY,)),),
    )
    assert CANARY not in msgspec.json.encode(shown_node(node)).decode()


def test_fields_that_are_shown_are_named_one_by_one() -> None:
    """A field that is added is not shown until somebody says so here."""
    hidden = {"root_key", "root_rotation", "peer_authority", "unlock_key", "unlock_key_version", "encryption"}
    assert set(Cluster.__struct_fields__) - set(CLUSTER_FIELDS) == hidden
    hidden = {"seal_key", "certificate", "encryption", "down_since", "drained_at", "attachments", "spec_version"}
    assert set(Node.__struct_fields__) - set(NODE_FIELDS) == hidden

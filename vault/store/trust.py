"""The cluster's authorities, as its object holds them: who signs, whom to trust, and what rotating the root changes.

Pure but for chance where a key or token is drawn: `now` is an argument, nothing is awaited.
A rotation goes: `begun` (a new root signs, the old one vouches for it by a cross certificate, nodes trust both), every
node renews, `finished` (the new root alone, new join tokens).  All of it lives in the cluster object, so whoever leads
goes on with it.  Called by `rules_swarm` (begin) and `vault.dispatcher.rotation` (finish).
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from vault.crypto.authorities import cross_sign
from vault.crypto.certificates import Authority, issuer_facts, issuer_of, split
from vault.crypto.peers import new_peer_authority
from vault.crypto.plaintext import Plaintext
from vault.crypto.tokens import new_join_token
from vault.model.cluster import Cluster, JoinTokens, PeerAuthority, RootRotation
from vault.model.node import TLSInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signs node certificates now."""

    authority: Authority
    cross_certificate: bytes  # Goes behind each certificate; empty when no rotation is in progress.


def root_authority(cluster: Cluster) -> Authority:
    """Return the root CA that join tokens name; it does not sign while a rotation is in progress."""
    return Authority(certificate_pem=cluster.tls_info.trust_root.encode(), key_pem=Plaintext(cluster.root_key))


def signer(cluster: Cluster) -> Signer:
    """Return who signs node certificates now."""
    rotation = cluster.root_rotation
    if rotation is None:
        return Signer(authority=root_authority(cluster), cross_certificate=b"")
    return Signer(
        authority=Authority(certificate_pem=rotation.certificate.encode(), key_pem=Plaintext(rotation.key)),
        cross_certificate=rotation.cross_certificate.encode(),
    )


def trust_bundle(cluster: Cluster) -> bytes:
    """Return the roots that nodes trust, PEM: the one that tokens name first."""
    rotation = cluster.root_rotation
    return (cluster.tls_info.trust_root + ("" if rotation is None else rotation.certificate)).encode()


def tls_info_of(authority_pem: bytes) -> TLSInfo:
    """Return a root CA as the API shows it.  Raises `InvalidCertificate`."""
    facts = issuer_facts(authority_pem)
    return TLSInfo(
        trust_root=authority_pem.decode(),
        cert_issuer_subject=facts.subject,
        cert_issuer_public_key=facts.public_key,
    )


def reported_tls_info(chain: bytes, trust: bytes) -> TLSInfo:
    """Return what a node says of its certificate and trust, in its description.  Raises `InvalidCertificate`.

    As in Docker, it equals the cluster's own `TLSInfo` exactly when the node's certificate is by the CA that signs.
    """
    facts = issuer_of(chain, authority_pem=trust)
    return TLSInfo(
        trust_root=split(trust)[0].decode(),
        cert_issuer_subject=facts.subject,
        cert_issuer_public_key=facts.public_key,
    )


def begun(cluster: Cluster, successor: Authority, *, now: datetime) -> Cluster:
    """Return the cluster with a root CA that takes over; one that was taking over already is given up for it.

    Nodes that were renewed under the one given up are vouched for by the old root still, and renew once more.
    Raises `UnusableAuthority`.
    """
    cross = cross_sign(successor.certificate_pem, root_authority(cluster), now=now)
    rotation = RootRotation(
        certificate=successor.certificate_pem.decode(),
        key=successor.key_pem.reveal(),  # Goes into the cluster's sealed record, and into no answer.
        cross_certificate=cross.decode(),
    )
    return _showing(msgspec.structs.replace(cluster, root_rotation=rotation), successor.certificate_pem)


def given_up(cluster: Cluster) -> Cluster:
    """Return the cluster with the old root signing again."""
    return _showing(msgspec.structs.replace(cluster, root_rotation=None), cluster.tls_info.trust_root.encode())


def finished(cluster: Cluster) -> Cluster:
    """Return the cluster with the new root alone: trusted, signing, and named by new join tokens."""
    rotation = cluster.root_rotation
    assert rotation is not None
    pem = rotation.certificate.encode()
    return msgspec.structs.replace(
        cluster,
        tls_info=tls_info_of(pem),
        root_key=rotation.key,
        root_rotation=None,
        root_rotation_in_progress=False,
        join_tokens=JoinTokens(worker=new_join_token(pem).text(), manager=new_join_token(pem).text()),
    )


def rotated_tokens(cluster: Cluster, *, worker: bool, manager: bool) -> Cluster:
    """Return the cluster with new join tokens for the roles asked for; the ones before admit nobody any more."""
    pem = cluster.tls_info.trust_root.encode()
    tokens = JoinTokens(
        worker=new_join_token(pem).text() if worker else cluster.join_tokens.worker,
        manager=new_join_token(pem).text() if manager else cluster.join_tokens.manager,
    )
    return msgspec.structs.replace(cluster, join_tokens=tokens)


def with_peer_authority(cluster: Cluster, *, now: datetime) -> Cluster:
    """Return the cluster with a CA for etcd's peers; as it is when it has one."""
    if cluster.peer_authority is not None:
        return cluster
    made = new_peer_authority(now=now)
    kept = PeerAuthority(
        certificate=made.certificate_pem.decode(),
        key=made.key_pem.reveal(),  # Goes into the cluster's sealed record, and into no answer.
    )
    return msgspec.structs.replace(cluster, peer_authority=kept)


def peer_authority(peers: PeerAuthority) -> Authority:
    """Return the CA of etcd's peers."""
    return Authority(certificate_pem=peers.certificate.encode(), key_pem=Plaintext(peers.key))


def _showing(cluster: Cluster, signer_pem: bytes) -> Cluster:
    """Return the cluster with its `TLSInfo` showing who signs."""
    facts = issuer_facts(signer_pem)
    shown = msgspec.structs.replace(
        cluster.tls_info, cert_issuer_subject=facts.subject, cert_issuer_public_key=facts.public_key
    )
    return msgspec.structs.replace(cluster, tls_info=shown, root_rotation_in_progress=cluster.root_rotation is not None)

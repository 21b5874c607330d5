"""Certificates: the root CA, requests, and node certificates that say who a node is and which key seals to it.

Pure but for chance (keys, serial numbers): `now` is an argument.  Issued by managers, asked for by nodes.
Subject of a node certificate: O = cluster id, OU = role, CN = node id.  The node's X25519 key travels in the request as
an extension under the request's own signature, and is recorded when the certificate is issued.
"""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from vault.crypto import _hazmat
from vault.crypto.errors import InvalidCertificate
from vault.crypto.node_seal import NODE_KEY_BYTES
from vault.crypto.plaintext import Plaintext
from vault.model.ids import is_id

AUTHORITY_LIFE: Final = timedelta(days=20 * 365)
NODE_LIFE: Final = timedelta(days=90)
BACKDATED: Final = timedelta(hours=1)  # For nodes whose clocks are behind.
RENEWAL_SHARE: Final = (0.5, 0.8)  # Renew at a random point between these shares of a certificate's life.
MAX_PEM_BYTES: Final = 16 * 1024
_AUTHORITY_NAME: Final = "swarm-ca"
# An arc of our own that needs no registration: 2.25 and a random UUID.  Source: ITU-T X.667.
_NODE_KEY_OID: Final = "2.25.146433790829098090514540118763453169472"
_OCTETS: Final = bytes((0x04, NODE_KEY_BYTES))  # An extension's content is DER: an OCTET STRING of 32 bytes.


class Role(StrEnum):
    """What a node may do; the value is the OU of its certificate, as in Docker."""

    MANAGER = "swarm-manager"
    WORKER = "swarm-worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The root CA: a public certificate, and the key that only managers hold."""

    certificate_pem: bytes
    key_pem: Plaintext  # PKCS#8 PEM.


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a node certificate says."""

    cluster_id: str
    node_id: str
    role: Role
    node_key: bytes  # X25519 public key, 32 bytes.
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerFacts:
    """How the API shows an issuer: base64 of DER, as Docker's `TLSInfo`."""

    subject: str
    public_key: str


def new_authority(*, now: datetime) -> Authority:
    """Create a cluster's root CA: ECDSA P-256, CN swarm-ca, 20 years, back-dated 1 h."""
    key_pem, name = _hazmat.ec_generate(), _hazmat.Name(common_name=_AUTHORITY_NAME)
    start, end = _life(now, AUTHORITY_LIFE)
    return Authority(certificate_pem=_hazmat.self_sign_authority(key_pem, name, start, end), key_pem=Plaintext(key_pem))


def new_tls_key() -> Plaintext:
    """Draw a node's TLS key: ECDSA P-256, PKCS#8 PEM."""
    return Plaintext(_hazmat.ec_generate())


def request_certificate(tls_key: Plaintext, *, node_key: bytes) -> bytes:
    """Return the request, PEM, that proves possession of tls_key and names the node's X25519 key (32 bytes)."""
    assert len(node_key) == NODE_KEY_BYTES
    return _hazmat.request_certificate(tls_key.reveal(), _NODE_KEY_OID, _OCTETS + node_key)


def issue(
    authority: Authority,
    request_pem: bytes,
    *,
    cluster_id: str,
    node_id: str,
    role: Role,
    now: datetime,
    life: timedelta = NODE_LIFE,
) -> tuple[bytes, Identity]:
    """Issue a node certificate; return it as PEM and what it says, to be recorded.

    Only the request's two keys are used, never a name in it.  Raises `InvalidCertificate` for a request that is too
    long, is not signed by its own P-256 key, or carries no X25519 key.
    """
    _bounded(request_pem)
    start, end = _life(now, life)
    wanted = _hazmat.Issue(
        subject=_hazmat.Name(organization=cluster_id, unit=role.value, common_name=node_id),
        dns_names=(role.value, node_id) + ((_AUTHORITY_NAME,) if role is Role.MANAGER else ()),
        not_before=start,
        not_after=end,
        extension_oid=_NODE_KEY_OID,
    )
    try:
        _node_key(_hazmat.read_request(request_pem, _NODE_KEY_OID))
        certificate = _hazmat.issue_from_request(
            authority.certificate_pem, authority.key_pem.reveal(), request_pem, wanted
        )
    except _hazmat.Refused:
        raise InvalidCertificate("the request is malformed or not signed by its own key") from None
    return certificate, identity_of(certificate, authority_pem=authority.certificate_pem)


def identity_of(certificate_pem: bytes, *, authority_pem: bytes) -> Identity:
    """Return who a node certificate names, after checking that the authority issued it.

    Dates are the caller's to judge.  Raises `InvalidCertificate`.
    """
    _bounded(certificate_pem)
    try:
        _hazmat.check_issued_by(certificate_pem, authority_pem)
        facts = _hazmat.read_certificate(certificate_pem, _NODE_KEY_OID)
        role = Role(facts.subject.unit or "")
    except (_hazmat.Refused, ValueError):
        raise InvalidCertificate("it is malformed or not issued by this cluster's CA") from None
    cluster_id, node_id = facts.subject.organization or "", facts.subject.common_name or ""
    if facts.is_authority or facts.node_key is None:
        raise InvalidCertificate("it is no node certificate")
    if not (is_id(cluster_id) and is_id(node_id)):
        raise InvalidCertificate("it names no cluster and node")
    return Identity(
        cluster_id=cluster_id,
        node_id=node_id,
        role=role,
        node_key=_node_key(facts.node_key),
        not_before=facts.not_before,
        not_after=facts.not_after,
    )


def renewal_time(identity: Identity, *, share: float) -> datetime:
    """Return when to renew.  share: drawn evenly from [0, 1); 0 means half the life, 1 would mean 80 % of it."""
    first, last = RENEWAL_SHARE
    return identity.not_before + (identity.not_after - identity.not_before) * (first + (last - first) * share)


def issuer_facts(authority_pem: bytes) -> IssuerFacts:
    """Return how `TLSInfo` shows the root CA.  Raises `InvalidCertificate`."""
    try:
        facts = _hazmat.read_certificate(authority_pem, _NODE_KEY_OID)
    except _hazmat.Refused:
        raise InvalidCertificate("the root CA is malformed") from None
    return IssuerFacts(
        subject=base64.b64encode(facts.issuer_der).decode("ascii"),
        public_key=base64.b64encode(facts.public_key_der).decode("ascii"),
    )


def _life(now: datetime, life: timedelta) -> tuple[datetime, datetime]:
    """Return the first and last moment of a certificate made now; X.509 counts whole seconds."""
    moment = now.replace(microsecond=0)
    return moment - BACKDATED, moment + life


def _node_key(extension: bytes) -> bytes:
    """Return the X25519 key inside our extension.  Raises `InvalidCertificate`."""
    if len(extension) != len(_OCTETS) + NODE_KEY_BYTES or not extension.startswith(_OCTETS):
        raise InvalidCertificate("it carries no usable node key")
    return extension[len(_OCTETS) :]


def _bounded(pem: bytes) -> None:
    if len(pem) > MAX_PEM_BYTES:
        raise InvalidCertificate("it is too long")

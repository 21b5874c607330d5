"""Node certificates: requests, issuing, and what a certificate or chain says of its node.

Pure but for chance (keys, serial numbers): `now` is an argument.  Issued by managers, asked for by nodes.
Subject of a node certificate: O = cluster id, OU = role, CN = node id.  The node's X25519 key travels in the request as
an extension under the request's own signature, and is recorded when the certificate is issued.
A *chain* is a node certificate, then at most `MAX_CHAIN` - 1 authorities that lead to a root; a *bundle* is the roots
one trusts.  Both are PEM certificates one after another.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from vault.crypto._hazmat import Refused, pki
from vault.crypto.errors import CertificateExpired, CertificateNotYetValid, InvalidCertificate
from vault.crypto.node_seal import NODE_KEY_BYTES
from vault.crypto.plaintext import Plaintext
from vault.model.ids import is_id

AUTHORITY_LIFE: Final = timedelta(days=20 * 365)
NODE_LIFE: Final = timedelta(days=90)
BACKDATED: Final = timedelta(hours=1)  # For nodes whose clocks are behind.
RENEWAL_SHARE: Final = (0.5, 0.8)  # Renew at a random point between these shares of a certificate's life.
MAX_PEM_BYTES: Final = 16 * 1024
MAX_CHAIN: Final = 4  # Certificates in a chain or bundle.
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
    """A CA: a public certificate, and the key that only managers hold."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What a request asks for: certificates for two keys."""

    tls_key: str  # SHA-256 of the TLS key's SubjectPublicKeyInfo, in hexadecimal.
    node_key: bytes  # X25519 public key, 32 bytes.


def new_authority(*, now: datetime) -> Authority:
    """Create a cluster's root CA: ECDSA P-256, CN swarm-ca, 20 years, back-dated 1 h.

    One authority may be below it: the cluster's next root, when this one is rotated out.
    """
    key_pem, name = pki.ec_generate(), pki.Name(common_name=_AUTHORITY_NAME)
    start, end = life_from(now, AUTHORITY_LIFE)
    certificate = pki.self_sign_authority(key_pem, name, start, end, path_length=1)
    return Authority(certificate_pem=certificate, key_pem=Plaintext(key_pem))


def new_tls_key() -> Plaintext:
    """Draw a node's TLS key: ECDSA P-256, PKCS#8 PEM."""
    return Plaintext(pki.ec_generate())


def request_certificate(tls_key: Plaintext, *, node_key: bytes) -> bytes:
    """Return the request, PEM, that proves possession of tls_key and names the node's X25519 key (32 bytes)."""
    assert len(node_key) == NODE_KEY_BYTES
    return pki.request_certificate(tls_key.reveal(), _NODE_KEY_OID, _OCTETS + node_key)


def read_request(request_pem: bytes) -> RequestFacts:
    """Return which keys a request is for.

    Raises `InvalidCertificate` for a request that is too long, is not signed by its own P-256 key, or carries no
    X25519 key.
    """
    _bounded(request_pem)
    try:
        tls_key, extension = pki.read_request(request_pem, _NODE_KEY_OID)
    except Refused:
        raise InvalidCertificate("the request is malformed or not signed by its own key") from None
    return RequestFacts(tls_key=hashlib.sha256(tls_key).hexdigest(), node_key=_node_key(extension))


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

    Only the request's two keys are used, never a name in it.  Raises `InvalidCertificate` as `read_request` does.
    """
    read_request(request_pem)
    start, end = life_from(now, life)
    leaf = pki.Leaf(
        subject=pki.Name(organization=cluster_id, unit=role.value, common_name=node_id),
        dns_names=(role.value, node_id) + ((_AUTHORITY_NAME,) if role is Role.MANAGER else ()),
        not_before=start,
        not_after=end,
        extension_oid=_NODE_KEY_OID,
    )
    certificate = pki.issue_from_request(authority.certificate_pem, authority.key_pem.reveal(), request_pem, leaf)
    return certificate, identity_of(certificate, authority_pem=authority.certificate_pem)


def identity_of(certificate_pem: bytes, *, authority_pem: bytes, now: datetime | None = None) -> Identity:
    """Return who a node certificate, or chain, names, after checking that one of the authorities stands behind it.

    authority_pem: a root, or a bundle of them.  now: None leaves the dates to the caller.
    Raises `InvalidCertificate`; its kinds `CertificateExpired` and `CertificateNotYetValid` say that all else is right.
    """
    leaf, *between = split(certificate_pem)
    try:
        path = _path(leaf, between, split(authority_pem))
        facts = [pki.read_certificate(one, _NODE_KEY_OID) for one in path]
    except Refused:
        raise InvalidCertificate("it is malformed or not issued by this cluster's CA") from None
    identity = _identity(facts[0])
    for one in facts if now is not None else ():
        assert now is not None
        if now < one.not_before:
            raise CertificateNotYetValid(one.not_before)
        if now > one.not_after:
            raise CertificateExpired(one.not_after)
    return identity


def identity_after_tls(certificate_der: bytes) -> Identity:
    """Return who the certificate names that the other end of a TLS connection presented.

    Only for one that OpenSSL has verified against the cluster's roots: nothing but its form is checked here.
    Raises `InvalidCertificate`.
    """
    if len(certificate_der) > MAX_PEM_BYTES:
        raise InvalidCertificate("it is too long")
    try:
        return _identity(pki.read_certificate(pki.to_pem(certificate_der), _NODE_KEY_OID))
    except Refused:
        raise InvalidCertificate("it is malformed") from None


def tls_key_of(certificate_pem: bytes) -> str:
    """Return which TLS key a certificate, or a chain's first, is for, as `RequestFacts.tls_key` names it."""
    try:
        facts = pki.read_certificate(split(certificate_pem)[0], _NODE_KEY_OID)
    except Refused:
        raise InvalidCertificate("it is malformed") from None
    return hashlib.sha256(facts.public_key_der).hexdigest()


def key_for(certificate_pem: bytes, keys: Iterable[Plaintext]) -> Plaintext:
    """Return which of some TLS keys a certificate, or a chain's first, is for.  Raises `InvalidCertificate`."""
    wanted = tls_key_of(certificate_pem)
    for key in keys:
        if hashlib.sha256(pki.ec_public(key.reveal())).hexdigest() == wanted:
            return key
    raise InvalidCertificate("it is for another key than this node's")


def renewal_time(identity: Identity, *, share: float) -> datetime:
    """Return when to renew.  share: drawn evenly from [0, 1); 0 means half the life, 1 would mean 80 % of it."""
    first, last = RENEWAL_SHARE
    return identity.not_before + (identity.not_after - identity.not_before) * (first + (last - first) * share)


def issuer_facts(authority_pem: bytes) -> IssuerFacts:
    """Return how `TLSInfo` shows an authority.  Raises `InvalidCertificate`."""
    try:
        facts = pki.read_certificate(authority_pem, _NODE_KEY_OID)
    except Refused:
        raise InvalidCertificate("the root CA is malformed") from None
    return IssuerFacts(
        subject=base64.b64encode(facts.subject_der).decode("ascii"),
        public_key=base64.b64encode(facts.public_key_der).decode("ascii"),
    )


def issuer_of(certificate_pem: bytes, *, authority_pem: bytes) -> IssuerFacts:
    """Return how `TLSInfo` shows the issuer of a chain's node certificate.  Raises `InvalidCertificate`."""
    leaf, *between = split(certificate_pem)
    try:
        return issuer_facts(_path(leaf, between, split(authority_pem))[1])
    except Refused:
        raise InvalidCertificate("it is malformed or not issued by this cluster's CA") from None


def split(bundle_pem: bytes) -> tuple[bytes, ...]:
    """Return the certificates of a chain or bundle, 1 to `MAX_CHAIN`, each in one spelling of PEM.

    Raises `InvalidCertificate`.
    """
    _bounded(bundle_pem)
    try:
        found = pki.split(bundle_pem)
    except Refused:
        raise InvalidCertificate("it is malformed") from None
    if len(found) > MAX_CHAIN:
        raise InvalidCertificate("its chain is too long")
    return found


def life_from(now: datetime, life: timedelta) -> tuple[datetime, datetime]:
    """Return the first and last moment of a certificate made now; X.509 counts whole seconds."""
    moment = now.replace(microsecond=0)
    return moment - BACKDATED, moment + life


def _path(leaf: bytes, between: list[bytes], roots: tuple[bytes, ...]) -> list[bytes]:
    """Return the certificates from the leaf to the one that a root stands behind, and the root.  Raises `Refused`."""
    path = [leaf]
    for _ in range(MAX_CHAIN):
        for root in roots:
            if _issued(path[-1], root):
                return [*path, root]
        above = next((one for one in between if one not in path and _issued(path[-1], one)), None)
        if above is None:
            break
        path.append(above)
    raise Refused


def _issued(certificate_pem: bytes, authority_pem: bytes) -> bool:
    try:
        pki.check_issued_by(certificate_pem, authority_pem)
    except Refused:
        return False
    return True


def _identity(facts: pki.CertificateFacts) -> Identity:
    """Return who a certificate of our form names.  Raises `InvalidCertificate`."""
    cluster_id, node_id = facts.subject.organization or "", facts.subject.common_name or ""
    if facts.is_authority or facts.node_key is None:
        raise InvalidCertificate("it is no node certificate")
    try:
        role = Role(facts.subject.unit or "")
    except ValueError:
        raise InvalidCertificate("it names no role") from None
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


def _node_key(extension: bytes) -> bytes:
    """Return the X25519 key inside our extension.  Raises `InvalidCertificate`."""
    if len(extension) != len(_OCTETS) + NODE_KEY_BYTES or not extension.startswith(_OCTETS):
        raise InvalidCertificate("it carries no usable node key")
    return extension[len(_OCTETS) :]


def _bounded(pem: bytes) -> None:
    if len(pem) > MAX_PEM_BYTES:
        raise InvalidCertificate("it is too long")

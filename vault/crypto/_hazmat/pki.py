"""Primitives of certificates: keys, requests, certificates and revocation lists, from bytes to bytes.

As everywhere in this package, nothing here decides what a certificate says; each function that checks raises `Refused`.
"""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vault.crypto._hazmat import Refused

_SHA256 = hashes.SHA256()
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A subject; None leaves the part out."""

    organization: str | None = None
    unit: str | None = None
    common_name: str | None = None

    def encoded(self) -> x509.Name:
        """Return the X.509 form, in the order O, OU, CN."""
        parts = (
            (NameOID.ORGANIZATION_NAME, self.organization),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, self.unit),
            (NameOID.COMMON_NAME, self.common_name),
        )
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text is not None])


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What a certificate says, its signature not yet checked."""

    subject: Name
    not_before: datetime
    not_after: datetime
    serial: int
    subject_der: bytes
    issuer_der: bytes
    public_key_der: bytes
    is_authority: bool
    path_length: int | None  # How many authorities may be below an authority; None = any number.
    signs_certificates: bool
    node_key: bytes | None  # Content of our own extension.


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a leaf certificate is to say, and which extension of its request it takes over."""

    subject: Name
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()  # IPv4 or IPv6.
    not_before: datetime
    not_after: datetime
    extension_oid: str | None = None


def ec_generate() -> bytes:
    """Return a new ECDSA P-256 private key, PKCS#8 PEM.  Source: FIPS 186-5."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def ec_read(key_pem: bytes) -> bytes:
    """Return an ECDSA P-256 private key from outside as PKCS#8 PEM.  Raises `Refused`."""
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (TypeError, *_BAD_X509):  # TypeError: it is encrypted.
        raise Refused from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def ec_public(key_pem: bytes) -> bytes:
    """Return the public half of a private key as SubjectPublicKeyInfo, DER."""
    return _spki(_ec_key(key_pem).public_key())


def request_certificate(key_pem: bytes, extension_oid: str | None = None, extension: bytes = b"") -> bytes:
    """Return a PKCS#10 request, PEM, signed by the key; asks for at most one extension and names no subject."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if extension_oid is not None:
        asked = x509.UnrecognizedExtension(x509.ObjectIdentifier(extension_oid), extension)
        builder = builder.add_extension(asked, critical=False)
    return builder.sign(_ec_key(key_pem), _SHA256).public_bytes(_PEM)


def read_request(request_pem: bytes, extension_oid: str) -> tuple[bytes, bytes]:
    """Check a request's own signature and curve; return its key (DER) and the extension it asks for.

    Raises `Refused`.
    """
    try:
        request = _request(request_pem)
        return _spki(_p256(request.public_key())), _extension(request.extensions, extension_oid)
    except _BAD_X509:
        raise Refused from None


def self_sign_authority(
    key_pem: bytes, name: Name, not_before: datetime, not_after: datetime, *, path_length: int
) -> bytes:
    """Return a root CA certificate, PEM.  path_length: how many authorities may be below it.  Source: RFC 5280."""
    key, subject = _ec_key(key_pem), name.encoded()
    public = key.public_key()
    builder = _builder(subject, subject, public, not_before, not_after)
    builder = _as_authority(builder, x509.SubjectKeyIdentifier.from_public_key(public), path_length)
    return builder.sign(key, _SHA256).public_bytes(_PEM)


def cross_sign(
    certificate_pem: bytes, authority_pem: bytes, authority_key_pem: bytes, not_before: datetime, not_after: datetime
) -> bytes:
    """Return an authority's name and key under another authority's signature, PEM; it may sign leaves only.

    Raises `Refused` if one of the two is no usable authority.  Source: RFC 5280, section 3.2 (cross-certificates).
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        authority, key = x509.load_pem_x509_certificate(authority_pem), _ec_key(authority_key_pem)
        public = _p256(certificate.public_key())
        builder = _builder(certificate.subject, authority.subject, public, not_before, not_after)
        builder = _as_authority(builder, _key_id(certificate), 0)
        builder = builder.add_extension(_authority_id(authority), critical=False)
        return builder.sign(key, _SHA256).public_bytes(_PEM)
    except _BAD_X509:
        raise Refused from None


def issue_from_request(authority_pem: bytes, authority_key_pem: bytes, request_pem: bytes, leaf: Leaf) -> bytes:
    """Return a leaf certificate, PEM, for the key and extension of a request; the subject is ours alone.

    Raises `Refused` for a request that does not check.  Source: RFC 5280.
    """
    try:
        request = _request(request_pem)
        public = _p256(request.public_key())
        extension = None if leaf.extension_oid is None else _extension(request.extensions, leaf.extension_oid)
    except _BAD_X509:
        raise Refused from None
    authority, key = x509.load_pem_x509_certificate(authority_pem), _ec_key(authority_key_pem)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in leaf.dns_names]
    names += [x509.IPAddress(ip_address(address)) for address in leaf.addresses]
    builder = _builder(leaf.subject.encoded(), authority.subject, public, leaf.not_before, leaf.not_after)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(_authority_id(authority), critical=False)
    if extension is not None:
        oid = x509.ObjectIdentifier(leaf.extension_oid or "")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, extension), critical=False)
    return builder.sign(key, _SHA256).public_bytes(_PEM)


def revocation_list(
    authority_pem: bytes,
    authority_key_pem: bytes,
    serials: tuple[int, ...],
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """Return a list of revoked certificates, PEM.  Source: RFC 5280, section 5."""
    authority, key = x509.load_pem_x509_certificate(authority_pem), _ec_key(authority_key_pem)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.subject)
    builder = builder.last_update(this_update).next_update(next_update)
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(this_update)
        builder = builder.add_revoked_certificate(revoked.build())
    builder = builder.add_extension(_authority_id(authority), critical=False)
    number = x509.CRLNumber(int(this_update.timestamp()))
    return builder.add_extension(number, critical=False).sign(key, _SHA256).public_bytes(_PEM)


def split(bundle_pem: bytes) -> tuple[bytes, ...]:
    """Return the certificates of a chain or bundle, each as PEM in one spelling.  Raises `Refused` if there is none."""
    try:
        return tuple(one.public_bytes(_PEM) for one in x509.load_pem_x509_certificates(bundle_pem))
    except _BAD_X509:
        raise Refused from None


def to_pem(certificate_der: bytes) -> bytes:
    """Return a certificate that arrived as DER, as PEM.  Raises `Refused`."""
    try:
        return x509.load_der_x509_certificate(certificate_der).public_bytes(_PEM)
    except _BAD_X509:
        raise Refused from None


def read_certificate(certificate_pem: bytes, extension_oid: str) -> CertificateFacts:
    """Return what one certificate says.  Raises `Refused` if it is malformed."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        extensions = certificate.extensions
        try:
            constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            raise Refused from None
        return CertificateFacts(
            subject=Name(
                organization=_one(certificate.subject, NameOID.ORGANIZATION_NAME),
                unit=_one(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME),
                common_name=_one(certificate.subject, NameOID.COMMON_NAME),
            ),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            serial=certificate.serial_number,
            subject_der=certificate.subject.public_bytes(),
            issuer_der=certificate.issuer.public_bytes(),
            public_key_der=_spki(_p256(certificate.public_key())),
            is_authority=constraints.ca,
            path_length=constraints.path_length,
            signs_certificates=_signs_certificates(extensions),
            node_key=None if constraints.ca else _found(extensions, extension_oid),
        )
    except _BAD_X509:
        raise Refused from None


def check_issued_by(certificate_pem: bytes, authority_pem: bytes) -> None:
    """Check that a CA of that name made the certificate's signature; no dates.  Raises `Refused`."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        authority = x509.load_pem_x509_certificate(authority_pem)
        certificate.verify_directly_issued_by(authority)
        if not authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise Refused
    except (InvalidSignature, TypeError, x509.ExtensionNotFound, *_BAD_X509):
        raise Refused from None


def check_self_signed(authority_pem: bytes) -> None:
    """Check that a CA's certificate is signed by its own key, and says so.  Raises `Refused`.

    OpenSSL takes no root whose authority key identifier names another key than its subject key identifier.
    """
    check_issued_by(authority_pem, authority_pem)
    authority = x509.load_pem_x509_certificate(authority_pem)
    try:
        named = authority.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return
    if named is not None and named != _key_id(authority).digest:
        raise Refused


_BAD_X509 = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def _ec_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _p256(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused
    return key


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _request(request_pem: bytes) -> x509.CertificateSigningRequest:
    request = x509.load_pem_x509_csr(request_pem)
    _p256(request.public_key())
    if not request.is_signature_valid:
        raise Refused
    return request


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(not_before).not_valid_after(not_after)


def _as_authority(
    builder: x509.CertificateBuilder, key_id: x509.SubjectKeyIdentifier, path_length: int
) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return builder.add_extension(key_id, critical=False)


def _key_id(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """Return how an authority names its key: as its certificate says, where it does."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(_p256(certificate.public_key()))


def _authority_id(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_key_id(authority))


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _signs_certificates(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True  # Without the extension a key may do everything.  Source: RFC 5280, section 4.2.1.3.


def _extension(extensions: x509.Extensions, oid: str) -> bytes:
    found = _found(extensions, oid)
    if found is None:
        raise Refused
    return found


def _found(extensions: x509.Extensions, oid: str) -> bytes | None:
    try:
        found = extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except x509.ExtensionNotFound:
        return None
    assert isinstance(found, x509.UnrecognizedExtension)
    return found.value


def _one(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    values = [str(part.value) for part in name.get_attributes_for_oid(oid)]
    if len(values) > 1:
        raise Refused
    return values[0] if values else None

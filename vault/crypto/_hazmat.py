"""The primitives, as functions from bytes to bytes: the only module that imports `cryptography` and `nacl`.

Nothing here decides on formats, labels or lengths of messages; the callers in this package do.  Each function that
checks raises `Refused`, which callers turn into a named error of their own.
"""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from nacl.exceptions import CryptoError as NaclError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

AES_TAG_BYTES = 16
HPKE_OVERHEAD_BYTES = 32 + AES_TAG_BYTES
BOX_NONCE_BYTES = SecretBox.NONCE_SIZE
BOX_OVERHEAD_BYTES = BOX_NONCE_BYTES + SecretBox.MACBYTES

_SHA256 = hashes.SHA256()
_ZERO_NONCE = bytes(12)
_HPKE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Refused(Exception):
    """A primitive did not accept its input; says nothing more on purpose."""


class MacKey:
    """HMAC-SHA256 under one key of 32 bytes, keyed once and copied for each message.  Source: RFC 2104."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = HMAC(key, _SHA256)

    def mac(self, message: bytes) -> bytes:
        """Return the 32 bytes."""
        state = self._keyed.copy()
        state.update(message)
        return state.finalize()

    def expand(self, info: bytes, length: int) -> bytes:
        """HKDF-Expand with SHA-256; length: 1 to 8160 bytes.  Source: RFC 5869, section 2.3."""
        block = expanded = self.mac(info + b"\x01")
        for number in range(2, -(-length // len(block)) + 1):
            block = self.mac(block + info + bytes((number,)))
            expanded += block
        return expanded[:length]


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256 under a key that is used once.  key: 32 uniform bytes."""
    return MacKey(key).expand(info, length)


def aes_gcm_seal(one_time_key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """AES-256-GCM with nonce 0; returns ciphertext and tag (16).  The key must never seal twice.

    Source: NIST SP 800-38D.
    """
    return AESGCM(one_time_key).encrypt(_ZERO_NONCE, plaintext, associated)


def aes_gcm_open(one_time_key: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """Undo `aes_gcm_seal`.  Raises `Refused`."""
    try:
        return AESGCM(one_time_key).decrypt(_ZERO_NONCE, ciphertext, associated)
    except (InvalidTag, ValueError):
        raise Refused from None


def box_seal(key: bytes, plaintext: bytes) -> bytes:
    """XSalsa20-Poly1305 under a fresh random nonce; returns nonce (24), tag (16) and ciphertext.

    Source: NaCl, `crypto_secretbox`.
    """
    return bytes(SecretBox(key).encrypt(plaintext))


def box_open(key: bytes, sealed: bytes) -> bytes:
    """Undo `box_seal`.  Raises `Refused`."""
    try:
        return SecretBox(key).decrypt(sealed)
    except (NaclError, ValueError, TypeError):
        raise Refused from None


def argon2id_key(passphrase: bytes, salt: bytes, *, passes: int, memory_kib: int) -> bytes:
    """32 bytes by Argon2id, one lane.  salt: 16 bytes; passes >= 1; memory_kib >= 8.  Source: RFC 9106."""
    return argon2id.kdf(32, passphrase, salt, opslimit=passes, memlimit=memory_kib * 1024)


def x25519_generate() -> bytes:
    """Return a new private key, 32 bytes.  Source: RFC 7748."""
    return X25519PrivateKey.generate().private_bytes_raw()


def x25519_public(private_key: bytes) -> bytes:
    """Return the public half of a 32-byte private key."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def hpke_seal(public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
    """HPKE base mode, one shot, empty AAD; returns encapsulated key (32), ciphertext and tag (16).

    Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.  Source: RFC 9180, section 6.1.
    Raises `Refused` for a public key of small order.
    """
    try:
        return _HPKE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public_key), info)
    except ValueError:
        raise Refused from None


def hpke_open(private_key: bytes, sealed: bytes, info: bytes) -> bytes:
    """Undo `hpke_seal`.  Raises `Refused`."""
    try:
        return _HPKE.decrypt(sealed, X25519PrivateKey.from_private_bytes(private_key), info)
    except (InvalidTag, ValueError):
        raise Refused from None


def ec_generate() -> bytes:
    """Return a new ECDSA P-256 private key, PKCS#8 PEM.  Source: FIPS 186-5."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


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
    issuer_der: bytes
    public_key_der: bytes
    is_authority: bool
    node_key: bytes | None  # Content of our own extension.


def request_certificate(key_pem: bytes, extension_oid: str, extension: bytes) -> bytes:
    """Return a PKCS#10 request, PEM, signed by the key; asks for one extension and names no subject."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    asked = x509.UnrecognizedExtension(x509.ObjectIdentifier(extension_oid), extension)
    signed = builder.add_extension(asked, critical=False).sign(_ec_key(key_pem), _SHA256)
    return signed.public_bytes(serialization.Encoding.PEM)


def read_request(request_pem: bytes, extension_oid: str) -> bytes:
    """Check a request's own signature and curve; return the extension it asks for.  Raises `Refused`."""
    try:
        request = x509.load_pem_x509_csr(request_pem)
        _p256(request.public_key())
        if not request.is_signature_valid:
            raise Refused
        return _extension(request.extensions, extension_oid)
    except _BAD_X509:
        raise Refused from None


def self_sign_authority(key_pem: bytes, name: Name, not_before: datetime, not_after: datetime) -> bytes:
    """Return a root CA certificate, PEM, that may sign leaves only.  Source: RFC 5280."""
    key, subject = _ec_key(key_pem), name.encoded()
    public = key.public_key()
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = _builder(subject, subject, public, not_before, not_after)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    return builder.sign(key, _SHA256).public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """What a leaf certificate is to say."""

    subject: Name
    dns_names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    extension_oid: str


def issue_from_request(authority_pem: bytes, authority_key_pem: bytes, request_pem: bytes, issue: Issue) -> bytes:
    """Return a leaf certificate, PEM, for the key and extension of a request; the subject is ours alone.

    Raises `Refused` for a request that does not check.  Source: RFC 5280.
    """
    node_key = read_request(request_pem, issue.extension_oid)
    authority, key = x509.load_pem_x509_certificate(authority_pem), _ec_key(authority_key_pem)
    public = _p256(x509.load_pem_x509_csr(request_pem).public_key())
    oid = x509.ObjectIdentifier(issue.extension_oid)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in issue.dns_names])
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = _builder(issue.subject.encoded(), authority.subject, public, issue.not_before, issue.not_after)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(authority_id, critical=False)
    builder = builder.add_extension(x509.UnrecognizedExtension(oid, node_key), critical=False)
    return builder.sign(key, _SHA256).public_bytes(serialization.Encoding.PEM)


def read_certificate(certificate_pem: bytes, extension_oid: str) -> CertificateFacts:
    """Return what one certificate says.  Raises `Refused` if it is malformed."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        public = _p256(certificate.public_key())
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
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
            issuer_der=certificate.issuer.public_bytes(),
            public_key_der=public.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
            is_authority=constraints.ca,
            node_key=None if constraints.ca else _extension(certificate.extensions, extension_oid),
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


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(not_before).not_valid_after(not_after)


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


def _extension(extensions: x509.Extensions, oid: str) -> bytes:
    try:
        found = extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except x509.ExtensionNotFound:
        raise Refused from None
    assert isinstance(found, x509.UnrecognizedExtension)
    return found.value


def _one(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    values = [str(part.value) for part in name.get_attributes_for_oid(oid)]
    if len(values) > 1:
        raise Refused
    return values[0] if values else None

"""Root CAs that follow one another: cross-signing, and roots that an operator brings.

Pure but for chance (serial numbers).  Called by `vault.store.trust` when a root is rotated.
"""

from datetime import datetime, timedelta
from typing import Final

from vault.crypto._hazmat import Refused, pki
from vault.crypto.certificates import BACKDATED, Authority, split
from vault.crypto.errors import InvalidCertificate, UnusableAuthority
from vault.crypto.plaintext import Plaintext

MIN_AUTHORITY_LIFE: Final = timedelta(days=365)  # Source: SwarmKit, `minRootExpiration`.


def cross_sign(successor_pem: bytes, old: Authority, *, now: datetime) -> bytes:
    """Return the successor's name and key as an authority below the old root, PEM.

    A chain of a leaf under the successor and this certificate is good for nodes that trust the old root only.  It ends
    with the old root or with the successor, whichever is first.
    Raises `UnusableAuthority` if the old root allows no authority below it and the two have different names (under one
    name the successor counts as the same authority: RFC 5280, section 6.1, self-issued certificates).
    """
    try:
        above = pki.read_certificate(old.certificate_pem, "2.25.0")
        below = pki.read_certificate(successor_pem, "2.25.0")
        if above.path_length == 0 and above.subject_der != below.subject_der:
            raise UnusableAuthority("the present CA certificate allows no CA below it: rotate without one first")
        start, end = now.replace(microsecond=0) - BACKDATED, min(above.not_after, below.not_after)
        return pki.cross_sign(successor_pem, old.certificate_pem, old.key_pem.reveal(), start, end)
    except Refused:
        raise UnusableAuthority("could not parse the desired CA certificate") from None


def given_authority(certificate_pem: bytes, key_pem: Plaintext, *, now: datetime) -> Authority:
    """Return the root CA that an operator gave, in one spelling of PEM.

    Raises `UnusableAuthority` unless it is one self-signed CA, ECDSA P-256, that may sign certificates and one CA below
    it, lives another year, and has this key.  Source of the texts: SwarmKit, `validateCAConfig`.
    """
    try:
        found = split(certificate_pem)
        facts = pki.read_certificate(found[0], "2.25.0")
    except (Refused, InvalidCertificate):
        raise UnusableAuthority(
            "could not parse the desired CA certificate: give one PEM certificate with an ECDSA P-256 key"
        ) from None
    if len(found) > 1:
        raise UnusableAuthority("the desired CA certificate cannot contain multiple certificates")
    try:
        pki.check_self_signed(found[0])
    except Refused:
        raise UnusableAuthority("the desired CA certificate must be a self-signed CA") from None
    if not facts.signs_certificates or facts.path_length == 0:
        raise UnusableAuthority("the desired CA certificate must allow signing certificates and one CA below it")
    if facts.not_after < now + MIN_AUTHORITY_LIFE:
        raise UnusableAuthority("CA certificate expires too soon")
    if facts.not_before > now:
        raise UnusableAuthority("the desired CA certificate is not valid yet")
    try:
        key = pki.ec_read(key_pem.reveal())
        matches = pki.ec_public(key) == facts.public_key_der
    except Refused:
        raise UnusableAuthority("the signing CA key must be an unencrypted ECDSA P-256 key in PEM") from None
    if not matches:
        raise UnusableAuthority("the signing CA key does not belong to the desired CA certificate")
    return Authority(certificate_pem=found[0], key_pem=Plaintext(key))

"""Failed connections as sentences: which end was refused, and why.

Pure.  Used by the client; OpenSSL's own words are matched here and nowhere else.
"""

import socket
import ssl
from datetime import datetime
from typing import Final

from vault.crypto.certificates import Identity
from vault.rpc.errors import CannotReach, CertificatesExpired, PeerRefused

_ALERTS_ABOUT_US: Final = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "UNSUPPORTED_CERTIFICATE", "REVOKED")


def explained(address: str, error: OSError, *, own: Identity | None, now: datetime) -> CannotReach:
    """Return why a connection did not come about."""
    match error:
        case ssl.SSLCertVerificationError(verify_code=code):
            return _theirs(address, code)
        case ssl.SSLEOFError() | ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
            return _closed(address, own, now)
        case ssl.SSLError():
            return _alert(address, error.reason or "", own, now)
        case TimeoutError():
            return CannotReach(address, "it did not answer in time")
        case socket.gaierror():
            return CannotReach(address, "its name is not known")
    return CannotReach(address, (error.strerror or "no connection").lower())


def _closed(address: str, own: Identity | None, now: datetime) -> CannotReach:
    """Return why a connection was closed before hello: asyncio's servers do not send the alert that would tell."""
    if own is None:
        return CannotReach(address, "it closed the connection before it said hello")
    if own.not_after < now:
        return CertificatesExpired(address, ours=True)
    return CannotReach(
        address,
        "it closed the connection before it said hello: its log tells whether it refused this node's certificate",
    )


def _theirs(address: str, code: int) -> CannotReach:
    match code:  # `X509_V_ERR_*`.  Source: OpenSSL, x509_vfy.h.
        case 10:  # CERT_HAS_EXPIRED
            return CertificatesExpired(address, ours=False)
        case 9:  # CERT_NOT_YET_VALID
            return PeerRefused(address, "its certificate is not valid yet: set the clocks of both nodes")
        case 62:  # HOSTNAME_MISMATCH
            return PeerRefused(address, "it is no manager")
    return PeerRefused(address, "its certificate is not issued by this cluster's CA")


def _alert(address: str, reason: str, own: Identity | None, now: datetime) -> CannotReach:
    if "CERTIFICATE_EXPIRED" in reason or (own is not None and own.not_after < now):
        return CertificatesExpired(address, ours=True)
    if any(alert in reason for alert in _ALERTS_ABOUT_US):
        return PeerRefused(address, "it does not accept this node's certificate")
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return CannotReach(address, "it does not speak TLS")
    if "PROTOCOL_VERSION" in reason or reason == "UNSUPPORTED_PROTOCOL":
        return CannotReach(address, "it does not speak TLS 1.3")
    return CannotReach(address, f"TLS failed ({reason.lower().replace('_', ' ') or 'no reason given'})")

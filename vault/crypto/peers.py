"""Certificates of etcd's peers, under a CA of their own that only managers get certificates from.

Pure but for chance (keys, serial numbers).  They outlive node certificates by far (10 years), since they are needed
before the store can be read; a manager that leaves is shut out by a revocation list.
"""

from datetime import datetime, timedelta
from typing import Final

from vault.crypto._hazmat import Refused, pki
from vault.crypto.certificates import BACKDATED, MAX_PEM_BYTES, Authority, life_from, split
from vault.crypto.errors import InvalidCertificate
from vault.crypto.plaintext import Plaintext

PEER_AUTHORITY_LIFE: Final = timedelta(days=30 * 365)
PEER_LIFE: Final = timedelta(days=10 * 365)
_AUTHORITY_NAME: Final = "swarm-peer-ca"


def new_peer_authority(*, now: datetime) -> Authority:
    """Create the CA of etcd's peers: ECDSA P-256, CN swarm-peer-ca, 30 years, signs leaves only."""
    key_pem, name = pki.ec_generate(), pki.Name(common_name=_AUTHORITY_NAME)
    start, end = life_from(now, PEER_AUTHORITY_LIFE)
    certificate = pki.self_sign_authority(key_pem, name, start, end, path_length=0)
    return Authority(certificate_pem=certificate, key_pem=Plaintext(key_pem))


def request_peer(peer_key: Plaintext) -> bytes:
    """Return the request, PEM, that proves possession of a peer key (ECDSA P-256, as `new_tls_key` draws)."""
    return pki.request_certificate(peer_key.reveal())


def issue_peer(
    authority: Authority,
    request_pem: bytes,
    *,
    cluster_id: str,
    node_id: str,
    address: str,
    now: datetime,
    life: timedelta = PEER_LIFE,
) -> tuple[bytes, str]:
    """Issue a peer certificate, for both ends of a connection; return it as PEM, and its serial in hexadecimal.

    address: the IPv4 or IPv6 address that the manager's peers see, without a port: etcd compares it.
    Raises `InvalidCertificate` for a request that is too long or not signed by its own P-256 key, or an address that
    is none.
    """
    if len(request_pem) > MAX_PEM_BYTES:
        raise InvalidCertificate("it is too long")
    start, end = life_from(now, life)
    try:
        leaf = pki.Leaf(
            subject=pki.Name(organization=cluster_id, common_name=node_id),
            dns_names=(node_id,),
            addresses=(address,),
            not_before=start,
            not_after=end,
        )
        made = pki.issue_from_request(authority.certificate_pem, authority.key_pem.reveal(), request_pem, leaf)
    except (Refused, ValueError):  # ValueError: no address.
        raise InvalidCertificate("the request is malformed, not signed by its own key, or for no address") from None
    return made, serial_of(made)


def serial_of(certificate_pem: bytes) -> str:
    """Return a certificate's serial number in hexadecimal, lower case.  Raises `InvalidCertificate`."""
    try:
        return format(pki.read_certificate(split(certificate_pem)[0], "2.25.0").serial, "x")
    except Refused:
        raise InvalidCertificate("it is malformed") from None


def revocation_list(authority: Authority, serials: tuple[str, ...], *, now: datetime) -> bytes:
    """Return the list, PEM, that shuts the peers with these serials out; good as long as a peer certificate is.

    The list is made anew whenever a manager leaves; nothing is gained by its ending earlier.
    """
    numbers = tuple(int(serial, 16) for serial in sorted(set(serials)))
    start = now.replace(microsecond=0) - BACKDATED
    return pki.revocation_list(authority.certificate_pem, authority.key_pem.reveal(), numbers, start, start + PEER_LIFE)

"""Who this node is on a connection, and whom it trusts: certificates and key as TLS contexts.

Keys reach OpenSSL by memfd, never by a file on disk.  Renewal is `replace`: connections made from then on use the new
certificate and roots, those that are open stay as they are.
"""

import os
import ssl
from dataclasses import dataclass
from typing import Any, Protocol

from vault.crypto.certificates import Identity, Role, identity_after_tls, identity_of, split
from vault.crypto.errors import InvalidCertificate
from vault.crypto.plaintext import Plaintext


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    own: Identity | None
    server: ssl.SSLContext | None
    client: ssl.SSLContext


class Credentials:
    """What `Server` and `Client` present and trust; both take new contexts from it for each new connection."""

    def __init__(self, *, trust: bytes, certificate: bytes = b"", key: Plaintext | None = None) -> None:
        self.generation = 0  # Goes up with each replacement.
        self._held = _made(trust, certificate, key)

    def replace(self, *, trust: bytes, certificate: bytes = b"", key: Plaintext | None = None) -> None:
        """Use other roots, certificate and key from now on; when they do not fit each other, nothing changes.

        trust: a bundle of roots.  certificate: a chain, empty for a node that has none yet.  All PEM.
        Raises `InvalidCertificate`.
        """
        self._held = _made(trust, certificate, key)
        self.generation += 1

    @property
    def own(self) -> Identity | None:
        """Who this node is; None for one that has no certificate yet."""
        return self._held.own

    def server_context(self) -> ssl.SSLContext:
        """Return the context for connections that are accepted; a client may come without a certificate."""
        assert self._held.server is not None, "a server has a certificate"
        return self._held.server

    def client_context(self) -> ssl.SSLContext:
        """Return the context for connections that are made; the other end must present a manager's certificate."""
        return self._held.client

    def peer_of(self, ssl_object: Any) -> Identity | None:
        """Return who the other end of a connection is; None when it presented no certificate.

        Raises `InvalidCertificate`, also for a node of another cluster.
        """
        certificate: bytes | None = ssl_object.getpeercert(binary_form=True)
        if certificate is None:
            return None
        peer = identity_after_tls(certificate)
        if self.own is not None and peer.cluster_id != self.own.cluster_id:
            raise InvalidCertificate("it is of another cluster")
        return peer

    def manager_of(self, ssl_object: Any) -> Identity | None:
        """Return who the other end of a connection is, who must be a manager.  Raises `InvalidCertificate`."""
        peer = self.peer_of(ssl_object)
        if peer is None or peer.role is not Role.MANAGER:
            raise InvalidCertificate("it is no manager's")
        return peer


class ClientCredentials(Protocol):
    """What a client needs to know of itself and its trust."""

    @property
    def generation(self) -> int:
        """Goes up when connections should be made anew."""

    @property
    def own(self) -> Identity | None:
        """Who this node is."""

    def client_context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""

    def manager_of(self, ssl_object: Any) -> Identity | None:
        """Return who answered.  Raises `InvalidCertificate`."""


class FirstContact:
    """Credentials of a node that knows no root yet: it trusts anybody, so what it learns must be pinned by a token."""

    generation = 0
    own = None

    def client_context(self) -> ssl.SSLContext:
        """Return a context that checks nothing."""
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def manager_of(self, ssl_object: Any) -> Identity | None:
        """Return None: it is not known who answered."""
        return None


def _made(trust: bytes, certificate: bytes, key: Plaintext | None) -> _Held:
    roots, chain = b"".join(split(trust)), b"".join(split(certificate)) if certificate else b""
    own = identity_of(chain, authority_pem=roots) if chain else None
    server, client = _context(ssl.PROTOCOL_TLS_SERVER), _context(ssl.PROTOCOL_TLS_CLIENT)
    try:
        for context in (server, client):
            context.load_verify_locations(cadata=roots.decode("ascii"))
            if chain:
                if key is None:
                    raise InvalidCertificate("its key is missing")
                _load(context, chain, key)
    except ssl.SSLError:
        raise InvalidCertificate("it is for another key than this node's") from None
    return _Held(own=own, server=server if chain else None, client=client)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0  # A resumed session would outlive a certificate and the roots it was checked against.
    return context


def _load(context: ssl.SSLContext, chain_pem: bytes, key: Plaintext) -> None:
    """Load chain and key; OpenSSL reads by path, so they stand in a file that has no name and is gone at once."""
    fd = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(chain_pem + key.reveal())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)

"""The API over the network, for those who hold a client certificate: TLS 1.3, both sides named by certificates.

Not pure.  Called by `vault.daemon.compose`, which runs this server beside the one of the unix socket.
"""

import socket
import ssl
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vault.daemon import server
from vault.daemon.remote import BadRemote, Remote
from vault.rpc.tls_files import UnfitFile, context_of

BACKLOG: Final = 128


def listen(remote: Remote) -> socket.socket:
    """Return the listening socket.  Raises `BadRemote` for an address that is taken or not this node's."""
    try:
        family, *_, where = socket.getaddrinfo(
            remote.address or None, remote.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(where[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadRemote(f"cannot serve tcp://{remote.address}:{remote.port}: {reason}") from None
    listener.setblocking(False)
    return listener


def tls_context(remote: Remote) -> ssl.SSLContext:
    """Return what the server's side of TLS is: version 1.3, and no client without a certificate of the CA.

    Raises `BadRemote` naming the file that cannot be used.
    """
    for path in (remote.ca, remote.certificate, remote.key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise BadRemote(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    try:
        return context_of(ssl.PROTOCOL_TLS_SERVER, ca=remote.ca, certificate=remote.certificate, key=remote.key)
    except UnfitFile as error:
        raise BadRemote(str(error)) from None


def remote_server(app: Any, remote: Remote) -> uvicorn.Server:
    """Return the server for `app`; run it with `serve(sockets=[listen(remote)])`, end it with `should_exit = True`."""
    made = server.server(app)
    config = made.config
    config.http = _NamedClients
    config.load()
    config.ssl = tls_context(remote)
    return made


class _NamedClients(HttpToolsProtocol):
    """Notes in each request who the client's certificate says it is."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        certificate = self.transport.get_extra_info("peercert") or {}
        cast(dict[str, Any], self.scope)["caller"] = f"certificate {common_name(certificate)}"


def common_name(certificate: dict[str, Any]) -> str:
    """Return the name a certificate gives its subject, as far as it can be printed.  Pure."""
    subject = {key: value for names in certificate.get("subject", ()) for key, value in names}
    return "".join(one if one.isprintable() else "?" for one in str(subject.get("commonName", ""))[:64])

"""At etcd's door for peers, with what a manager's key file holds: as one would who has copied its disk."""

import socket
import ssl
import tempfile
from dataclasses import dataclass

from tests.membership.swarm import Member
from vault.daemon.identity import IdentityFiles

PEER_PORT = 2380
QUESTION = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A manager's certificate and key for etcd's peers, and the CA."""

    address: str
    authority: str
    chain: bytes  # Certificate and key.

    def knock(self, member: Member) -> bool:
        """Whether a member's etcd answers whoever has this."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self.authority)
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.chain)
            file.flush()
            context.load_cert_chain(file.name)
        try:
            with (
                socket.create_connection((member.address, PEER_PORT), 5, (self.address, 0)) as plain,
                context.wrap_socket(plain) as peer,
            ):
                peer.sendall(QUESTION)
                return peer.recv(100).startswith(b"HTTP/1.1 200")
        except (ssl.SSLError, ConnectionError):  # With TLS 1.3 a refusal comes when something is read.
            return False


def copied(member: Member) -> Copied:
    """Return what its disk gives to whoever copies it while autolock is off."""
    identity = IdentityFiles(member.data).read()
    assert identity.peer is not None
    assert identity.keys.peer_key is not None
    return Copied(
        address=member.address,
        authority=identity.peer.authority,
        chain=identity.peer.certificate.encode() + identity.keys.peer_key.reveal(),
    )

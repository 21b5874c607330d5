"""A cluster's certificates, a server on loopback, and clients of every kind."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.rpc.world import CLUSTER, Ask, Tell
from vault.crypto.certificates import (
    NODE_LIFE,
    Authority,
    Identity,
    Role,
    issue,
    new_authority,
    new_tls_key,
    request_certificate,
)
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.rpc.call import Authorize, Call, Handler
from vault.rpc.client import Client
from vault.rpc.credentials import Credentials
from vault.rpc.errors import NotAdmitted
from vault.rpc.limits import Limits
from vault.rpc.server import Server

HOST = "127.13.0.1"
NODE_KEY = NodeKey.generate().public()
MANAGER, WORKER = "m" * 25, "w" * 25
QUICK = Limits(connect_s=5, handshake_s=1, hello_s=1, ping_s=0.05, silent_s=0.3, close_s=1)


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Whose certificates are whose."""

    authority: Authority = field(default_factory=lambda: new_authority(now=now()))
    cluster_id: str = CLUSTER

    def credentials(
        self,
        role: Role = Role.WORKER,
        node_id: str = WORKER,
        *,
        at: datetime | None = None,
        life: timedelta = NODE_LIFE,
        trust: bytes | None = None,
    ) -> Credentials:
        """Return a node's credentials, issued at a moment for a time."""
        key = new_tls_key()
        certificate = self.issued(role, node_id, key, at=at or now(), life=life)
        return Credentials(trust=trust or self.authority.certificate_pem, certificate=certificate, key=key)

    def issued(
        self, role: Role, node_id: str, key: Plaintext, *, at: datetime | None = None, life: timedelta = NODE_LIFE
    ) -> bytes:
        """Return a certificate for a key."""
        request = request_certificate(key, node_key=NODE_KEY)
        facts = {"cluster_id": self.cluster_id, "node_id": node_id, "role": role}
        certificate, _ = issue(self.authority, request, **facts, now=at or now(), life=life)
        return certificate

    def manager(self, node_id: str = MANAGER) -> Credentials:
        """Return a manager's credentials."""
        return self.credentials(Role.MANAGER, node_id)

    def joiner(self) -> Credentials:
        """Return what a node has before it joined: the root."""
        return Credentials(trust=self.authority.certificate_pem)


THE_CLUSTER = Cluster()
THE_MANAGER, THE_WORKER = THE_CLUSTER.manager(), THE_CLUSTER.credentials()


async def echo(call: Call) -> None:
    """Answer every question with itself, and the name of who asked."""
    while True:
        asked = await call.receive(Ask | Tell)
        who = call.peer.node_id if call.peer is not None else "a stranger"
        payload = asked.payload if isinstance(asked, Tell) else b""
        await call.send(Tell(text=f"{asked.text} from {who}", payload=payload))


async def refuse_as(call: Call, error: VaultError) -> None:
    raise error


def members_only(method: str, identity: Identity | None) -> None:
    """Let strangers call only what begins with ca."""
    if identity is None and not method.startswith("ca."):
        raise NotAdmitted(method)


ECHO: Mapping[str, Handler] = {"ca.echo": echo, "node.echo": echo}


@asynccontextmanager
async def serving(
    handlers: Mapping[str, Handler] = ECHO,
    credentials: Credentials = THE_MANAGER,
    authorize: Authorize = members_only,
    limits: Limits | None = None,
) -> AsyncIterator[tuple[Server, str]]:
    """Run a server; yield it and its address."""
    server = Server(handlers, credentials, authorize, limits=limits)
    await server.start(HOST, 0)
    try:
        yield server, f"{HOST}:{server.port}"
    finally:
        await server.close()


@asynccontextmanager
async def client_of(credentials: Credentials = THE_WORKER, limits: Limits | None = None) -> AsyncIterator[Client]:
    """Yield a client, and close it."""
    client = Client(credentials, limits=limits)
    try:
        yield client
    finally:
        await client.close()

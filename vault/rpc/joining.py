"""Joining a swarm: from a token and an address to a certificate, with nobody trusted whom the token does not name.

Not pure.  Called by the daemon, which writes what comes out; nothing is kept here, so a refusal changes nothing.
1. The root CA of a manager is fetched without trust, and compared with the token's digest.
2. The clocks are compared, since certificates could not work otherwise.
3. Over a connection that this root vouches for, fresh keys and the token's secret are sent to the manager that leads.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from vault.crypto.certificates import Identity, identity_of, key_for, new_tls_key, request_certificate
from vault.crypto.clock import check_clock
from vault.crypto.errors import InvalidCertificate
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Plaintext
from vault.crypto.tokens import JoinToken
from vault.model.errors import Unavailable, VaultError
from vault.rpc.asking import PAUSE_S, Asker, ask_for_certificate
from vault.rpc.errors import CannotReach, VersionMismatch
from vault.rpc.messages_ca import Addresses, IssueRequest, RootCA

JOIN_S: Final = 20.0  # Docker's.
PORT: Final = 2377


class NoManagerThere(Unavailable):
    """None of the addresses led to a manager."""

    def __init__(self, error: VaultError) -> None:
        super().__init__(
            f"{error.message}: give the address of a manager, as `vault swarm join-token worker` prints it there"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A node's identity, to be kept."""

    tls_key: Plaintext
    node_key: NodeKey
    identity: Identity
    certificate: bytes  # Chain, PEM.
    trust: bytes  # Bundle, PEM.
    managers: Addresses


async def join(
    *,
    token: str,
    addresses: Sequence[str],
    fetch_root: Callable[[str], Awaitable[RootCA]],
    client_for: Callable[[bytes], Asker],
    now: Callable[[], datetime],
    hostname: str,
    addr: str = "",
    availability: str = "",
    timeout_s: float = JOIN_S,
    pause_s: float = PAUSE_S,
) -> Joined:
    """Make this machine a node of the swarm that the token is of, in the token's role.

    addresses: managers, `host[:port]`.  fetch_root: `vault.rpc.first_contact`.  client_for: makes a client without a
    certificate that trusts a root (PEM); it is closed here.  addr: IP address to advertise; "" = the one seen.
    Raises `InvalidJoinToken` (malformed, wrong or rotated), `UnpinnedAuthority`, `ClockSkew`, `VersionMismatch`,
    `NoManagerThere`, or what the manager refuses with.
    """
    parsed = JoinToken.parse(token)
    managers = [with_port(address) for address in addresses]
    root = await _pinned(parsed, managers, fetch_root, now)
    tls_key, node_key = new_tls_key(), NodeKey.generate()
    wanted = IssueRequest(
        request=request_certificate(tls_key, node_key=node_key.public()),
        token=token,
        hostname=hostname,
        addr=addr,
        availability=availability,
    )
    client = client_for(root.certificate)
    try:
        issued = await ask_for_certificate(client, managers, wanted, timeout_s=timeout_s, pause_s=pause_s)
    finally:
        await client.close()
    identity = identity_of(issued.certificate, authority_pem=issued.trust, now=now())
    key_for(issued.certificate, (tls_key,))
    if (identity.cluster_id, identity.node_id) != (issued.cluster_id, issued.node_id):
        raise InvalidCertificate("it names another node than the manager does")
    return Joined(
        tls_key=tls_key,
        node_key=node_key,
        identity=identity,
        certificate=issued.certificate,
        trust=issued.trust,
        managers=issued.managers,
    )


def with_port(address: str) -> str:
    """Return `host:port` of an address that may leave the port out, or be an IPv6 address without brackets."""
    if address.count(":") > 1 and not address.startswith("["):
        return f"[{address}]:{PORT}"
    return address if ":" in address.rpartition("]")[2] else f"{address}:{PORT}"


async def _pinned(
    token: JoinToken,
    managers: Sequence[str],
    fetch_root: Callable[[str], Awaitable[RootCA]],
    now: Callable[[], datetime],
) -> RootCA:
    """Return the root CA that the token names, from the first manager that shows it."""
    refused: VaultError | None = None
    for address in managers:
        try:
            root = await fetch_root(address)
            token.check_authority(root.certificate)
            check_clock(now(), root.now, life=timedelta(seconds=root.node_life_s))
        except VaultError as error:
            # What a manager said tells more than that another one said nothing.
            if refused is None or isinstance(refused, CannotReach):
                refused = error
            continue
        return root
    assert refused is not None, "there is at least one address"
    if isinstance(refused, Unavailable) and not isinstance(refused, VersionMismatch):
        raise NoManagerThere(refused)
    raise refused

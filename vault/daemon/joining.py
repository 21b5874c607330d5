"""How this node is let into a swarm: a manager's certificate for it, and the identity that is made of it.

Not pure: asks managers over the network, draws the node's keys.  Called by `vault.daemon.membership`.
"""

from datetime import UTC, datetime

from vault.api.ports import JoinRequest
from vault.crypto.keyfile import NodeKeys
from vault.crypto.keys import UnlockKey
from vault.daemon.identity import Identity, Place
from vault.rpc.client import Client
from vault.rpc.credentials import Credentials
from vault.rpc.first_contact import fetch_root
from vault.rpc.joining import Joined, join


async def let_in(request: JoinRequest, place: Place, *, hostname: str, timeout_s: float) -> Identity:
    """Return what this node is once a manager has let it in; nothing is written.  Raises why none did."""
    joined = await join(
        token=request.join_token,
        addresses=request.remote_addrs,
        fetch_root=fetch_root,
        client_for=lambda trust: Client(Credentials(trust=trust)),
        now=lambda: datetime.now(UTC),
        hostname=hostname,
        addr=place.address,
        availability=request.availability,
        timeout_s=timeout_s,
    )
    return _identity_of(joined, place)


def _identity_of(joined: Joined, place: Place) -> Identity:
    return Identity(
        keys=NodeKeys(
            cluster_id=joined.identity.cluster_id,
            node_id=joined.identity.node_id,
            tls_key=joined.tls_key,
            node_key=joined.node_key,
        ),
        certificate=joined.certificate,
        roots=joined.trust,
        place=Place(address=place.address, listen=place.listen, managers=dict(joined.managers)),
        unlock=UnlockKey.generate(),
    )

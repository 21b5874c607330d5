"""First contact: what a node that knows only an address and a token asks, before it can trust anybody."""

from vault.rpc.client import Client
from vault.rpc.credentials import FirstContact
from vault.rpc.limits import Limits
from vault.rpc.messages_ca import ROOT, AskRoot, RootCA

FIRST_CONTACT_S = 10.0


async def fetch_root(address: str, *, timeout_s: float = FIRST_CONTACT_S, limits: Limits | None = None) -> RootCA:
    """Ask the manager at `host:port` for the cluster's root CA.

    Nothing of the answer can be believed before the root is compared with the digest in a join token.
    Raises `CannotReach`, `NoAnswer`, or what the manager refused with.
    """
    client = Client(FirstContact(), limits=limits)
    try:
        return await client.ask(address, ROOT, AskRoot(), RootCA, timeout_s)
    finally:
        await client.close()

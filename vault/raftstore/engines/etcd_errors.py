"""What etcd refuses for reasons that nobody expects here.  Pure."""

from vault.model.errors import Unavailable
from vault.raftstore.engines.etcd_api.exchange import Refused


def unexpected(error: Refused) -> Unavailable:
    """Return the error for an answer that we have no better word for."""
    return Unavailable(f"etcd refused what this manager asked for ({error.message}): see the log of vaultd")

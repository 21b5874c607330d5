"""Starting this manager's etcd member, from what the node's identity says.

Not pure.  Called by `vault.daemon.managing` and `entering`; the store calls what is returned with the directory.
"""

from collections.abc import Mapping
from pathlib import Path

from vault.daemon.holding import Holding
from vault.dispatcher.entering import PEER_PORT, peer_url
from vault.model.errors import Unavailable
from vault.raftstore.engine import Engine
from vault.raftstore.engines.etcd_process import start_etcd
from vault.raftstore.engines.etcd_settings import EtcdSettings
from vault.raftstore.opening import StartEtcd


def starter(
    holding: Holding, *, others: Mapping[str, str] | None = None, joining: bool = False, force_new: bool = False
) -> StartEtcd:
    """Return what starts the member whose data is in a directory.

    others: name -> peer URL of the members that were there before, for a member that has no data yet.
    joining: it takes part in what they have.  force_new: it forgets all members but itself.
    """

    async def start(directory: Path) -> Engine:
        identity = holding.identity
        peer, key = identity.peer, identity.keys.peer_key
        if peer is None or key is None:
            raise Unavailable("this manager has no certificate for the other managers' store: demote and promote it")
        return await start_etcd(
            EtcdSettings(
                name=holding.node_id,
                directory=directory,
                peer_address=f"{identity.address}:{PEER_PORT}",
                initial_cluster={**(others or {}), holding.node_id: peer_url(identity.address)},
                joining=joining,
                force_new=force_new,
                peer_ca_pem=peer.authority.encode(),
                peer_cert_pem=peer.certificate.encode(),
                peer_key=key,
                crl=holding.files.revoked if peer.revoked else None,
            )
        )

    return start

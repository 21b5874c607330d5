"""How a manager goes: what speaks against it, and by force how it gives up its role first, so that others keep quorum.

Not pure.  Best effort, within a limit: a manager that cannot reach the others goes all the same, and is demoted and
removed by hand there.  Called by `vault.daemon.membership`.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

import msgspec

from vault.api.ports import AnswerLost, Unreached
from vault.daemon.part import Part
from vault.model.errors import NoLeader, Unavailable, VaultError
from vault.rpc.messages_forward import ForwardedRequest
from vault.store import rules_cluster
from vault.store.changes import Change
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)
LIMIT_S: Final = 10.0
RETRY_S: Final = 0.2
API_VERSION: Final = (1, 50)


def check_leaving(part: Part) -> None:
    """Raise what speaks against a manager's leaving without force."""
    if part.managing is None or not part.managing.ready:
        raise Unavailable(
            "You are attempting to leave the swarm on a node that is participating as a manager, and that cannot tell "
            "how many others there are now. Use `--force` to suppress this message."
        )
    rules_cluster.check_leaving(part.managing.store().committed, part.holding.node_id)


async def give_up_role(part: Part) -> None:
    """Become a worker, if other managers can go on without this one; wait until the engine has let it go."""
    managing = part.managing
    if managing is None or not managing.ready or managing.store().engine_name != "etcd":
        return
    node_id = part.holding.node_id
    with suppress(TimeoutError, VaultError):
        async with asyncio.timeout(LIMIT_S):
            while part.is_manager and (managing := part.managing) is not None and managing.ready:
                snapshot = managing.store().committed
                node = snapshot.nodes.get(node_id)
                if node is None or (sum(one.is_manager for one in snapshot.nodes.values()) < 2 and node.is_manager):
                    return  # The last one: there is nobody to go on.
                if node.is_manager:
                    await _ask(part, snapshot)
                await asyncio.sleep(RETRY_S)
            return
    logger.warning("left_as_manager", extra={"node_id": node_id})


async def _ask(part: Part, snapshot: Snapshot) -> None:
    """Ask the leader, or be it, to make this node a worker.  Raises its refusal."""
    managing, node_id = part.manager(), part.holding.node_id
    node = snapshot.nodes[node_id]
    spec = msgspec.structs.replace(node.spec, role="worker")
    with suppress(NoLeader, Unreached, AnswerLost):
        way = managing.standing()
        if way is None:

            def build(snap: Snapshot) -> tuple[Change, ...]:
                return rules_cluster.updated_node(
                    snap, node_id, spec, version=snap.nodes[node_id].version.index, now_s=managing.store().now_s()
                )

            await managing.store().submit(build)
            return
        answer = await way.ask(
            ForwardedRequest(
                method="POST",
                path=f"/nodes/{node_id}/update",
                query=f"version={node.version.index}".encode(),
                headers=((b"content-type", b"application/json"),),
                body=msgspec.json.encode(spec),
                api_version=API_VERSION,
                caller=f"node {node_id}",
                node_id=node_id,
            )
        )
        if answer.status == 400:
            raise VaultError("the others would lose quorum")

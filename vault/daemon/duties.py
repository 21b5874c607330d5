"""What a manager does while it leads: decide, dispatch, and keep roles, trust and keys as the store says.

Not pure.  `Duties.run` is what the store runs for the time of a leadership; all of it can be taken up by the next
leader where it stopped.  Called by `vault.daemon.managing`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from vault.crypto.ids import new_id
from vault.daemon.leader import control
from vault.dispatcher import roles, rotation
from vault.dispatcher.authority import announcement
from vault.dispatcher.encryption import Encryption
from vault.dispatcher.service import Dispatcher
from vault.model.errors import Unavailable
from vault.model.ids import Kind
from vault.model.node import Node
from vault.orchestrator.control import new_control
from vault.plugins.secret_provider import SecretPlugins
from vault.raftstore.store import Store
from vault.raftstore.upkeep import keep_young
from vault.rpc.messages_ca import TrustIs
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)
MEMBERS_S: Final = 5.0  # Between looks at the engine's members, when no node has changed.
COMING_S: Final = 0.3  # While one is on its way.
RETRY_S: Final = 0.3


class Duties:
    """One leadership of this manager."""

    def __init__(self, store: Store, node_id: str, *, leader: Callable[[], tuple[str, str]]) -> None:
        self.dispatcher = Dispatcher(
            store,
            monotonic=time.monotonic,
            now=store.now_s,
            confirm=store.barrier,
            drivers=SecretPlugins(),
            leader=leader,
            greet=lambda node: _told(store.committed, node),
        )
        self._store = store
        self._node_id = node_id
        self._look = asyncio.Event()

    def look_at_members(self) -> None:
        """Look at the engine's members now: there is another one."""
        self._look.set()

    async def run(self) -> None:
        """Do everything until cancelled."""
        store = self._store
        async with asyncio.TaskGroup() as group:
            group.create_task(self.dispatcher.run())
            group.create_task(control(store, new_control(), now=store.now_s, new_id=new_id))
            for decide in (rotation.decide, Encryption()):
                group.create_task(control(store, decide, now=store.now_s, new_id=new_id, brief=True))
            group.create_task(self._keep_roles())
            group.create_task(self._announce())
            group.create_task(keep_young(store))

    async def _announce(self) -> None:
        """Tell connected nodes whom to trust and what they are to be, whenever that changes."""
        told: dict[str, TrustIs | None] = {}
        before: Snapshot | None = None
        async for snap in self._store.snapshots():
            if before is None or _concerns_members(before, snap):
                connected = self.dispatcher.connected
                told = {node_id: said for node_id, said in told.items() if node_id in connected}
                for node_id in connected:
                    said = announcement(snap, node_id)
                    if said is not None and told.get(node_id) != said:
                        self.dispatcher.announce(said, (node_id,))
                    told[node_id] = said
            before = snap

    async def _keep_roles(self) -> None:
        """Bring the engine's members to what the nodes' roles say, one step at a time."""
        since: dict[int, float] = {}
        while True:
            snap = self._store.committed
            acted = False
            try:
                members = await self._store.members()
                snap = self._store.committed
                decision = roles.decide(
                    snap, members, self_id=self._node_id, awaited_since=since, now_s=self._store.now_s()
                )
                since = dict(decision.awaited_since)
                if decision.changes:
                    await self._store.propose(decision.changes)
                acted = await self._do(decision.action)
            except Unavailable as error:
                if not self._store.leads:
                    raise
                logger.info("roles_not_kept_yet", extra={"reason": error.message})
                await asyncio.sleep(RETRY_S)
                continue
            if not acted:
                coming = any(member.learner or not member.name for member in members)
                mark = snap.mark()
                del snap
                await self._until_members_change(mark, COMING_S if coming else MEMBERS_S)

    async def _do(self, action: roles.Action | None) -> bool:
        """Carry out a step; return whether there was one."""
        match action:
            case None:
                return False
            case roles.PromoteMember(member_id=member_id, node_id=node_id):
                await self._store.promote_member(member_id)
                logger.info("member_votes", extra={"node_id": node_id})
            case roles.RemoveMember(member_id=member_id, node_id=node_id):
                await self._store.remove_member(member_id)
                logger.info("member_removed", extra={"node_id": node_id})
            case roles.DropNeverStarted(member_id=member_id, peer_url=peer_url):
                await self._store.remove_member(member_id)
                logger.info("member_never_started", extra={"peer_url": peer_url})
            case roles.Cede():
                logger.info("ceding")
                asyncio.get_running_loop().create_task(self._store.cede())
                await asyncio.Event().wait()  # This leadership ends.
        return True

    async def _until_members_change(self, before: Snapshot, limit_s: float) -> None:
        """Return when a node or member has changed, or after a while."""
        changed = asyncio.create_task(self._until_nodes_change(before))
        looked = asyncio.create_task(self._look.wait())
        try:
            await asyncio.wait({changed, looked}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if changed.done():
                changed.result()
        finally:
            changed.cancel()
            looked.cancel()
        self._look.clear()

    async def _until_nodes_change(self, before: Snapshot) -> None:
        async for snap in self._store.snapshots():
            if _concerns_members(before, snap):
                return
            before = snap.mark()


def _told(snap: Snapshot, node: Node) -> tuple[TrustIs, ...]:
    """Return what a node is told when its session begins."""
    said = announcement(snap, node.id)
    return () if said is None else (said,)


def _concerns_members(before: Snapshot, after: Snapshot) -> bool:
    kinds = after.kinds_changed_since(before)
    return kinds is None or not kinds.isdisjoint((Kind.NODE, Kind.CLUSTER))

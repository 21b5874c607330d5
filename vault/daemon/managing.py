"""This node as a manager: its store, its control plane, and its duties while it leads.

Not pure.  One for as long as the node is a manager; made by `vault.daemon.part`.  While the store cannot be opened,
since too few managers answer, there is none to ask (`ManagerNotReady`), and opening goes on.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from vault.api.events import Recent
from vault.api.gateway import Gateway
from vault.api.ports import Quorum
from vault.crypto.certificates import Identity as PeerIdentity
from vault.crypto.ids import new_id
from vault.crypto.keys import UnlockKey
from vault.daemon.addresses import host_and_port
from vault.daemon.duties import Duties
from vault.daemon.engines import starter
from vault.daemon.entering import Entrance, others_of
from vault.daemon.forwarding import FORWARD, STREAM, Forwarded, Forwarding
from vault.daemon.holding import Holding
from vault.daemon.identity import Identity, root_key
from vault.dispatcher.authority_service import AuthorityService
from vault.dispatcher.authorize import MANAGERS, authorize
from vault.dispatcher.entering import peer_revocations
from vault.model.cluster import Cluster
from vault.model.errors import ManagerNotReady, NoLeader
from vault.raftstore.engine import cause_of
from vault.raftstore.store import Store
from vault.rpc.call import Call, Handler
from vault.rpc.client import Client
from vault.rpc.errors import NotLeader
from vault.rpc.messages import LOGS, SESSION
from vault.rpc.messages_manager import ENTER, Entered
from vault.rpc.server import Server
from vault.store.rules_cluster import to_be_reached
from vault.store.rules_swarm import wrapping
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)
HEARING_S: Final = 3.0


class Managing:
    """A manager that is being prepared, and then runs."""

    def __init__(self, holding: Holding, client: Client, gateway: Callable[[], Gateway]) -> None:
        self._holding = holding
        self._client = client
        self._gateway = gateway
        self._store: Store | None = None
        self._server: Server | None = None
        self._duties: Duties | None = None
        self._authority: AuthorityService | None = None
        self._forwarding: tuple[tuple[int, int], str, Forwarding] | None = None
        self._ready_at = 0.0
        self.recent_events = Recent()

    # Coming and going.

    async def open(self, *, new_generation: bool = False) -> None:
        """Open the store that is on disk; waits until enough managers answer.  Raises what is wrong with it."""
        identity, files = self._holding.identity, self._holding.files
        await self._serve(
            await Store.open(
                files.store,
                root=root_key(identity),
                cluster_id=self._holding.cluster_id,
                now=time.time,
                node_id=self._holding.node_id,
                start_etcd=starter(self._holding, force_new=new_generation),
                new_generation=new_generation,
            )
        )

    async def enter(self, entered: Entered) -> None:
        """Make the store of a manager that was let in."""
        await self._serve(
            await Store.enter(
                self._holding.files.store,
                root=root_key(self._holding.identity),
                cluster_id=self._holding.cluster_id,
                now=time.time,
                node_id=self._holding.node_id,
                engine_directory=entered.engine_dir,
                start_etcd=starter(self._holding, others=others_of(entered, self._holding.node_id), joining=True),
            )
        )

    async def take(self, store: Store) -> None:
        """Serve with a store that is open already."""
        await self._serve(store)

    async def run(self) -> None:
        """Follow and lead until cancelled; raises what must end this manager."""
        store = self.store()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(store.run(self._lead))
                group.create_task(self._mind())
        except BaseExceptionGroup as errors:
            raise cause_of(errors) from None

    async def close(self) -> None:
        """Give the lead away, stop serving, and close the store."""
        store, self._store = self._store, None
        if store is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await store.cede()
        if self._server is not None:
            await self._server.close()
        if store is not None:
            await store.close()

    async def _serve(self, store: Store) -> None:
        """Listen for nodes and managers."""
        self._authority = AuthorityService(store, now=lambda: datetime.now(UTC), new_id=new_id, leader=self.leader)
        entrance = Entrance(store, self._holding, leader=self.leader, added=self._member_added)
        forwarded = Forwarded(self._gateway)
        handlers: Mapping[str, Handler] = {
            **self._authority.handlers(),
            SESSION: self._session,
            LOGS: self._logs,
            FORWARD: forwarded.answer,
            STREAM: forwarded.serve,
            ENTER: entrance.serve,
        }

        def check(method: str, peer: PeerIdentity | None) -> None:
            authorize(store.committed, method, peer)

        server = Server(handlers, self._holding.credentials, check)
        try:
            await server.start(*host_and_port(self._holding.identity.place.listen))
        except BaseException:  # Cancelled too: `close` knows nothing of this store yet.
            await store.close()
            raise
        self._store, self._server = store, server
        self._ready_at = asyncio.get_running_loop().time()

    # What others ask of it.

    @property
    def ready(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    @property
    def leads(self) -> bool:
        """Whether this manager leads, as far as it knows."""
        return self._store is not None and self._store.leads

    @property
    def works(self) -> bool:
        """Whether it follows a leader, or leads; one that has just begun is given time to hear of a leader."""
        if self._store is None:
            return False
        return bool(self._store.leader) or asyncio.get_running_loop().time() - self._ready_at < HEARING_S

    def store(self) -> Store:
        """Return the store; raises `ManagerNotReady`."""
        if self._store is None:
            raise ManagerNotReady
        return self._store

    def authority(self) -> AuthorityService:
        """Return who issues certificates here; raises `ManagerNotReady`."""
        if self._authority is None or self._store is None:
            raise ManagerNotReady
        return self._authority

    def leader(self) -> tuple[str, str]:
        """Return node id and host:port of who leads, as far as this manager knows; empty when nobody is known."""
        store = self._store
        node_id = store.leader if store is not None else ""
        if store is None or not node_id:
            return "", ""
        return node_id, address_of(store.committed, node_id)

    def standing(self) -> Forwarding | None:
        """Return None while this manager leads, else the way to the leader.  Raises `NoLeader`, `ManagerNotReady`."""
        store = self.store()
        if store.leads:
            return None
        node_id, address = self.leader()
        if not address or node_id == self._holding.node_id:
            raise NoLeader
        epoch = store.epoch
        if self._forwarding is None or self._forwarding[:2] != (epoch, node_id):
            self._forwarding = (epoch, node_id, Forwarding(self._client, address))
        return self._forwarding[2]

    def quorum(self) -> Quorum:
        """Return which managers are to be reached: those whose sessions live, and this one.

        One that is being prepared does not count yet, as in `vault.dispatcher.roles`.
        """
        store = self.store()
        reachable = {
            node.id for node in store.committed.nodes.values() if to_be_reached(node) and node.status.state == "ready"
        }
        duties = self._duties
        if duties is not None:
            reachable = {node_id for node_id in reachable if duties.dispatcher.manager_ok(node_id) is not False}
        return Quorum(leader=store.leader, reachable=frozenset(reachable | {self._holding.node_id}))

    @property
    def duties(self) -> Duties | None:
        """What runs while this manager leads."""
        return self._duties

    async def session(self, call: Call) -> None:
        """Serve a node's session, or say who does."""
        await self._session(call)

    async def logs(self, call: Call) -> None:
        """Take in the log of a task."""
        await self._logs(call)

    async def standing_changed(self) -> None:
        """Return when something was committed, or found out."""
        store = self.store()
        before = store.committed
        async for snapshot in store.snapshots():
            if snapshot is not before:
                return

    # Inside.

    async def _session(self, call: Call) -> None:
        if self._duties is None:
            raise NotLeader(*self.leader())
        await self._duties.dispatcher.serve(call)

    async def _logs(self, call: Call) -> None:
        if self._duties is None:
            raise NotLeader(*self.leader())
        await self._duties.dispatcher.serve_logs(call)

    def _member_added(self) -> None:
        if self._duties is not None:
            self._duties.look_at_members()

    async def _lead(self) -> None:
        duties = Duties(self.store(), self._holding.node_id, leader=self.leader)
        self._duties = duties
        try:
            await duties.run()
        finally:
            self._duties = None

    async def _mind(self) -> None:
        """Do on this node what the store says of every manager: keys, revocations, and who is no member any more.

        Events are remembered here as well, so that a manager that comes to lead has them.
        """
        before: Snapshot | None = None
        async for snap in self.store().snapshots():
            self.recent_events.look(snap, time.time())
            cluster = snap.cluster
            if cluster is not None and (before is None or cluster is not before.cluster):
                await self._holding.change(partial(_minded, cluster))
            if before is not None and self._server is not None:
                removed, demoted = _dismissed(before, snap)
                for node_id in removed:
                    self._server.close_peer(node_id)
                for node_id in demoted:
                    self._server.end_calls(node_id, MANAGERS)
            before = snap


def address_of(snapshot: Snapshot, node_id: str) -> str:
    """Return host:port of a manager's control plane; "" when it is not known."""
    node = snapshot.nodes.get(node_id)
    return node.manager_status.addr if node is not None and node.manager_status is not None else ""


def _minded(cluster: Cluster, identity: Identity) -> Identity:
    """Return this manager's identity with the unlock key and the revoked peers that the cluster has now."""
    wanted = wrapping(cluster, held_version=identity.unlock_version)
    if wanted is not None:
        identity = replace(
            identity,
            unlock=wanted.key or UnlockKey.generate(),
            unlock_version=wanted.version,
            locks=wanted.key is not None,
        )
    if identity.peer is not None and cluster.peer_authority is not None and cluster.peer_authority.revoked:
        noted = tuple(sorted(cluster.peer_authority.revoked))
        if identity.peer.serials != noted:
            listed = peer_revocations(cluster, now=datetime.now(UTC)).decode()
            peer = msgspec.structs.replace(identity.peer, revoked=listed, serials=noted)
            identity = replace(identity, peer=peer)
    return identity


def _dismissed(before: Snapshot, after: Snapshot) -> tuple[list[str], list[str]]:
    """Return the nodes that were removed, and those that are managers no more, between two snapshots."""
    if after.nodes is before.nodes:
        return [], []
    kept = [(node, after.nodes.get(node.id)) for node in before.nodes.values()]
    return (
        [node.id for node, now in kept if now is None],
        [node.id for node, now in kept if now is not None and node.is_manager and not now.is_manager],
    )

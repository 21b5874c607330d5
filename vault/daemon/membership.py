"""This node's part in a swarm: none, or the manager of one.  Implements `vault.api.ports.Manager`.

Not pure.  Called by `vault.daemon.main` (start, stop) and by the API.  `founding` decides what a new swarm is made of.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from vault.agent.worker import Worker
from vault.api.ports import (
    InitRequest,
    JoinRequest,
    LogLine,
    LogQuery,
    Membership,
    NodeInfo,
    Quorum,
    RestoreRequest,
    Rotations,
)
from vault.crypto.ids import new_id
from vault.crypto.keyfile import NodeKeys
from vault.crypto.plaintext import Plaintext
from vault.crypto.tokens import new_join_token
from vault.daemon.addresses import advertised, local_addresses
from vault.daemon.founding import PORT, Founding, found
from vault.daemon.identity import Identity, IdentityFiles, root_key
from vault.daemon.leader import control
from vault.daemon.link import connect
from vault.daemon.logs import task_lines
from vault.daemon.machine import description
from vault.model.cluster import ClusterSpec, JoinTokens
from vault.model.errors import (
    AlreadyInSwarm,
    Conflict,
    LastManagerLeaving,
    NotAManager,
    NotInSwarm,
    Unavailable,
    Unimplemented,
    VaultError,
)
from vault.model.ids import NodeID
from vault.model.node import NodeStatus
from vault.model.task import Task
from vault.orchestrator.control import new_control
from vault.raftstore.store import Store
from vault.raftstore.upkeep import keep_young
from vault.store.changes import Change, Put
from vault.store.rules_cluster import updated
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Active:
    """A membership that is running."""

    identity: Identity
    store: Store
    worker: Worker
    working: asyncio.Task[None]
    leading: asyncio.Task[None]


class Manager:
    """Makes, runs and leaves swarms on this node; one step at a time."""

    def __init__(
        self, info: NodeInfo, files: IdentityFiles, make_worker: Callable[[NodeKeys], Worker], stop: Callable[[], None]
    ) -> None:
        self._info = info
        self._files = files
        self._make_worker = make_worker
        self._stop = stop  # Ends vaultd, when a loop that must not fail has failed.
        self._active: Active | None = None
        self._error = ""
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Take up the membership that is on disk, if there is one; what is damaged is told, and nothing is served."""
        if not self._files.exists():
            await asyncio.to_thread(self._files.remove)  # Half of an init that a crash broke off.
            return
        store: Store | None = None
        try:
            identity = self._files.read()
            store = await Store.open(
                self._files.store, root=root_key(identity), cluster_id=identity.keys.cluster_id, now=time.time
            )
            await self._run(identity, store)
        except VaultError as error:
            self._error = error.message
            logger.error("store_refused", extra={"reason": error.message})
            if store is not None:
                await store.close()

    async def stop(self) -> None:
        """Stop leading and close the store; tasks run on."""
        if self._active is not None:
            await self._halt(self._active)
            self._active = None

    def worker(self) -> Worker | None:
        """Return the agent; None while this node is in no swarm."""
        return self._active.worker if self._active else None

    def store(self) -> Store:
        """Return the store; raises `NotAManager`, or why there is none."""
        if self._active is None:
            if self._error:
                raise Unavailable(self._error)
            raise NotAManager
        return self._active.store

    def membership(self) -> Membership:
        """Return where this node stands."""
        if self._active is None:
            return Membership(state="error" if self._error else "inactive", error=self._error)
        identity = self._active.identity
        return Membership(
            state="active",
            node_id=identity.keys.node_id,
            node_addr=identity.address,
            manager=True,
            managers=((identity.keys.node_id, f"{identity.address}:{PORT}"),),
        )

    @property
    def barrier(self) -> None:
        """None: a lone manager has nobody to ask."""
        return None

    def standing(self) -> None:
        """Return None: a manager leads, since there is no other."""
        self.store()

    async def standing_changed(self) -> None:
        """Wait for ever: who leads does not change."""
        await asyncio.Event().wait()

    def quorum(self) -> Quorum:
        """Return this manager."""
        mine = self.membership().node_id
        return Quorum(leader=mine, reachable=frozenset({mine}))

    def backup(self, passphrase: Plaintext | None) -> AsyncIterator[bytes]:
        """Refuse: there are no backups yet."""
        raise Unimplemented("backups are not supported yet")

    async def restore(self, request: RestoreRequest, archive: AsyncIterator[bytes]) -> NodeID:
        """Refuse: there are no backups yet."""
        raise Unimplemented("backups are not supported yet")

    async def init(self, request: InitRequest) -> NodeID:
        """Make a swarm with this node as its manager."""
        async with self._turn:
            if self._active is not None or self._error:
                raise AlreadyInSwarm
            if request.force_new_cluster:
                raise Unimplemented("--force-new-cluster is not supported yet")
            address = advertised(request.advertise_addr, local_addresses())
            founding = found(request, self._info, address, now_s=time.time())
            try:
                await self._create(founding)
            except BaseException:
                await asyncio.to_thread(self._files.remove)
                raise
        return NodeID(founding.identity.keys.node_id)

    async def _create(self, founding: Founding) -> None:
        await asyncio.to_thread(self._files.remove)
        identity = founding.identity
        store = await Store.create(
            self._files.store,
            root=root_key(identity),
            cluster_id=identity.keys.cluster_id,
            now=time.time,
            changes=founding.changes,
        )
        await asyncio.to_thread(self._files.write, identity, founding.unlock)
        await self._run(identity, store)

    async def join(self, request: JoinRequest) -> None:
        """Refuse: this release runs one manager that is also the worker."""
        if self._active is not None:
            raise AlreadyInSwarm
        raise Unimplemented("joining a swarm is not supported yet: run `vault swarm init` to make one of this node")

    async def leave(self, *, force: bool) -> None:
        """End every task, then forget the swarm and erase its store."""
        async with self._turn:
            active = self._active
            if active is None and not self._error:
                raise NotInSwarm
            if not force:
                raise LastManagerLeaving
            if active is not None:
                self._active = None
                active.leading.cancel()
                await active.worker.release()
                await self._halt(active)
            self._error = ""
            await asyncio.to_thread(self._files.remove)

    async def update(self, spec: ClusterSpec, *, version: int, rotations: Rotations) -> None:
        """Change the swarm's settings and tokens."""
        if rotations.unlock_key or spec.encryption_config.auto_lock_managers:
            raise Unimplemented("autolock is not supported yet")

        def build(snap: Snapshot) -> tuple[Change, ...]:
            cluster = updated(snap, spec, version=version)
            root = cluster.tls_info.trust_root.encode()
            tokens = JoinTokens(
                worker=new_join_token(root).text() if rotations.worker_token else cluster.join_tokens.worker,
                manager=new_join_token(root).text() if rotations.manager_token else cluster.join_tokens.manager,
            )
            return (Put(msgspec.structs.replace(cluster, join_tokens=tokens)),)

        await self.store().submit(build)

    async def unlock_key(self) -> str:
        """Return "": autolock is off."""
        self.store()
        return ""

    async def unlock(self, key: str) -> None:
        """Refuse: this node is not locked."""
        raise Conflict("swarm is not locked")

    def task_logs(self, task: Task, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield the log of a task of this node."""
        return task_lines(self.worker(), task.id, query)

    async def _run(self, identity: Identity, store: Store) -> None:
        """Say that this node is here, then lead and run tasks."""
        await store.submit(lambda snap: self._present(snap, identity.keys.node_id))
        worker = self._make_worker(identity.keys)
        self._active = Active(
            identity=identity,
            store=store,
            worker=worker,
            working=asyncio.create_task(self._must_not_end(worker.run()), name="agent"),
            leading=asyncio.create_task(self._must_not_end(_lead(identity, store, worker)), name="leader"),
        )

    async def _must_not_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`; when it fails, vaultd ends, loudly, and starts again clean."""
        try:
            await work
        except Exception as error:  # The end of this manager's leadership.
            logger.exception("leadership_failed", extra={"reason": type(error).__name__})
            self._stop()

    async def _halt(self, active: Active) -> None:
        for job in (active.leading, active.working):
            job.cancel()
        await asyncio.gather(active.leading, active.working, return_exceptions=True)
        await active.store.close()

    def _present(self, snap: Snapshot, node_id: str) -> tuple[Change, ...]:
        """Return the change that says this node is here, with what the machine is now."""
        node = snap.nodes[node_id]
        said = description(self._info, node.description.tls_info)
        status = NodeStatus(state="ready", addr=node.status.addr)
        if node.description == said and node.status == status:
            return ()
        return (Put(msgspec.structs.replace(node, description=said, status=status)),)


async def _lead(identity: Identity, store: Store, worker: Worker) -> None:
    """Run what a manager runs, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(control(store, new_control(), now=time.time, new_id=new_id))
        group.create_task(connect(store, worker, identity.keys))
        group.create_task(keep_young(store))

"""This node's part in a swarm: none, a worker's, or a manager's.  Implements `vault.api.ports.Manager`.

Not pure.  Called by `vault.daemon.compose` (start, stop) and by the API.  What runs while the node is a member is
`vault.daemon.part`; here it is made, ended, and asked.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypeVar

from vault.agent.worker import Worker
from vault.api.events import Recent
from vault.api.gateway import Gateway
from vault.api.ports import (
    Forwarder,
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
from vault.crypto.keyfile import NodeKeys
from vault.crypto.keys import UnlockKey
from vault.crypto.plaintext import Plaintext
from vault.daemon import recovery
from vault.daemon.addresses import advertised, check_free, listened, local_addresses, toward
from vault.daemon.founding import Founding, found
from vault.daemon.holding import Holding
from vault.daemon.identity import Identity, IdentityFiles, Locked, Place, root_key
from vault.daemon.joining import let_in
from vault.daemon.leaving import check_leaving, give_up_role
from vault.daemon.logs import broker_lines, task_lines
from vault.daemon.part import Part
from vault.model.cluster import ClusterSpec
from vault.model.errors import (
    AlreadyInSwarm,
    JoinTimedOut,
    LockedLeaving,
    NotAManager,
    NotInSwarm,
    NotLocked,
    Unavailable,
    UnreadLeaving,
    VaultError,
)
from vault.model.ids import NodeID
from vault.model.task import Task
from vault.raftstore.store import Store
from vault.store.rules_swarm import unlock_key_of, updated_swarm

logger = logging.getLogger(__name__)
START_S: Final = 3.0  # For a manager to be ready before the API answers; asking one that is not is no harm.
JOIN_S: Final = 20.0  # Docker's limit for a request about the swarm.
UNLOCK_S: Final = 3.0  # What a manager that was unlocked is given to find the others.
MadeT = TypeVar("MadeT")


class Manager:
    """Makes, runs and leaves swarms on this node; one step at a time."""

    def __init__(
        self,
        info: NodeInfo,
        files: IdentityFiles,
        make_worker: Callable[[NodeKeys], Worker],
        fail: Callable[[], None],
        gateway: Callable[[], Gateway],
    ) -> None:
        """fail: ends vaultd, when a part that must not fail has failed.  gateway: answers what others forward."""
        self._info = info
        self._files = files
        self._make_worker = make_worker
        self._fail = fail
        self._gateway = gateway
        self._part: Part | None = None
        self._refusal: VaultError | None = None  # Why what is on disk is not taken up.
        self._turn = asyncio.Lock()

    # Coming and going.

    async def start(self) -> None:
        """Take up the membership that is on disk, if there is one; what is damaged is told, and nothing is served.

        A lone manager is ready on return: no answer says that it is being prepared.  One of several may have to wait
        for the others, and answers before they are there.
        """
        try:
            if not self._files.exists():
                await asyncio.to_thread(self._files.remove)  # Half of an init that a crash broke off.
                return
            part = self._run(await asyncio.to_thread(self._files.read))
        except VaultError as error:
            self._refusal = error
            logger.error("membership_refused", extra={"reason": error.message})
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await part.settled()

    async def stop(self) -> None:
        """Stop leading and close the store; tasks run on."""
        part, self._part = self._part, None
        if part is not None:
            await part.stop()

    @property
    def member(self) -> bool:
        """Whether this node is in a swarm, whatever hinders it: its tasks are to be kept."""
        return self._part is not None or self._refusal is not None

    def worker(self) -> Worker | None:
        """Return the agent; None while this node is in no swarm."""
        return self._part.worker if self._part else None

    async def init(self, request: InitRequest) -> NodeID:
        """Make a swarm with this node as its manager; or, by force, of what this manager has of one."""
        async with self._turn:
            if request.force_new_cluster and self._part is not None:
                return await self._begin_anew(self._part, request)
            self._check_free()
            place = self._place(request.advertise_addr, request.listen_addr)
            check_free(place.listen)
            founding = found(request, self._info, place, now_s=time.time())
            part = await self._undone_on_error(self._create(founding))
        await self._settled(part)
        return NodeID(founding.identity.keys.node_id)

    async def join(self, request: JoinRequest) -> None:
        """Join a swarm."""
        async with self._turn:
            self._check_free()
            place = self._place(request.advertise_addr, request.listen_addr, toward=request.remote_addrs)
            identity = await let_in(request, place, hostname=self._info.hostname, timeout_s=JOIN_S)
            part = await self._undone_on_error(self._take_up(identity))
        await self._settled(part)

    async def leave(self, *, force: bool) -> None:
        """End every task, then forget the swarm and erase its store."""
        async with self._turn:
            part = self._part
            if not self.member:
                raise NotInSwarm
            if self._refusal is not None and not force:
                raise LockedLeaving if isinstance(self._refusal, Locked) else UnreadLeaving(self._refusal)
            if part is not None and part.is_manager and not part.removed:
                if not force:
                    check_leaving(part)
                await give_up_role(part)
            if part is not None:
                self._part = None
                await part.worker.release()
                await part.stop()
            self._refusal = None
            await asyncio.to_thread(self._files.remove)

    async def restore(self, request: RestoreRequest, archive: AsyncIterator[bytes]) -> NodeID:
        """Make a swarm of a backup, with this node as its manager."""
        async with self._turn:
            self._check_free()
            place = self._place(request.advertise_addr, request.listen_addr)
            check_free(place.listen)
            identity, part = await self._undone_on_error(self._restored(request, archive, place))
        await self._settled(part)
        return NodeID(identity.keys.node_id)

    async def unlock(self, key: str) -> None:
        """Take up the membership that was locked."""
        async with self._turn:
            if not isinstance(self._refusal, Locked):
                raise NotLocked
            identity = await asyncio.to_thread(self._files.read, UnlockKey.parse(key.strip()))
            self._refusal = None
            part = self._run(identity)
        with suppress(JoinTimedOut):  # It is unlocked; perhaps it waits for others that are locked yet.
            await self._settled(part, limit_s=UNLOCK_S)

    # What the API asks.

    def store(self) -> Store:
        """Return the store; raises `NotAManager`, or why there is none."""
        return self._member().manager().store()

    def membership(self) -> Membership:
        """Return where this node stands."""
        part, refusal = self._part, self._refusal
        if refusal is not None:
            return Membership(state="locked") if isinstance(refusal, Locked) else Membership(
                state="error", error=refusal.message
            )  # fmt: skip
        if part is None:
            return Membership()
        identity = part.holding.identity
        state = "error" if part.error else "active" if part.is_settled else "pending"
        return Membership(
            state=state,
            node_id=identity.keys.node_id,
            node_addr=identity.address,
            manager=part.is_manager and part.managing is not None,
            error=part.error or part.trouble,
            managers=_known_managers(part),
        )

    def standing(self) -> Forwarder | None:
        """Return None while this manager leads, and the way to the leader while it follows."""
        return self._member().manager().standing()

    async def standing_changed(self) -> None:
        """Return when `standing` may say something else."""
        part = self._part
        if part is None or part.managing is None or not part.managing.ready:
            await asyncio.sleep(JOIN_S)  # Waiters look again by themselves.
            return
        await part.managing.standing_changed()

    @property
    def barrier(self) -> Callable[[], Awaitable[None]] | None:
        """What a leader awaits before it answers a read; None for a lone manager."""
        part = self._part
        if part is None or part.managing is None or not part.managing.ready:
            return None
        store = part.managing.store()
        return None if store.engine_name == "sqlite" else store.barrier

    def recent_events(self) -> Recent:
        """Return the last events of the cluster."""
        return self._member().manager().recent_events

    def quorum(self) -> Quorum:
        """Return which managers are to be reached."""
        return self._member().manager().quorum()

    async def update(self, spec: ClusterSpec, *, version: int, rotations: Rotations) -> None:
        """Change the swarm's settings, tokens and keys."""
        await self.store().submit(
            lambda snap: updated_swarm(
                snap,
                spec,
                version=version,
                now=datetime.now(UTC),
                worker_token=rotations.worker_token,
                manager_token=rotations.manager_token,
                unlock_key=rotations.unlock_key,
            )
        )

    async def unlock_key(self) -> str:
        """Return `SWMKEY-1-…`, or "" while autolock is off."""
        cluster = self.store().committed.cluster
        return "" if cluster is None else unlock_key_of(cluster)

    def backup(self, passphrase: Plaintext | None) -> AsyncIterator[bytes]:
        """Yield a backup of the swarm, sealed under a passphrase, or without one under the unlock key."""
        part, store = self._member(), self.store()
        return recovery.backup(store, root_key(part.holding.identity), passphrase, scratch=self._files.root)

    async def task_logs(self, task: Task, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield the log of a task, wherever its node is; nothing when the node no longer has it."""
        part = self._member()
        if task.node_id == part.holding.node_id:
            lines = task_lines(part.worker, task.id, query)
        else:
            duties = part.manager().duties
            if duties is None:
                return
            lines = broker_lines(duties.dispatcher.logs, task, query)
        async for line in lines:
            yield line

    # Inside.

    def _member(self) -> Part:
        if self._refusal is not None:
            raise self._refusal if isinstance(self._refusal, Locked) else Unavailable(self._refusal.message)
        if self._part is None:
            raise NotAManager
        return self._part

    def _check_free(self) -> None:
        if self.member:
            raise AlreadyInSwarm

    def _place(self, advertise: str, listen: str, *, toward: tuple[str, ...] = ()) -> Place:
        """Return where this node will be; raises `BadRequest` in Docker's words."""
        address = _source(toward) if toward and not advertise else ""
        address = address or advertised(advertise, local_addresses())
        return Place(address=address, listen=listened(listen, address, local_addresses()))

    async def _undone_on_error(self, making: Awaitable[MadeT]) -> MadeT:
        try:
            return await making
        except BaseException:  # Cancelled too: half a membership is to be taken up by no later start.
            self._part = None
            await asyncio.to_thread(self._files.remove)
            raise

    def _run(self, identity: Identity, store: Store | None = None, *, new_generation: bool = False) -> Part:
        part = Part(Holding(self._files, identity), self._info, self._make_worker, self._gateway, self._fail)
        part.start(store, new_generation=new_generation)
        self._part = part
        return part

    async def _create(self, founding: Founding) -> Part:
        await asyncio.to_thread(self._files.begin)
        identity = founding.identity
        store = await Store.create(
            self._files.store,
            root=root_key(identity),
            cluster_id=identity.keys.cluster_id,
            now=time.time,
            changes=founding.changes,
            node_id=identity.keys.node_id,
        )
        await asyncio.to_thread(self._files.write, identity)
        return self._run(identity, store)

    async def _take_up(self, identity: Identity) -> Part:
        await asyncio.to_thread(self._files.begin)
        await asyncio.to_thread(self._files.write, identity)
        return self._run(identity)

    async def _restored(
        self, request: RestoreRequest, archive: AsyncIterator[bytes], place: Place
    ) -> tuple[Identity, Part]:
        identity = await recovery.restore(request, archive, self._files, self._info, place)
        return identity, self._run(identity)

    async def _begin_anew(self, part: Part, request: InitRequest) -> NodeID:
        """Make a swarm of this manager alone, with what it has of the store; the others are managers no more.

        It keeps its address, unless another one is asked for.
        """
        identity = part.holding.identity
        if not part.is_manager or identity.keys.root_key is None:
            raise NotAManager
        place = self._place(request.advertise_addr, request.listen_addr) if request.advertise_addr else identity.place
        self._part = None
        await part.stop()
        identity = await part.holding.change(lambda had: had.moved(address=place.address, listen=place.listen))
        part = self._run(identity, new_generation=True)
        await self._settled(part)
        await recovery.begin_alone(part, moved=bool(request.advertise_addr), limit_s=JOIN_S)
        return NodeID(part.holding.node_id)

    async def _settled(self, part: Part, *, limit_s: float = JOIN_S) -> None:
        """Wait until this node is what it has become; what goes wrong later is shown by `info`."""
        try:
            async with asyncio.timeout(limit_s):
                await part.settled()
        except TimeoutError:
            raise JoinTimedOut from None
        if part.error:
            raise Unavailable(part.error)


def _known_managers(part: Part) -> tuple[tuple[str, str], ...]:
    """Return (node id, host:port) of the managers that this node knows."""
    if part.managing is not None and part.managing.ready:
        nodes = part.managing.store().committed.nodes.values()
        return tuple((node.id, node.manager_status.addr) for node in nodes if node.manager_status is not None)
    return tuple((manager.node_id, manager.addr) for manager in part.holding.managers)


def _source(addresses: tuple[str, ...]) -> str:
    """Return this machine's address toward the first manager that there is a way to; "" = none."""
    return next((found for address in addresses if (found := toward(address))), "")

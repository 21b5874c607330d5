"""This node's part in a swarm: its agent, its certificate, and, for a manager, all that `managing` is.

Not pure.  One for as long as the node is a member; made by `vault.daemon.membership`.  It becomes a manager, and a
worker again, as its certificate says, which follows the role that the managers tell.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from vault.agent.connection import Connection, Node
from vault.agent.worker import Worker
from vault.api.gateway import Gateway
from vault.api.ports import NodeInfo
from vault.crypto.certificates import Role
from vault.crypto.keyfile import NodeKeys
from vault.crypto.keys import UnlockKey
from vault.crypto.plaintext import Plaintext
from vault.daemon.addresses import check_free
from vault.daemon.entering import enter_as_manager
from vault.daemon.finishing import finished
from vault.daemon.holding import Holding
from vault.daemon.machine import description
from vault.daemon.managing import Managing
from vault.dispatcher.service import managers_in
from vault.model.errors import ManagerNotReady, StoreDamaged, Unavailable, VaultError, WorkerNode
from vault.model.node import NodeDescription
from vault.raftstore.engine import MemberRemoved
from vault.raftstore.store import Store
from vault.rpc.asking import ask_for_certificate
from vault.rpc.call import Call
from vault.rpc.client import Client
from vault.rpc.errors import CannotReach, NotLeader
from vault.rpc.messages import LOGS, SESSION, Announcement, NodeRemoved
from vault.rpc.messages_ca import Issued, IssueRequest, TrustIs
from vault.rpc.messages_manager import ENTER, Enter, Entered
from vault.rpc.pipe import local_call
from vault.rpc.renewal import Held, Renewal
from vault.rpc.server import CannotListen
from vault.store.trust import reported_tls_info

logger = logging.getLogger(__name__)
ASK_S: Final = 20.0
ENTER_S: Final = 45.0
RETRY_S: Final = 1.0
LOOK_S: Final = 0.2  # At who leads, for the agent's sake.


class Part:
    """A membership that is running."""

    def __init__(
        self,
        holding: Holding,
        info: NodeInfo,
        make_worker: Callable[[NodeKeys], Worker],
        gateway: Callable[[], Gateway],
        fail: Callable[[], None],
    ) -> None:
        """fail: ends vaultd, when something has failed that must not."""
        self.holding = holding
        self.worker = make_worker(holding.identity.keys)
        self.managing: Managing | None = None
        self.removed = ""  # Why this node is no member any more.
        self.hindered = ""  # Why it is no manager though it should be.
        self.trouble = ""  # What is in the way of its becoming one.
        self._info = info
        self._gateway = gateway
        self._fail = fail
        self._client = Client(holding.credentials)
        self._connection = Connection(
            self.worker,
            dial=self._dial,
            memory=holding,
            node=Node(
                description=self._description,
                addr=holding.identity.address,
                manager_ok=self._manager_ok,
                announced=self._announced,
            ),
        )
        if (encryption := self.worker.machine.encryption) is not None:
            encryption.follow(self._connection.described)
        identity = holding.identity
        self._renewal = Renewal(
            Held(
                tls_key=identity.keys.tls_key,
                node_key=identity.keys.node_key,
                certificate=identity.certificate,
                trust=identity.roots,
            ),
            ask=self._ask_for_certificate,
            keeper=self,
            now=lambda: datetime.now(UTC),
            chance=random.random,
        )
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._role_changed = asyncio.Event()
        self._managed = asyncio.Event()  # Set while nothing stands between this node and its role.

    # Coming and going.

    def start(self, store: Store | None = None, *, new_generation: bool = False) -> None:
        """Begin.  store: of a swarm that was just made; else a manager opens its own."""
        self._begin("agent", self.worker.run())
        self._begin("connection", self._connected())
        self._begin("renewal", self._renewal.run())
        self._begin("roles", self._follow_role(store, new_generation=new_generation))
        self._begin("leader", self._tell_agent_who_leads())

    async def stop(self) -> None:
        """End everything but the tasks."""
        for job in self._jobs.values():
            job.cancel()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)
        await self._client.close()

    @property
    def error(self) -> str:
        """What is wrong with this membership, in a sentence; "" = nothing."""
        return self.removed or self.hindered

    async def settled(self) -> None:
        """Wait until this node is what its certificate says: a manager that serves, or a worker."""
        await self._managed.wait()

    @property
    def is_settled(self) -> bool:
        """Whether this node is what its certificate says."""
        return self._managed.is_set()

    @property
    def is_manager(self) -> bool:
        """Whether this node is a manager, or about to be one."""
        own = self.holding.credentials.own
        return own is not None and own.role is Role.MANAGER

    def manager(self) -> Managing:
        """Return what this node is as a manager.  Raises `WorkerNode`, `ManagerNotReady`, or why it is none."""
        if self.error:
            raise Unavailable(self.error)
        if not self.is_manager:
            raise WorkerNode
        if self.managing is None or not self.managing.ready:
            raise ManagerNotReady
        return self.managing

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._jobs[name] = asyncio.create_task(self._must_not_end(name, work), name=name)

    async def _must_not_end(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`; when it fails, vaultd ends, loudly, and starts again clean."""
        try:
            await work
        except Exception as error:  # A part of the process ends here, and the process with it.
            logger.exception("part_failed", extra={"part": name, "reason": type(error).__name__})
            self._fail()

    # The agent.

    async def _connected(self) -> None:
        """Talk with the leader until this node was removed."""
        try:
            await self._connection.run()
        except NodeRemoved as error:
            self.removed = error.message
            for job in ("roles", "renewal"):  # Whatever it has been here, it is that no more.
                self._jobs[job].cancel()
            self._managed.set()
            await asyncio.Event().wait()

    @asynccontextmanager
    async def _dial(self, address: str, method: str) -> AsyncIterator[Call]:
        """Call a manager; this one, if it leads, without a network between."""
        managing = self.managing
        if managing is not None and address == self.holding.identity.control_address:
            if not managing.leads:
                raise NotLeader(*managing.leader())
            serve = managing.session if method == SESSION else managing.logs
            assert method in (SESSION, LOGS)
            async with local_call(serve, self.holding.credentials.own, method) as call:
                yield call
            return
        async with self._client.call(address, method) as call:
            yield call

    async def _tell_agent_who_leads(self) -> None:
        """Let this manager's agent know at once who leads, and its managers whether it works."""
        told, works = "", self._manager_ok()
        while True:
            managing = self.managing
            if (now := self._manager_ok()) is not works:
                works = now
                self._connection.beat()
            if managing is not None and managing.ready:
                address = managing.leader()[1] or (self.holding.identity.control_address if managing.leads else "")
                if address and address != told:
                    told = address
                    self._connection.know(managers_in(managing.store().committed), leader=address)
            await asyncio.sleep(LOOK_S)

    def _description(self) -> NodeDescription:
        identity, encryption = self.holding.identity, self.worker.machine.encryption
        means = encryption.means if encryption is not None else None
        return description(self._info, reported_tls_info(identity.certificate, identity.roots), means)

    def _manager_ok(self) -> bool | None:
        if not self.is_manager:
            return None
        return self.managing is not None and self.managing.works

    def _announced(self, announcement: Announcement) -> None:
        with suppress(msgspec.MsgspecError):
            if (told := announcement.read(TrustIs)) is not None:
                self._renewal.tell(told)

    # The certificate; `vault.rpc.renewal.Keeper`.

    async def prepare(self, tls_key: Plaintext) -> None:
        """Keep the key of a certificate that is about to be asked for."""
        await self.holding.change(lambda had: replace(had, keys=replace(had.keys, next_tls_key=tls_key)))

    async def adopt(self, held: Held) -> None:
        """Use a certificate and roots from now on, and be what they say."""
        await self.holding.change(
            lambda had: replace(
                had,
                keys=replace(had.keys, tls_key=held.tls_key, next_tls_key=None),
                certificate=held.certificate,
                roots=held.trust,
            )
        )
        self._role_changed.set()
        self._connection.described()

    async def _ask_for_certificate(self, wanted: IssueRequest) -> Issued:
        """Ask the leader; a manager that leads is its own, even when its certificate has expired."""
        managing = self.managing
        if managing is not None and managing.leads:
            return await managing.authority().renew_own(self.holding.node_id, wanted.request)
        return await ask_for_certificate(self._client, self._addresses(), wanted, timeout_s=ASK_S)

    def _addresses(self) -> list[str]:
        """Return managers to ask, the leader first as far as it is known; never this node."""
        own = self.holding.identity.control_address
        first = [self._connection.leader, self.managing.leader()[1] if self.managing is not None else ""]
        known = [manager.addr for manager in self.holding.managers]
        return [address for address in dict.fromkeys((*first, *known)) if address and address != own]

    # The role.

    async def _follow_role(self, store: Store | None, *, new_generation: bool) -> None:
        """Be a manager while the certificate says so."""
        anew = False  # The engine has let this manager go, and what it held is of no use.
        while True:
            self._role_changed.clear()
            if not self.is_manager:
                await self._be_worker()
                anew = False
                self._managed.set()
                await self._role_changed.wait()
                continue
            self._managed.clear()
            managing = Managing(self.holding, self._client, self._gateway)
            running = asyncio.create_task(self._manage(managing, store, new_generation=new_generation, anew=anew))
            store, new_generation, anew = None, False, False
            try:
                await self._until_role_ends(running)
            except MemberRemoved:
                anew = True
                logger.warning("part_in_engine_ended")
            finally:
                self.managing = None
                running.cancel()
                await finished(_ended(running, managing))

    async def _until_role_ends(self, running: asyncio.Task[None]) -> None:
        """Return when this node is to be a manager no more; raises what ends its being one before that."""
        while self.is_manager:
            changed = asyncio.create_task(self._role_changed.wait())
            await asyncio.wait({running, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if running.done():
                running.result()
            self._role_changed.clear()

    async def _manage(self, managing: Managing, store: Store | None, *, new_generation: bool, anew: bool) -> None:
        """Become a manager, and be one.  Damage is told, and the agent goes on."""
        self.managing = managing
        try:
            if store is not None:
                await managing.take(store)
            else:
                await self._until_it_can_listen()
                await self._open(managing, new_generation=new_generation, anew=anew)
            logger.info("manager_ready", extra={"leads": managing.leads})
            self._connection.beat()
            self.trouble = ""
            self._managed.set()
            await managing.run()
        except StoreDamaged as error:
            logger.error("store_refused", extra={"reason": error.message})
            self.hindered = error.message
            self._managed.set()
            await managing.close()
            await asyncio.Event().wait()

    async def _until_it_can_listen(self) -> None:
        """Wait while something else has the control plane's port; whoever asks this manager is told."""
        waited = False
        while True:
            try:
                check_free(self.holding.identity.place.listen)
            except CannotListen as error:
                if not waited:
                    logger.error("cannot_listen", extra={"reason": error.message})
                waited, self.hindered = True, error.message
                self._managed.set()
                await asyncio.sleep(RETRY_S)
                continue
            if waited:
                self.hindered = ""
            return

    async def _open(self, managing: Managing, *, new_generation: bool, anew: bool) -> None:
        """Open the store that this manager has, or enter as one that has none; what is of no use is kept until then."""
        files = self.holding.files
        if not anew and await asyncio.to_thread(Store.exists, files.store):
            await managing.open(new_generation=new_generation)
            return
        while True:
            try:
                entered = await enter_as_manager(self.holding, self._ask_to_enter)
                break
            except VaultError as error:
                if error.message != self.trouble:
                    logger.warning("not_entered_yet", extra={"reason": error.message})
                self.trouble = error.message
                await asyncio.sleep(RETRY_S)
        self.trouble = ""
        await finished(asyncio.to_thread(Store.destroy, files.store))
        await managing.enter(entered)

    async def _ask_to_enter(self, wanted: Enter) -> Entered:
        last: VaultError = Unavailable("no manager is known: wait for the session with one")
        for address in self._addresses():
            try:
                return await self._client.ask(address, ENTER, wanted, Entered, ENTER_S)
            except NotLeader as error:
                last = error
                if error.address:
                    return await self._client.ask(error.address, ENTER, wanted, Entered, ENTER_S)
            except CannotReach as error:
                last = error
        raise last

    async def _be_worker(self) -> None:
        """Have nothing that only managers have."""
        identity, files = self.holding.identity, self.holding.files
        self.hindered = self.trouble = ""
        if identity.keys.root_key is not None or identity.peer is not None:
            # A worker's key file needs no unlock key of the operator's: what it guards lets nobody read the store.
            await self.holding.change(
                lambda had: replace(
                    had,
                    keys=had.keys.as_worker(),
                    peer=None,
                    unlock=UnlockKey.generate(),
                    unlock_version=0,
                    locks=False,
                )
            )
        if await asyncio.to_thread(Store.exists, files.store):
            await finished(asyncio.to_thread(Store.destroy, files.store))


async def _ended(running: "asyncio.Task[None]", managing: Managing) -> None:
    """End what a manager does, then the manager."""
    await asyncio.gather(running, return_exceptions=True)
    await managing.close()

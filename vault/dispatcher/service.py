"""The dispatcher: every node's session with the leading manager, and who of them is alive.

Not pure.  One for each leadership; the daemon gives it the calls `node.session` and `node.logs`, and runs it while this
manager leads.  A snapshot is looked at once, by one task, which wakes the sessions that it concerns.
"""

import asyncio
import ipaddress
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable
from itertools import islice
from typing import Final

import msgspec

from vault.dispatcher.assignments import Touched, ValueKey, touched
from vault.dispatcher.driven import Driven, SecretDrivers
from vault.dispatcher.liveness import Liveness, grace_at_take_over
from vault.dispatcher.logs import LogBroker
from vault.dispatcher.overlays import Overlays
from vault.dispatcher.reports import said
from vault.dispatcher.sealing import sealer
from vault.dispatcher.session import Notice, Session
from vault.dispatcher.stream import Store, Stream
from vault.dispatcher.writer import Presence, Writer
from vault.model.base import SECOND_NS
from vault.model.errors import Unavailable
from vault.model.node import Node, NodeDescription, NodeStatus
from vault.rpc.call import Call
from vault.rpc.errors import NotLeader
from vault.rpc.messages import (
    PROTOCOL,
    Announcement,
    Heartbeat,
    Hello,
    ManagerAddress,
    NodeRemoved,
    NotUnderstood,
    Report,
    SessionReplaced,
    SessionSilent,
    Welcome,
)
from vault.rpc.patience import TICK_S
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)

HELLO_S: Final = 10.0  # A node that has called says who it is within this time.
LOOKED_AT: Final = 500  # Objects that changed, in one turn of the event loop: some 5 ms.
DESCRIPTION_BYTES: Final = 64 * 1024
PERIODS_S: Final = (0.25, 3600.0)  # Shortest and longest period of heartbeats, whatever the settings say.
DEFAULT_PERIOD_S: Final = 5.0
DOWN: Final = NodeStatus(state="down", message="heartbeat failure")

Greet = Callable[[Node], Iterable[msgspec.Struct]]


class Dispatcher:
    """Sessions with nodes.  `serve` and `serve_logs` are handlers of calls; `run` lasts as long as the leadership."""

    def __init__(
        self,
        store: Store,
        *,
        monotonic: Callable[[], float],
        now: Callable[[], float],
        confirm: Callable[[], Awaitable[None]],
        drivers: SecretDrivers,
        leader: Callable[[], tuple[str, str]] = lambda: ("", ""),
        greet: Greet = lambda _: (),
    ) -> None:
        """Make the dispatcher of the leadership that the store has now.

        confirm: raises unless this manager still leads.  drivers: who gives the secrets that are not kept here.
        leader: node id and host:port of who leads once this one does not.  greet: what a node is told by other parts of
        the system when its session begins, as announcements.
        """
        self.logs = LogBroker(self._notify)
        self._store = store
        self._epoch = store.epoch
        self._monotonic = monotonic
        self._now = now
        self._confirm = confirm
        self._drivers = drivers
        self._leader = leader
        self._greet = greet
        self._writer = Writer(store)
        self._liveness = Liveness(now_s=monotonic())
        self._sessions: dict[str, Session] = {}
        self._overlays = Overlays()
        self._reading = asyncio.Lock()  # One at a time brings their books up to a snapshot.
        self._concerned: defaultdict[ValueKey, set[str]] = defaultdict(set)  # Nodes by what their tasks refer to.
        self._refers: dict[str, frozenset[ValueKey]] = {}
        self._period_s = self._longest_s = _period_s(store.committed)
        self._managers = managers_in(store.committed)
        self._over = False

    # For the daemon.

    async def run(self) -> None:
        """Follow the store and watch the nodes, until cancelled; then every session ends."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._writer.run())
                group.create_task(self._follow())
                group.create_task(self._watch())
        finally:
            self._over = True
            for session in list(self._sessions.values()):
                session.end(self._not_leading())

    async def serve(self, call: Call) -> None:
        """Serve one session: the peer's certificate says whose.  Raises why it ended."""
        node_id = call.peer.node_id if call.peer is not None else ""
        try:
            async with asyncio.timeout(HELLO_S):
                hello = await call.receive(Hello)
        except TimeoutError:
            raise NotUnderstood("the node did not say Hello in time") from None
        node = await self._member(node_id)
        description = _checked(hello)
        if self._over or (hello.generation, hello.counter) > self._epoch:
            raise self._not_leading()
        seal = sealer(node.seal_key, cluster_id=_cluster_id(self._store), node_id=node_id, epoch=self._epoch)
        driven = Driven(self._drivers, lambda: session.touch())
        stream = Stream(
            self._store, node_id, seal, self._epoch, self._overlays, self._newest, driven,
            refers=lambda keys: self._note_references(session, keys),
        )  # fmt: skip
        session = Session(call, node_id, stream, self)
        if (older := self._sessions.get(node_id)) is not None:
            older.end(SessionReplaced())
        self._sessions[node_id] = session
        self._liveness.heard(node_id, period_s=self._period_s)
        addr = _address(hello.addr) or _address(call.address) or node.status.addr
        self._writer.shows(node_id, Presence(status=NodeStatus(state="ready", addr=addr), description=description))
        for announcement in self._greet(node):
            session.notify(Announcement.of(announcement))
        try:
            await call.send(
                Welcome(
                    generation=self._epoch[0],
                    counter=self._epoch[1],
                    heartbeat_s=self._period_s,
                    managers=self._managers,
                )
            )
            await session.run()
        finally:
            if self._sessions.get(node_id) is session:
                del self._sessions[node_id]
                self._note_references(None, frozenset(), node_id)
            await driven.close()

    async def serve_logs(self, call: Call) -> None:
        """Take in the log of a task that was asked for."""
        await self.logs.serve(call)

    def announce(self, message: msgspec.Struct, nodes: Collection[str] | None = None) -> None:
        """Pass a message to connected nodes, to all of them unless some are named; others get what `greet` says."""
        wrapped = Announcement.of(message)
        for node_id in list(self._sessions) if nodes is None else nodes:
            self._notify(node_id, wrapped)

    @property
    def connected(self) -> frozenset[str]:
        """The nodes that have a session."""
        return frozenset(self._sessions)

    def manager_ok(self, node_id: str) -> bool | None:
        """Return whether the manager on a node says that it works; None when nothing is known of it."""
        session = self._sessions.get(node_id)
        return None if session is None else session.manager_ok

    # For sessions.

    def heard(self, session: Session, heartbeat: Heartbeat) -> None:
        """Note a heartbeat; a node that has not yet learned of a shorter period is given the longer one."""
        if self._sessions.get(session.node_id) is session:
            period_s = max(self._period_s, min(heartbeat.period_s, self._longest_s))
            self._liveness.heard(session.node_id, period_s=period_s)

    def reported(self, session: Session, report: Report) -> None:
        """Write a report, and acknowledge it then."""
        statuses = said(report, now_s=self._now())
        self._writer.observed(session.node_id, statuses, lambda: session.acknowledge(report.number))

    def described(self, session: Session, description: NodeDescription) -> None:
        """Write a node's description."""
        _check_size(description)
        if self._sessions.get(session.node_id) is session:
            self._writer.shows(session.node_id, Presence(status=NodeStatus(state="ready"), description=description))

    # Inside.

    async def _follow(self) -> None:
        before: Snapshot | None = None
        async for snap in self._store.snapshots():
            await self._look(before, snap)
            before = snap
            await self._newest()
            for node_id in sorted(self._overlays.touched()):
                if (session := self._sessions.get(node_id)) is not None:
                    session.touch_networks()

    async def _newest(self) -> Snapshot:
        """Return the newest snapshot with the books of overlays at it; a long way is gone in small steps."""
        async with self._reading:
            while not self._overlays.look(snap := self._store.committed):
                await asyncio.sleep(0)
        return snap

    async def _look(self, before: Snapshot | None, snap: Snapshot) -> None:
        """Wake the sessions that are concerned by what changed; what is much is looked at in pieces."""
        changed = None if before is None else snap.changed_since(before)
        if before is None or changed is None:
            for session in self._sessions.values():
                session.touch()
            self._wake(Touched(members=self._known(snap), cluster=True), snap)
            return
        keys = iter(changed)
        while some := list(islice(keys, LOOKED_AT)):
            self._wake(touched(before, snap, some), snap)
            await asyncio.sleep(0)

    def _wake(self, change: Touched, snap: Snapshot) -> None:
        for node_id, tasks in sorted(change.tasks.items()):
            self._touch(node_id, tasks)
        for node_id in sorted(set[str]().union(*(self._concerned.get(key, ()) for key in change.values))):
            self._touch(node_id)
        for node_id in sorted(change.members):
            self._look_at_member(node_id, snap)
        if change.members and (managers := managers_in(snap)) != self._managers:
            self._managers = managers
            for session in self._sessions.values():
                session.managers(managers)
        if change.cluster and (period_s := _period_s(snap)) != self._period_s:
            self._period_s, self._longest_s = period_s, max(period_s, self._longest_s)
            for session in self._sessions.values():
                session.pace(period_s)

    def _known(self, snap: Snapshot) -> frozenset[str]:
        return frozenset(self._sessions).union(snap.nodes)

    def _look_at_member(self, node_id: str, snap: Snapshot) -> None:
        node = snap.nodes.get(node_id)
        if node is None:
            self._liveness.forget(node_id)
            if (session := self._sessions.get(node_id)) is not None:
                session.end(NodeRemoved())
        elif node.status.state != "down" and node_id not in self._liveness:
            self._liveness.expect(node_id, within_s=grace_at_take_over(self._period_s))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for node_id in self._liveness.silent(self._monotonic()):
                logger.warning("node_silent", extra={"node_id": node_id})
                self._writer.shows(node_id, Presence(status=DOWN))
                if (session := self._sessions.get(node_id)) is not None:
                    session.end(SessionSilent())

    async def _member(self, node_id: str) -> Node:
        """Return the node; refuse one that is no member only as the leader that everybody agrees on."""
        node = self._store.committed.nodes.get(node_id)
        if node is None:
            await self._confirm()
            node = self._store.committed.nodes.get(node_id)
        if node is None:
            raise NodeRemoved
        return node

    def _touch(self, node_id: str, tasks: Collection[str] | None = None) -> None:
        if (session := self._sessions.get(node_id)) is not None:
            session.touch(tasks)

    def _notify(self, node_id: str, notice: Notice) -> bool:
        session = self._sessions.get(node_id)
        if session is not None:
            session.notify(notice)
        return session is not None

    def _note_references(self, session: Session | None, keys: frozenset[ValueKey], node_id: str = "") -> None:
        """Keep the index of who has to hear of a secret or config."""
        if session is not None:
            node_id = session.node_id
            if self._sessions.get(node_id) is not session:
                return
        before = self._refers.pop(node_id, frozenset())
        for key in before - keys:
            self._concerned[key].discard(node_id)
            if not self._concerned[key]:
                del self._concerned[key]
        for key in keys - before:
            self._concerned[key].add(node_id)
        if keys:
            self._refers[node_id] = keys

    def _not_leading(self) -> NotLeader:
        return NotLeader(*self._leader())


def managers_in(snap: Snapshot) -> tuple[ManagerAddress, ...]:
    """Return where the managers of a cluster answer."""
    return tuple(
        ManagerAddress(node_id=node.id, addr=node.manager_status.addr)
        for _, node in sorted(snap.nodes.items())
        if node.manager_status is not None and node.manager_status.addr
    )


def _period_s(snap: Snapshot) -> float:
    cluster = snap.cluster
    period_ns = cluster.spec.dispatcher.heartbeat_period if cluster is not None else 0
    shortest, longest = PERIODS_S
    return min(max(period_ns / SECOND_NS, shortest), longest) if period_ns else DEFAULT_PERIOD_S


def _cluster_id(store: Store) -> str:
    cluster = store.committed.cluster
    if cluster is None:
        raise Unavailable("the cluster is not set up yet: try again in a moment")
    return cluster.id


def _address(text: str) -> str:
    """Return an IP address as it is written; "" for anything else."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _checked(hello: Hello) -> NodeDescription:
    """Return what a node says of itself.  Raises `NotUnderstood`."""
    if hello.protocol != PROTOCOL:
        raise NotUnderstood(
            f"this node speaks version {hello.protocol} of the session protocol and its manager version {PROTOCOL}: "
            "run one version of vault on every node"
        )
    _check_size(hello.description)
    return hello.description


def _check_size(description: NodeDescription) -> None:
    if len(msgspec.msgpack.encode(description)) > DESCRIPTION_BYTES:
        raise NotUnderstood("the description of this node is longer than 64 KiB: give it fewer labels")

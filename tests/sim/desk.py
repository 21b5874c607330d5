"""The leader's side of nodes: their sessions, what they report, and which of them have fallen silent.

What `vault.dispatcher.service` and `writer` do, in virtual time; `assignments` and `reports` are the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.sim.session import Session
from vault.dispatcher.assignments import touched
from vault.dispatcher.liveness import TAKE_OVER_S
from vault.dispatcher.reports import observed
from vault.dispatcher.writer import GATHER_S
from vault.model.node import NodeDescription, NodeStatus
from vault.model.task import TaskStatus
from vault.store.changes import Change, Put
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.agent import Agent
    from tests.sim.leader import Leader

SILENT_S = 8.0  # A node that says nothing for so long is down.


class Desk:
    """The sessions of one leadership."""

    def __init__(self, leader: Leader) -> None:
        self.world = leader.world
        self.clock = leader.clock
        self.leader = leader
        self.sessions: dict[str, Session] = {}
        self._reports: dict[tuple[str, str], TaskStatus] = {}  # To be written, by node and task.
        self._presence: dict[str, tuple[NodeStatus, NodeDescription | None]] = {}
        self._written: list[tuple[Session, int]] = []
        self._gathering = False

    def open(self) -> None:
        """Expect every node that is not down."""
        for node_id, node in sorted(self.world.store.snap.nodes.items()):
            if node.status.state != "down":
                self.clock.after(TAKE_OVER_S, self._missed, node_id)

    def close(self) -> None:
        """Nodes notice sooner or later that nobody is there any more."""
        for session in self.sessions.values():
            self.clock.after(self.clock.between(0.0, 3.0), session.breaks)

    def noticed(self, before: Snapshot, after: Snapshot) -> None:
        """Wake the sessions that a commit concerns."""
        keys = after.changed_since(before)
        assert keys is not None
        change = touched(before, after, keys)
        for node_id, tasks in sorted(change.tasks.items()):
            if (session := self.sessions.get(node_id)) is not None:
                session.touch(tasks)
        for session in self.sessions.values() if change.values else ():
            if session.view.refers & change.values:
                session.touch()
        for node_id in sorted(change.members):
            if node_id not in after.nodes and (gone := self.sessions.pop(node_id, None)) is not None:
                gone.agent.is_removed(gone)

    def welcome(self, agent: Agent) -> Session | None:
        """Begin a node's session; None for a node that is no member any more."""
        node_id = agent.machine.id
        if node_id not in self.world.store.snap.nodes:
            return None
        if (older := self.sessions.get(node_id)) is not None:
            older.breaks()
        session = self.sessions[node_id] = Session(self, agent)
        self._presence[node_id] = (NodeStatus(state="ready", addr=agent.machine.addr), agent.machine.description)
        self._gather()
        session.touch()
        return session

    def ended(self, session: Session) -> None:
        """A session has broken: the node has some time to begin another."""
        if self.sessions.get(session.node_id) is session:
            del self.sessions[session.node_id]
            self.clock.after(SILENT_S, self._missed, session.node_id)

    def _missed(self, node_id: str) -> None:
        if self.leader.alive and node_id not in self.sessions:
            self._presence[node_id] = (NodeStatus(state="down", message="heartbeat failure"), None)
            self._gather()

    def reported(self, session: Session, number: int, statuses: Sequence[tuple[str, TaskStatus]]) -> None:
        """Take a report in; it is acknowledged once it is written."""
        for task_id, status in statuses:
            before = self._reports.get((session.node_id, task_id))
            if before is None or before.state <= status.state:
                self._reports[session.node_id, task_id] = status
        self._written.append((session, number))
        self._gather()

    def _gather(self) -> None:
        if not self._gathering:
            self._gathering = True
            self.clock.after(self.clock.between(0.0, GATHER_S), self._write)

    def _write(self) -> None:
        """Commit what nodes said: many nodes, few commits."""
        if not self.leader.alive:
            return
        self._gathering = False
        presence, reports, written = self._presence, self._reports, self._written
        self._presence, self._reports, self._written = {}, {}, []

        def build(snap: Snapshot) -> list[Change]:
            seen: list[Change] = [
                put for (node_id, i), status in reports.items() for put in observed(snap, node_id, i, status)
            ]
            return seen + [put for node_id, how in presence.items() for put in shown(snap, node_id, *how)]

        self.world.store.submit("nodes", build)
        for session, number in written:
            session.acknowledge(number)


def shown(snap: Snapshot, node_id: str, status: NodeStatus, description: NodeDescription | None) -> list[Put]:
    """Return the change that shows a node so; without a description it stays what it said it is."""
    node = snap.nodes.get(node_id)
    if node is None:
        return []
    new = replace(
        node,
        status=replace(status, addr=status.addr or node.status.addr),
        description=description or node.description,
    )
    return [] if node == new else [Put(new)]

"""A node's session with one leadership: what is told in order until it breaks, and reports the other way.

A message that is lost breaks the session a moment later, or is noticed as a gap by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace as replaced
from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from vault.dispatcher.assignments import NodeView, ValueKey, Wanted, answered, difference
from vault.dispatcher.driven import Asked
from vault.dispatcher.sealing import refused
from vault.model.base import from_s
from vault.model.registry_auth import RegistryAuth
from vault.model.task import State, TaskStatus
from vault.rpc.messages import Assignments, Report, SealedValue

if TYPE_CHECKING:
    from tests.sim.agent import Agent
    from tests.sim.desk import Desk
    from tests.sim.driver import Question

GATHER_S = 0.05  # As `vault.dispatcher.session`.


class Session:
    """One connection."""

    def __init__(self, desk: Desk, agent: Agent) -> None:
        self.desk = desk
        self.agent = agent
        self.node_id = agent.machine.id
        self.epoch = desk.leader.epoch
        self.view = NodeView()
        self.asked: Asked[Question] = Asked(lambda wanted, snap: self.desk.world.driver.ask(self, wanted, snap))
        self.passed_on: set[ValueKey] = set()  # Values that a driver gave.
        self.open = True
        self._clock = desk.clock
        self._sequence = 0
        self._complete = False  # Whether the full set was told to its end.
        self._touched = False
        self._changed: set[str] | None = None  # Tasks to look at; None = everything.
        self._arrives_s = 0.0  # When the last message arrives; none overtakes another.

    def touch(self, tasks: Collection[str] | None = None) -> None:
        """Look soon whether there is news for the node, of some tasks or (None) of anything."""
        if tasks is None:
            self._changed = None
        elif self._changed is not None:
            self._changed.update(tasks)
        if not self._touched:
            self._touched = True
            self._clock.after(self._clock.between(0.0, GATHER_S), self._assign)

    def _assign(self) -> None:
        self._touched = False
        if not (self.open and self.desk.leader.alive):
            return
        snap = self.desk.world.store.snap
        changed, self._changed = self._changed, set()
        after, told = difference(self.view, snap, self.node_id, changed)
        told = replaced(told, put_values=tuple(sorted(told.put_values, key=attrgetter("key"))))  # In every process so.
        if unanswered := self.asked.ask(told.put_values, snap):
            after, told = answered(self.view, after, told, unanswered, snap)
        message = Assignments(
            full=not self._sequence,
            complete=self._complete or not unanswered,
            generation=1,
            counter=self.epoch,
            applies_to=self._sequence,
            sequence=self._sequence + 1,
            put_tasks=tuple(sorted(told.put_tasks, key=attrgetter("id"))),  # Sets are ordered anew in each process.
            remove_tasks=tuple(sorted(told.remove_tasks)),
            put_values=tuple(map(self._sealed, told.put_values)),
            remove_values=tuple(sorted(told.remove_values)),
        )
        self.view = after
        if message.empty and (self._complete or unanswered):
            return
        self._sequence, self._complete = message.sequence, message.complete
        self.desk.world.judge.told(self.node_id, snap, message)
        self._carry(self.agent.take, self, message)

    def _sealed(self, wanted: Wanted) -> SealedValue:
        """Return a value as it travels, in the clear here; of those that are stored, the bytes are no matter."""
        value = refused(wanted, "")
        if isinstance(wanted.obj, RegistryAuth):
            return replace(value, payload=f"{wanted.obj.service_id} {wanted.obj.id}".encode())
        if wanted.task is None:
            return value
        answer = self.asked.answer(wanted.key)
        self.asked.forget(wanted.key)
        self.passed_on.add(wanted.key)
        return replace(value, error=answer) if isinstance(answer, str) else replace(value, payload=answer.reveal())

    def report(self, report: Report) -> None:
        """Carry a report to the leader; it may come twice."""
        if self.desk.world.faulty and self._clock.chance(0.004):
            report = replace(report, statuses=(*report.statuses, *self._lie()))
        twice = self.desk.world.faulty and self._clock.chance(0.02)
        for _ in range(1 + twice):
            self._carry(self._reported, report)

    def _lie(self) -> tuple[tuple[str, TaskStatus], ...]:
        """Return what a node says of a task that is not its own."""
        tasks = self.desk.world.store.snap.tasks
        others = [task_id for task_id in sorted(tasks) if tasks[task_id].node_id != self.node_id]
        if not others:
            return ()
        now = from_s(self._clock.now_s)
        return ((self._clock.random.choice(others), TaskStatus(timestamp=now, state=State.FAILED)),)

    def _reported(self, report: Report) -> None:
        if self.desk.leader.alive:
            self.desk.reported(self, report.number, report.statuses)

    def acknowledge(self, number: int) -> None:
        """Tell the node that a report is written."""
        self._carry(self.agent.acknowledged, self, number)

    def _carry(self, deliver: Callable[..., object], *what: object) -> None:
        if not (self.open and self.agent.machine.linked):
            return
        if self.desk.world.faulty and self._clock.chance(0.01):
            self._clock.after(self._clock.between(0.0, 2.0), self.breaks)
            return
        delay_s = self._clock.between(0.001, 0.1) * self.agent.machine.distance
        self._arrives_s = max(self._arrives_s, self._clock.now_s + delay_s)
        self._clock.after(self._arrives_s - self._clock.now_s, deliver, *what)

    def breaks(self) -> None:
        """End, at both ends."""
        if self.open:
            self.open = False
            self.asked.drop()
            self.desk.ended(self)
            self.agent.broken(self)

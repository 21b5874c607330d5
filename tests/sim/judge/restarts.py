"""A task is replaced as often, and as soon, as its restart policy says, whoever leads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.sim.judge.oracle import policy_of
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.service import DEFAULT_RESTART_DELAY_NS
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World

SLACK_S = 0.5  # Between a decision, by which the policy counts, and its commit.


@dataclass(slots=True)
class Slot:
    """The restarts of a slot under one version of its spec."""

    version: int
    made_s: list[float] = field(default_factory=list)


class Restarts:
    """Who replaced whom."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._slots: dict[str, Slot] = {}
        self._held_s: dict[str, float] = {}  # Task -> until when it has to wait at READY.
        self._down_s: dict[str, float] = {}  # Node -> since when it is down or gone.

    def committed(self, who: str, before: Snapshot, after: Snapshot, changes: Written) -> None:
        """Follow a commit."""
        now_s = self._world.clock.now_s
        for (kind, object_id), old, new in changes:
            if kind is Kind.NODE:
                if isinstance(new, Node) and new.status.state != "down":
                    self._down_s.pop(object_id, None)
                else:
                    self._down_s.setdefault(object_id, now_s)
            elif kind is Kind.TASK and isinstance(new, Task):
                if old is None:
                    self._made(before, after, new)
                elif isinstance(old, Task) and old.desired_state < State.RUNNING is new.desired_state:
                    self._released(new)

    def _released(self, task: Task) -> None:
        if self._world.clock.now_s < self._held_s.pop(task.id, 0.0):
            raise self._world.story.fail(f"{slot_of(task)} starts before its delay is over", task.id)

    def _made(self, before: Snapshot, after: Snapshot, new: Task) -> None:
        """A task was made: if it takes the place of one that ended by itself, the policy has to allow that."""
        now_s, slot = self._world.clock.now_s, slot_of(new)
        version = new.spec_version.index if new.spec_version else 0
        known = self._slots.get(slot)
        if new.update_started_at is not None or (old := self._replaced(before, after, new)) is None:
            self._slots[slot] = Slot(version)
            return
        if known is None or known.version != version:
            known = self._slots[slot] = Slot(version)
        policy, about = policy_of(old), (old.id, new.id, slot)
        if policy.condition == "none" or (policy.condition == "on-failure" and old.state is State.COMPLETE):
            raise self._world.story.fail(f"{slot} is replaced though its policy says no", *about)
        node = before.nodes.get(old.node_id)
        drained = node is not None and node.spec.availability == "drain"
        if not drained:
            delay_ns = DEFAULT_RESTART_DELAY_NS if policy.delay is None else policy.delay
            since_s = self._ended_s(old)
            self._held_s[new.id] = since_s + delay_ns / 1e9
        known.made_s.append(now_s)
        most = policy_of(new).max_attempts
        window_ns = policy_of(new).window
        if most:
            since_s = now_s - window_ns / 1e9 + SLACK_S if window_ns else 0.0
            if sum(1 for made_s in known.made_s if made_s > since_s) > most:
                raise self._world.story.fail(f"{slot} is replaced more often than {most} times", *about)

    def _ended_s(self, old: Task) -> float:
        """Return since when a task has ended or its node is lost."""
        ended_s = self._world.judge.updates.ended_s.get(old.id)
        return self._down_s.get(old.node_id, 0.0) if ended_s is None else ended_s

    def _replaced(self, before: Snapshot, after: Snapshot, new: Task) -> Task | None:
        """Return the task of the slot that was given up in the same commit; None when the slot was empty."""
        key = (new.service_id, new.slot, "" if new.slot else new.node_id)
        for task in after.tasks_in(*key):
            old = before.tasks.get(task.id)
            if old is not None and old.desired_state <= State.RUNNING < task.desired_state:
                return old
        return None

"""A task is replaced as often, and as soon, as its restart policy says, whoever leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.judge.oracle import is_satisfied, is_wanted, policy_of
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.service import DEFAULT_RESTART_DELAY_NS
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World

STARTED = (State.RUNNING, State.COMPLETE)
SLACK_S = 0.5  # Between a decision, by which the policy counts, and its commit.


class Restarts:
    """Who replaced whom."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.basis = Snapshot()  # What was last decided about.
        self._made_s: dict[str, tuple[float, ...]] = {}  # Task -> when it, and those before it, were replacements.
        self._delay_s: dict[str, float] = {}  # Task -> how long it is held.
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
                elif isinstance(old, Task):
                    if old.desired_state is State.READY and new.desired_state in STARTED:
                        self._released(new)
                    if new.stays_down and not old.stays_down:
                        self._ended_for_good(new)

    def _ended_for_good(self, task: Task) -> None:
        """A slot stays down only if the policy allows no other attempt."""
        policy = policy_of(task)
        if not may_be_replaced(task):
            return
        window_s = (policy.window or 0) / 1e9
        since_s = self._world.clock.now_s - window_s - SLACK_S if window_s else 0.0
        made_s = self._made_s.get(task.id, ())
        if not policy.max_attempts or sum(1 for at_s in made_s if at_s >= since_s) < policy.max_attempts:
            raise self._world.story.fail(f"{slot_of(task)} is given up after {len(made_s)} attempts", slot_of(task))

    def held_for_nothing(self, task: Task) -> bool:
        """Whether the delay of a task that is held is over, as late as it may have begun."""
        return self._world.clock.now_s > task.created_at.timestamp() + self._delay_s.get(task.id, 0.0) + SLACK_S

    def _released(self, task: Task) -> None:
        if self._world.clock.now_s < self._held_s.pop(task.id, 0.0):
            raise self._world.story.fail(f"{slot_of(task)} starts before its delay is over", task.id)

    def _made(self, before: Snapshot, after: Snapshot, new: Task) -> None:
        """A task was made: if it takes the place of one that ended by itself, the policy has to allow that."""
        slot = slot_of(new)
        replaced = self._replaced(before, after, new)
        if new.update_started_at is not None and all(
            old.update_started_at != new.update_started_at for old in replaced
        ):
            replaced = []  # An update exchanges them.
        if not replaced:
            return
        about = (*(old.id for old in replaced), new.id, slot)
        if not any(map(may_be_replaced, replaced)):
            raise self._world.story.fail(f"{slot} is replaced though its policy says no", *about)
        self._delay_s[new.id] = max(delay_s(self.basis, old) for old in replaced)
        self._held_s[new.id] = min(self._ended_s(old) + delay_s(self.basis, old) for old in replaced)
        if new.desired_state in STARTED:
            self._released(new)
        led = self._led_to(replaced, new)
        same = [self._made_s.get(old.id, ()) for old in led if old.spec_version == new.spec_version]
        self._count(min(same, key=len, default=()), new, about)
        self._told_of_failures(led, new, about)

    def _led_to(self, replaced: list[Task], new: Task) -> list[Task]:
        """Return of the tasks given up those whose place a new one takes.

        When both tasks of an update start-first end in one report, the one that was started first may have no attempt
        left.  It is given up for good, and the other replaced by its own policy, as if it had ended a moment later: a
        task of another spec is no attempt of the new one.  Where both only move, one takes the place of both.
        """
        others = {old.id for old in replaced}
        first = [old for old in replaced if old.beside in others and old.state.terminal]
        if new.beside or not first:
            return replaced
        for task in first:
            self._ended_for_good(task)
        return [old for old in replaced if old not in first]

    def _count(self, before_s: tuple[float, ...], new: Task, about: tuple[str, ...]) -> None:
        """Count a replacement; there are as many as the policy allows, within its window if it has one.

        before_s: when those that led to it were made; none: it is the first of its spec.
        """
        now_s, policy = self._world.clock.now_s, policy_of(new)
        made_s = self._made_s[new.id] = (*before_s, now_s)
        since_s = now_s - policy.window / 1e9 + SLACK_S if policy.window else 0.0
        made = sum(1 for at_s in made_s if at_s > since_s)
        if policy.max_attempts and made > policy.max_attempts:
            raise self._world.story.fail(f"{slot_of(new)} is replaced more than {policy.max_attempts} times", *about)

    def _told_of_failures(self, led: list[Task], new: Task, about: tuple[str, ...]) -> None:
        """What takes the place of another is told where those before it failed lately, and of nothing else."""
        if new.node_id or len(led) != 1:
            return
        (old,), now_s = led, self._world.clock.now_s
        told = [(failure.task_id, failure.node_id) for failure in new.failed_before]
        known = [(failure.task_id, failure.node_id, failure.at.timestamp()) for failure in old.failed_before]
        if old.state in (State.FAILED, State.REJECTED) and old.node_id:
            known.append((old.id, old.node_id, old.updated_at.timestamp()))
        if old.spec_version != new.spec_version:
            known = []
        must = [(task_id, node_id) for task_id, node_id, at_s in known[-25:] if at_s > now_s - 300.0 + SLACK_S]
        may = [(task_id, node_id) for task_id, node_id, at_s in known if at_s > now_s - 300.0 - SLACK_S]
        if not set(must) <= set(told) or not set(told) <= set(may):
            raise self._world.story.fail(f"{slot_of(new)} is told of failures {told}, not of {must}", *about)

    def _ended_s(self, old: Task) -> float:
        """Return since when a task has ended or its node is lost."""
        ended_s = self._world.judge.updates.ended_s.get(old.id)
        return self._down_s.get(old.node_id, 0.0) if ended_s is None else ended_s

    def _replaced(self, before: Snapshot, after: Snapshot, new: Task) -> list[Task]:
        """Return the tasks of the slot that were given up in the same commit; none when the slot was empty."""
        replaced = []
        for old in before.tasks_at(new.service_id, new.slot_key):
            now = after.tasks.get(old.id)
            if old.job_iteration == new.job_iteration and is_wanted(old) and (now is None or not is_wanted(now)):
                replaced.append(old)
        return replaced


def delay_s(basis: Snapshot, old: Task) -> float:
    """Return how long the task that takes a task's place is held; a drained node's may start at once."""
    node, delay_ns = basis.nodes.get(old.node_id), policy_of(old).delay
    if node is not None and node.spec.availability == "drain":
        return 0.0
    return (DEFAULT_RESTART_DELAY_NS if delay_ns is None else delay_ns) / 1e9


def may_be_replaced(task: Task) -> bool:
    """Whether a restart policy ever asks for another task."""
    return policy_of(task).condition != "none" and not is_satisfied(task)

"""Whoever waits is told why, and waits only as long as there is a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World


class Waiting:
    """The tasks that have no node yet."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: dict[str, Task] = {}
        self._fresh = False

    def committed(self, changes: Written) -> None:
        """Follow a commit."""
        for (kind, object_id), _, new in changes:
            self._fresh = True
            if kind is not Kind.TASK:
                continue
            if isinstance(new, Task) and new.state < State.ASSIGNED and oracle.is_wanted(new):
                self._tasks[object_id] = new
            else:
                self._tasks.pop(object_id, None)

    def at_rest(self, snap: Snapshot) -> None:
        """The leader has nothing to do: check everybody who waits, one of each kind."""
        if not self._fresh:
            return
        self._fresh = False
        told: dict[tuple[object, ...], str] = {}
        for task in self._tasks.values():
            why, group = task.status.err, (task.service_id, task.spec_version, task.node_id, task.state)
            if not why:
                raise self._world.story.fail(f"{slot_of(task)} waits and nobody says why", task.id, task.service_id)
            if group in told:
                if told[group] != why:
                    raise self._world.story.fail(f"{slot_of(task)} waits for another reason than its like", task.id)
                continue
            told[group] = why
            if task.state is State.PENDING:
                self._check(snap, task)

    def _check(self, snap: Snapshot, task: Task) -> None:
        known = oracle.reason(snap, task)
        about = (task.id, task.service_id)
        if not known:
            raise self._world.story.fail(f"{slot_of(task)} could be placed and waits: {task.status.err}", *about)
        for part in known.split(", "):
            count, _, why = part.partition(" ")
            number = "1 node" if count == "1" else f"{count} nodes"
            said = f"{number} {why}" if why.startswith("not ") else f"{why} on {number}"
            if part != "no node" and (why if why.startswith("max ") else said) not in task.status.err:
                raise self._world.story.fail(
                    f"{slot_of(task)} waits for {known}, and is told: {task.status.err}", *about
                )

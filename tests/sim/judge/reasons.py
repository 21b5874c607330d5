"""Whoever waits is told why, and waits only as long as there is a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from tests.sim.judge.depends import waits
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World


class Waiting:
    """Whatever waits."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: dict[str, Task] = {}  # Those that have no node yet,
        self._held: dict[str, Task] = {}  # those that may not start yet,
        self._unfit: set[str] = set()  # and the nodes that must have none.
        self._fresh = False
        self._turn = 0

    def committed(self, changes: Written) -> None:
        """Follow a commit."""
        for (kind, object_id), _, new in changes:
            self._fresh = True
            if isinstance(new, Node):
                unfit = new.status.state == "down" or new.spec.availability == "drain"
                (self._unfit.add if unfit else self._unfit.discard)(object_id)
            elif kind is Kind.NODE:
                self._unfit.discard(object_id)
            if kind is not Kind.TASK:
                continue
            if isinstance(new, Task) and new.state < State.ASSIGNED and oracle.is_wanted(new):
                self._tasks[object_id] = new
            else:
                self._tasks.pop(object_id, None)
            if isinstance(new, Task) and new.desired_state is State.READY and not new.state.terminal:
                self._held[object_id] = new
            else:
                self._held.pop(object_id, None)

    def at_rest(self, snap: Snapshot) -> None:
        """The leader has nothing to do: check those who wait."""
        if not self._fresh:
            return
        self._fresh = False
        told: dict[tuple[object, ...], Task] = {}
        for task in self._tasks.values():
            if not task.status.err:
                raise self._world.story.fail(f"{slot_of(task)} waits and nobody says why", task.id, task.service_id)
            like = told.setdefault((task.service_id, task.spec_version, task.node_id, task.state), task)
            if like.status.err != task.status.err:
                raise self._world.story.fail(f"{slot_of(task)} waits for another reason than its like", task.id)
        pending = [task for task in told.values() if task.state is State.PENDING]
        if pending:  # One each time; at the end, all.
            self._turn += 1
            self._check(snap, pending[self._turn % len(pending)])
        for task in self._held.values():
            self._check_held(snap, task)
        for node_id in self._unfit:
            for task in snap.tasks_on(node_id):
                if task.live and task.state >= State.ASSIGNED:
                    raise self._world.story.fail(f"{slot_of(task)} is left on {node_id}", task.id, node_id)

    def _check_held(self, snap: Snapshot, task: Task) -> None:
        """A task is held at READY for its delay, or while another of its slot may run."""
        if waits(snap, snap.services.get(task.service_id)):
            if task.state is State.READY and not task.status.err:
                raise self._world.story.fail(f"{slot_of(task)} waits for another service and nobody says so", task.id)
            return
        others = [one for one in snap.tasks_at(task.service_id, task.slot_key) if one.id != task.id]
        judge = self._world.judge
        blocked = any(one.id != task.beside and judge.containers.may_run(snap, one) for one in others)
        if not blocked and judge.restarts.held_for_nothing(task):
            raise self._world.story.fail(f"{slot_of(task)} is held for nothing", task.id, slot_of(task))

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

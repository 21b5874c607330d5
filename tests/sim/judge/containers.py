"""Never two containers in one slot, unless nobody could know, or the order of an update allows it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.sim.judge.oracle import grace_s, is_wanted, overlap
from tests.sim.story import slot_of
from vault.agent.executors.port import Phase
from vault.agent.health import HealthStatus
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.machine import Machine
    from tests.sim.world import World

GIVE_UP_S, GIVE_UP_AFTER_GRACE_S = 60.0, 30.0  # How long a task that is to stop is waited for.


class Containers:
    """What runs, slot by slot."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.running: defaultdict[str, dict[str, str]] = defaultdict(dict)  # Slot -> task -> machine.
        self._given_up: set[str] = set()  # Tasks of nodes that were down or gone: their containers may be alive.

    def committed(self, who: str, before: Snapshot, after: Snapshot, changes: Written) -> None:
        """Note whose node was given up; what a node says has ended does not run."""
        for (kind, object_id), old, new in changes:
            if kind is Kind.NODE and (new is None or (isinstance(new, Node) and new.status.state == "down")):
                self._given_up.update(task.id for task in before.tasks_on(object_id))
            elif kind is Kind.TASK and isinstance(new, Task) and new.state is State.ASSIGNED and lost(after, new):
                self._given_up.add(new.id)  # Its node was lost between decision and commit.
            elif (
                who == "nodes"
                and isinstance(new, Task)
                and new.state.terminal
                and object_id in self.running[slot_of(new)]
            ):
                raise self._world.story.fail(f"{slot_of(new)} is {new.state.value}, and runs", object_id)
            elif who == "nodes" and isinstance(new, Task) and isinstance(old, Task) and new.state is not old.state:
                self._check_said(new)
            elif who == "nodes" and new is None and isinstance(old, Task):
                self._check_gone(after, old)

    def _check_gone(self, after: Snapshot, task: Task) -> None:
        """A task whose node says that it has ended leaves at once only with its service, and if it does not run."""
        if task.desired_state is not State.REMOVE or task.service_id in after.services:
            raise self._world.story.fail(f"{slot_of(task)} leaves, and was not to go with its service", task.id)
        if task.id in self.running[slot_of(task)]:
            raise self._world.story.fail(f"{slot_of(task)} leaves, and runs", task.id)

    def _check_said(self, task: Task) -> None:
        """A node says that a task is up only once its check says so, and that it was shut down only if it was to be."""
        machine = self._world.machines.get(task.node_id)
        container = machine.containers.get(task.id) if machine is not None else None
        if task.state is State.RUNNING and container is not None and container.phase is Phase.RUNNING:
            if container.health is not None and container.health.status is HealthStatus.STARTING:
                raise self._world.story.fail(f"{slot_of(task)} serves before it is well", task.id, task.node_id)
        elif task.state is State.SHUTDOWN and is_wanted(task):
            raise self._world.story.fail(f"{slot_of(task)} was shut down, and nobody asked for that", task.id)

    def started(self, machine: Machine, task: Task) -> None:
        """A container begins to run."""
        slot = slot_of(task)
        others = self.running[slot]
        for other_id, where in others.items():
            if not self._may_run_beside(other_id, task):
                raise self._world.story.fail(
                    f"slot {slot} runs twice: on {where} and on {machine.id}", slot, machine.id, where, task.service_id
                )
        others[task.id] = machine.id
        if task.numbered:
            self._check_job(task)

    def _check_job(self, task: Task) -> None:
        """No more tasks of a job run at a time than may."""
        service = self._world.store.snap.services.get(task.service_id)
        job = service.spec.mode.replicated_job if service is not None else None
        if service is None or job is None or task.job_iteration != service.job_iteration:
            return
        own = [slot for name, slot in self.running.items() if slot and name.startswith(f"{task.service_id}.")]
        busy = [slot for slot in own if task.id in slot or any(not self._is_given_up(one) for one in slot)]
        if len(busy) > (job.max_concurrent or 0):
            raise self._world.story.fail(
                f"{service.id} runs {len(busy)} at a time, not {job.max_concurrent}", service.id
            )

    def stopped(self, machine: Machine, task: Task) -> None:
        """A container runs no more."""
        self.running[slot_of(task)].pop(task.id, None)

    def _may_run_beside(self, other_id: str, task: Task) -> bool:
        """Whether a container may be alive while another of its slot starts."""
        if self._is_given_up(other_id) or task.id in self._given_up:
            return True
        snap = self._world.store.snap
        return overlap(snap.tasks.get(task.id, task), snap.tasks[other_id])

    def may_run(self, snap: Snapshot, task: Task) -> bool:
        """Whether a container of a task may be running where it can be waited for."""
        if not State.ASSIGNED <= task.state <= State.RUNNING or lost(snap, task):
            return False
        return task.stop_asked_at is None or not self._is_overdue(task)

    def _is_overdue(self, task: Task) -> bool:
        """Whether a task that was asked to stop is waited for no longer."""
        asked, limit_s = task.stop_asked_at, max(GIVE_UP_S, grace_s(task) + GIVE_UP_AFTER_GRACE_S)
        return asked is not None and asked.timestamp() + limit_s <= self._world.clock.now_s

    def _is_given_up(self, task_id: str) -> bool:
        """Whether nobody waits for a container any more that may be alive."""
        task = self._world.store.snap.tasks.get(task_id)
        if task is None or task.state.terminal or task_id in self._given_up:
            return True  # The leader knows it has ended, has given it up (as SwarmKit does), or could not see it.
        return self._is_overdue(task)


def lost(snap: Snapshot, task: Task) -> bool:
    """Whether the node of a task is down or gone."""
    node = snap.nodes.get(task.node_id)
    return node is None or node.status.state == "down"

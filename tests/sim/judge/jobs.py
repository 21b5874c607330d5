"""Jobs: what is done is done once, and no more tasks run at a time than may."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from tests.sim.story import slot_of
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.judge.decisions import Draft
    from tests.sim.world import World


class Completed:
    """Slots of jobs that have completed lately."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fresh: dict[str, Task] = {}

    def committed(self, changes: Written) -> None:
        """Follow a commit."""
        for _, old, new in changes:
            if isinstance(new, Task) and new.done and not (isinstance(old, Task) and old.done):
                self._fresh[slot_of(new)] = new

    def at_rest(self, snap: Snapshot) -> None:
        """The leader has nothing to do: what has completed is not done another time."""
        for done in self._fresh.values():
            service = snap.services.get(done.service_id)
            if service is None or done.job_iteration != service.job_iteration:
                continue
            for task in snap.tasks_at(done.service_id, done.slot_key):
                if task.live and task.job_iteration == done.job_iteration:
                    raise self._world.story.fail(f"{slot_of(task)} goes on though it has completed", slot_of(task))
        self._fresh.clear()


def check_job(world: World, draft: Draft, service: Service) -> None:
    """Check a job for which a decision makes tasks."""
    slots: dict[int | str, list[Task]] = defaultdict(list)
    for task in draft.tasks_of(service.id):
        slots[task.slot_key].append(task)
    for task in (task for tasks in slots.values() for task in tasks if draft.is_new(task)):
        if any(one.done and one.job_iteration == service.job_iteration for one in slots[task.slot_key]):
            raise world.story.fail(f"{slot_of(task)} is begun again though it has completed", task.id, service.id)
        node = draft.snap.nodes.get(task.node_id)
        if service.spec.mode.global_job is not None and (node is None or not begins_on(service, node.created_at)):
            raise world.story.fail(f"{slot_of(task)} is begun on a node that came after the run", task.id, service.id)
    job = service.spec.mode.replicated_job
    if job is None:
        return
    at_a_time, total = job.max_concurrent or 0, job.total_completions or 0
    busy = [key for key, tasks in slots.items() if any(is_busy(draft, task) for task in tasks)]
    if len(busy) > at_a_time and any(
        draft.is_new(task) and not replaced(slots[task.slot_key], task) for key in busy for task in slots[key]
    ):
        raise world.story.fail(f"{service.id} has {len(busy)} tasks at a time, not {at_a_time}", service.id)
    if any(key >= total for key in busy if any(map(draft.is_new, slots[key])) and isinstance(key, int)):
        raise world.story.fail(f"{service.id} begins more than {total} tasks", service.id)


def begins_on(service: Service, joined: object) -> bool:
    """Whether a node was there when the present run of a job began."""
    return service.job_status is not None and joined <= service.job_status.last_execution


def is_busy(draft: Draft, task: Task) -> bool:
    """Whether a task is to run, or may be running where it can be seen."""
    if oracle.is_wanted(task):
        return not task.state.terminal
    node = draft.snap.nodes.get(task.node_id)
    return (
        State.ASSIGNED <= task.state <= State.RUNNING
        and node is not None
        and node.status.state != "down"
        and task.stop_asked_at is None
    )


def replaced(slot: list[Task], task: Task) -> bool:
    """Whether a task takes the place of another of its slot."""
    return any(one.id != task.id for one in slot)

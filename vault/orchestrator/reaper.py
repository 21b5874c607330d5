"""The reaper: tasks that are no longer wanted, and history beyond its limit, leave the store.

Pure but for a queue, which any snapshot can rebuild.  Called by `vault.orchestrator.rounds` as the stage after
`services`.
"""

from collections.abc import Iterator
from itertools import islice

from vault.model.ids import Kind, NewID
from vault.model.service import Service
from vault.model.task import State, Task
from vault.orchestrator.progress import IN_PROGRESS, PAUSED, is_own
from vault.orchestrator.work import SlotKey, made
from vault.store.changes import Delete
from vault.store.decision import Decision
from vault.store.snapshot import NO_IDS, Key, Snapshot, members

DEFAULT_LIMIT = 5
MAX_DELETED = 256  # Tasks in one decision,
MAX_LOOKS = 1_000  # and so many looked at for it, about 5 ms.


class Reaper:
    """Looks at the slots of tasks that changed, and at all of a service whose limit or update may be another."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}  # Tasks to look at.

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        """Return the tasks to delete, as many as one decision takes."""
        if changed is None:
            self._ids = {}
        self._ids.update(dict.fromkeys(sorted(concerned(snap, changed))))
        doomed: dict[str, Task] = {}
        seen: set[tuple[str, SlotKey]] = set()
        for task_id in list(islice(self._ids, MAX_LOOKS)):
            if len(doomed) >= MAX_DELETED:
                break
            del self._ids[task_id]
            if (task := snap.tasks.get(task_id)) is None:
                continue
            if task.desired_state is State.REMOVE and has_ended(task):
                doomed[task_id] = task
            if (slot := (task.service_id, task.slot_key)) not in seen:
                seen.add(slot)
                doomed.update((old.id, old) for old in too_old(snap, *slot))
        return Decision(
            changes=tuple(Delete(Kind.TASK, task.id, task.version.index) for _, task in sorted(doomed.items())),
            ask_again_s=now_s if self._ids else None,
        )


def concerned(snap: Snapshot, changed: set[Key] | None) -> Iterator[str]:
    """Yield the tasks that changed, and those of services that did; one by one, so that other threads have turns."""
    if changed is None:
        yield from snap.tasks
    for kind, object_id in changed or ():
        if kind is Kind.TASK:
            yield object_id
        elif kind is Kind.SERVICE:
            yield from members(snap.by_service.get(object_id, NO_IDS))


def too_old(snap: Snapshot, service_id: str, key: SlotKey) -> list[Task]:
    """Return the tasks of a slot beyond what is kept of its history."""
    service = snap.services.get(service_id)
    if service is None or (limit := limit_of(snap, service)) < 0:
        return []
    tasks = list(snap.tasks_at(service_id, key))
    return beyond_limit(service, tasks, limit) if len(tasks) > limit else []


def has_ended(task: Task) -> bool:
    """Whether a task that is not wanted has ended, or never began: nothing of it is on a node."""
    return task.state.terminal or (task.state < State.ASSIGNED and not task.wanted)


def beyond_limit(service: Service, tasks: list[Task], limit: int) -> list[Task]:
    """Return the oldest ended tasks of a slot, as many as it has too many; running ones count and stay.

    Kept whatever the limit: tasks the orchestrator has yet to handle, the one that fills the slot though it ended, what
    a job's present run has completed, and those by which an update is judged, or was when it was paused: its message
    names one of them.
    """
    status = service.update_status
    judged = status if status is not None and status.state in (*IN_PROGRESS, *PAUSED) else None
    old = [
        task
        for task in sorted(tasks, key=made)
        if has_ended(task)
        and not task.wanted
        and not task.stays_down
        and not (task.done and task.job_iteration == service.job_iteration)
        and not (judged is not None and is_own(task, judged))
    ]
    return old[: len(tasks) - limit]


def limit_of(snap: Snapshot, service: Service) -> int:
    """Return how many tasks of a slot are kept; enough to show every restart that the policy allows."""
    policy = service.spec.task_template.restart_policy
    if policy is not None and policy.max_attempts:
        return policy.max_attempts + 1
    return snap.cluster.history_limit if snap.cluster is not None else DEFAULT_LIMIT

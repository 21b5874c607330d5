"""The reaper: tasks that are no longer wanted, and history beyond its limit, leave the store.

Pure.  Called by `vault.orchestrator.rounds` as the stage after `services`.
"""

from collections.abc import Iterator

from vault.model.ids import Kind, NewID
from vault.model.service import Service
from vault.model.task import State, Task
from vault.orchestrator.progress import IN_PROGRESS, PAUSED, is_own
from vault.orchestrator.work import made
from vault.store.changes import Delete
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot

DEFAULT_LIMIT = 5


def reap(snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
    """Return the tasks to delete, of the slots that changed, and of services whose limit or update may be another."""
    ids = snap.tasks if changed is None else concerned(snap, changed)
    touched = [task for task in map(snap.tasks.get, ids) if task is not None]
    doomed = {task.id: task for task in touched if task.desired_state is State.REMOVE and has_ended(task)}
    for service_id, key in {(task.service_id, task.slot_key) for task in touched}:
        service = snap.services.get(service_id)
        if service is not None and (limit := limit_of(snap, service)) >= 0:
            tasks = list(snap.tasks_at(service_id, key))
            if len(tasks) > limit:
                doomed.update((task.id, task) for task in beyond_limit(service, tasks, limit))
    return Decision(changes=tuple(Delete(Kind.TASK, task.id, task.version.index) for _, task in sorted(doomed.items())))


def concerned(snap: Snapshot, changed: set[Key]) -> Iterator[str]:
    """Yield the tasks that changed, and those of services that did."""
    for kind, object_id in changed:
        if kind is Kind.TASK:
            yield object_id
        elif kind is Kind.SERVICE:
            yield from snap.by_service.get(object_id, ())


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

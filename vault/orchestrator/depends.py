"""`depends_on`: tasks are held at READY until what their service waits for has been so once.  An extension of ours.

Pure.  What a service waits for is in its label `vault.stack.depends-on`; that all of it has been so is noted on the
service, so that neither a new leader nor what becomes of the others later holds anything again.  A changed task is
another matter (`vault.store.rules_service` takes the note away): until then an update to it exchanges nothing, and the
tasks before it run on.  Called by `services` for one service at a time; `restart` releases no task while one waits.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from vault.model.depends import Condition, Dependency, dependencies_of
from vault.model.errors import InvalidArgument
from vault.model.ids import Kind
from vault.model.service import Service
from vault.model.task import State, Task
from vault.orchestrator.work import Work
from vault.store.snapshot import Key, Snapshot

WAITING = "waiting for service "  # How the reason begins on a task that waits.
_WORDS = {
    Condition.STARTED: "to be running",
    Condition.HEALTHY: "to be healthy",
    Condition.COMPLETED: "to complete successfully",
}


def unmet(snap: Snapshot, service: Service) -> str:
    """Return the reason why a service's tasks must wait; "" when they need not."""
    if service.dependencies_met:
        return ""
    for one in _dependencies(service):
        found = snap.by_name(Kind.SERVICE, one.service)
        if not isinstance(found, Service) or found.spec.name != one.service:
            return f"{WAITING}{one.service}, which does not exist"
        if not is_met(snap, found, one.condition):
            return f"{WAITING}{one.service} {_WORDS[one.condition]}"
    return ""


def is_met(snap: Snapshot, service: Service, condition: Condition) -> bool:
    """Whether a condition is true of a service as its spec is now; tasks of an older one say nothing."""
    tasks = (task for task in snap.tasks_of(service.id) if is_current(service, task))
    match condition:
        case Condition.STARTED:
            return any(task.status.serves or task.state is State.COMPLETE for task in tasks)
        case Condition.HEALTHY:  # A task with a health check is RUNNING only once it was healthy.
            return any(task.status.serves for task in tasks)
        case Condition.COMPLETED:
            return has_completed(service, tasks)


def is_current(service: Service, task: Task) -> bool:
    """Whether a task is of a service's present spec, or of the present run of a job."""
    if service.is_job:
        return task.job_iteration == service.job_iteration
    wanted = service.spec.task_template
    if task.spec_version is not None and task.spec_version == service.spec_version:
        return True
    return replace(task.spec, placement=wanted.placement) == wanted


def has_completed(service: Service, tasks: Iterable[Task]) -> bool:
    """Whether each slot of a service has completed once; of a global one, each that has a task."""
    completed: dict[int | str, bool] = {}
    for task in tasks:
        done = task.state is State.COMPLETE
        if done or task.wanted or task.stays_down:
            completed[task.slot_key] = completed.get(task.slot_key, False) or done
    job = service.spec.mode.replicated_job
    least = service.replicas if job is None else job.total_completions or 0
    return len(completed) >= max(least, 1) and all(completed.values())


def note_met(work: Work) -> None:
    """Note on the service, once, that it has nothing to wait for any more, and take the reason from its tasks."""
    if work.waits_for or work.service.dependencies_met or not _dependencies(work.service):
        return
    work.put_service(replace(work.service, dependencies_met=True))
    for key in tuple(work.slots):
        for task in work.wanted(key):
            if task.status.err.startswith(WAITING):
                work.put(replace(task, status=replace(task.status, err="")))


def tell(work: Work) -> None:
    """Say on each task that could start but for that what it waits for."""
    for key in tuple(work.slots) if work.waits_for else ():
        for task in work.wanted(key):
            held = task.desired_state is State.READY and task.state is State.READY
            if held and task.status.err != work.waits_for:
                work.put(replace(task, status=replace(task.status, err=work.waits_for)))


class Waiting:
    """Which services wait for which others: a cache, made of what was looked at."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}  # By id of the one that waits.

    def note(self, work: Work) -> None:
        """Remember what a service that was looked at waits for."""
        if work.waits_for:
            self._names[work.service.id] = frozenset(one.service for one in _dependencies(work.service))
        else:
            self._names.pop(work.service.id, None)

    def concerned(self, snap: Snapshot, changed: set[Key]) -> list[str]:
        """Return the services whose waiting a change of these objects may end, or whose reason it may change."""
        if not self._names:
            return []
        self._names = {service_id: names for service_id, names in self._names.items() if service_id in snap.services}
        seen: set[str] = set()
        for kind, object_id in changed:
            if kind is Kind.TASK and (task := snap.tasks.get(object_id)) is not None:
                seen.add(task.service_name)
            elif kind is Kind.SERVICE:
                service = snap.services.get(object_id)
                if service is None:  # It is gone, and its name with it.
                    return list(self._names)
                seen.add(service.spec.name)
        return [service_id for service_id, names in self._names.items() if not names.isdisjoint(seen)]


def _dependencies(service: Service) -> tuple[Dependency, ...]:
    """Return what a service's label says; nothing for one that cannot be read, which no client may write."""
    try:
        return dependencies_of(service.spec.labels)
    except InvalidArgument:
        return ()

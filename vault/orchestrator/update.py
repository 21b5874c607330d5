"""Rolling updates, stop-first: tasks of an older spec are exchanged a few at a time, and watched.

Pure.  Makes one step of a task's life, (nothing) -> NEW, for the tasks that take over.  Where an update stands is in
the service's `update_status`; which tasks it made is in the tasks, so a new leader goes on where the old one stopped.
"""

from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from vault.model.base import SECOND_NS
from vault.model.service import (
    DEFAULT_MONITOR_NS,
    DEFAULT_UPDATE,
    EndpointSpec,
    Service,
    UpdateConfig,
    UpdateState,
    UpdateStatus,
)
from vault.model.task import State, Task
from vault.orchestrator.work import SlotKey, Work, after_ns, asked_to_stop
from vault.scheduler.constraint import node_matches, parse_stored

ROLLING_BACK = (UpdateState.ROLLBACK_STARTED, UpdateState.ROLLBACK_PAUSED, UpdateState.ROLLBACK_COMPLETED)
PAUSED = (UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED)
IN_PROGRESS = (UpdateState.UPDATING, UpdateState.ROLLBACK_STARTED)


@dataclass(slots=True)
class Progress:
    """An update as it stands: what is still to be exchanged, and the tasks it has made so far."""

    status: UpdateStatus
    config: UpdateConfig
    dirty: list[SlotKey]
    own: list[tuple[SlotKey, Task]]

    @property
    def monitor_ns(self) -> int:
        """How long a new task is watched."""
        return self.config.monitor or DEFAULT_MONITOR_NS

    @property
    def size(self) -> int:
        """How many slots the update is about."""
        return len({*self.dirty, *(key for key, _ in self.own)})


def advance(work: Work) -> None:
    """Take a service's update one step further, or start one when tasks are of an older spec."""
    status = current_status(work.service)
    if status is not None and status.state in PAUSED:
        return
    dirty = dirty_slots(work)
    if status is not None and status.state not in IN_PROGRESS:
        if not dirty:
            return
        status = None  # A node that was paused while the others were updated serves again.
    if status is None or status.started_at is None or status.spec_version is None:
        if not dirty and (status is None or status.state is UpdateState.UPDATING):
            return
        status = started(work, status)
        work.put_service(replace(work.service, update_status=status))
    own = [(key, task) for key in work.slots for task in work.tasks(key) if is_own(task, status)]
    progress = Progress(status=status, config=config_of(work.service, status), dirty=dirty, own=own)
    note_running(work, progress)
    if failed := failures(work, progress):
        limit = progress.config.max_failure_ratio
        if progress.config.failure_action != "continue" and len(failed) / progress.size > limit:
            pause(work, progress, failed[-1])
            return
    exchange(work, progress)
    if not progress.dirty and not settling(work, progress):
        complete(work, progress)


def is_own(task: Task, status: UpdateStatus) -> bool:
    """Whether an update has made the task."""
    return task.update_started_at == status.started_at and task.spec_version == status.spec_version


def is_due(work: Work) -> bool:
    """Whether an update has to begin for the slots looked at."""
    status = current_status(work.service)
    return (status is None or status.state not in (*PAUSED, *IN_PROGRESS)) and bool(dirty_slots(work))


def dirty_slots(work: Work) -> list[SlotKey]:
    """Return the slots whose task is to be exchanged, in order; on a paused node a global service keeps its task."""
    return [
        key
        for key in work.in_order()
        if any(is_dirty(work, task) for task in updatable(work, key)) and not is_paused(work, key)
    ]


def is_paused(work: Work, key: SlotKey) -> bool:
    """Whether a slot is that of a global service on a node that takes no new task for now."""
    node = work.snap.nodes.get(key) if isinstance(key, str) else None
    return node is not None and node.spec.availability == "pause"


def current_status(service: Service) -> UpdateStatus | None:
    """Return where the update to the service's present spec stands; None when there is none, or only an older one."""
    status = service.update_status
    if status is None or (status.spec_version is not None and status.spec_version != service.spec_version):
        return None
    return status


def config_of(service: Service, status: UpdateStatus) -> UpdateConfig:
    """Return how the tasks are to be exchanged."""
    spec = service.spec
    return (spec.rollback_config if status.state in ROLLING_BACK else spec.update_config) or DEFAULT_UPDATE


def started(work: Work, asked: UpdateStatus | None) -> UpdateStatus:
    """Return the status of an update that begins now; a rollback somebody asked for keeps its own words."""
    if asked is not None and asked.state is UpdateState.ROLLBACK_STARTED:
        return replace(asked, started_at=asked.started_at or work.now, spec_version=work.service.spec_version)
    return UpdateStatus(
        state=UpdateState.UPDATING,
        started_at=work.now,
        message="update in progress",
        spec_version=work.service.spec_version,
    )


def updatable(work: Work, key: SlotKey) -> list[Task]:
    """Return the tasks of a slot that an update may have to exchange: those wanted, or the last that ended for good."""
    wanted = work.wanted(key)
    newest = work.newest(key)
    if wanted or newest is None or not work.filled(key):
        return wanted
    return [newest]


def is_dirty(work: Work, task: Task) -> bool:
    """Whether a task is not what the service's present spec asks for."""
    service = work.service
    if task.spec_version is not None and task.spec_version == service.spec_version:
        return False
    if task.host_ports != host_ports(service.spec.endpoint_spec):
        return True
    wanted = service.spec.task_template
    if task.spec == wanted:
        return False
    if replace(task.spec, placement=wanted.placement) != wanted:
        return True
    node = work.node_of(task)  # Only the placement differs: a task on a node that it still allows may stay.
    constraints = wanted.placement.constraints if wanted.placement else ()
    return node is None or not node_matches(parse_stored(constraints), node)


def host_ports(endpoint: EndpointSpec | None) -> tuple[object, ...]:
    """Return the ports that tasks open on their nodes."""
    return tuple(port for port in (endpoint.ports if endpoint else ()) if port.publish_mode == "host")


def note_running(work: Work, progress: Progress) -> None:
    """Remember since when the update's tasks run; their failures are judged by it."""
    for n, (key, task) in enumerate(progress.own):
        if task.state is State.RUNNING and task.running_since is None:
            noted = replace(task, running_since=work.now)
            work.put(noted)
            progress.own[n] = (key, noted)


def failures(work: Work, progress: Progress) -> list[Task]:
    """Return the update's tasks that ended by themselves before, or not long enough after, they were running."""
    failed = [
        task
        for _, task in progress.own
        if task.state.terminal
        and task.stop_asked_at is None
        and (task.running_since is None or task.updated_at < after_ns(task.running_since, progress.monitor_ns))
    ]
    return sorted(failed, key=lambda task: task.updated_at)


def exchange(work: Work, progress: Progress) -> None:
    """Replace as many dirty slots as the update may have in hand at a time."""
    busy = sum(1 for key, task in progress.own if in_hand(work, progress, key, task))
    free = len(progress.dirty) if not progress.config.parallelism else progress.config.parallelism - busy
    for key in progress.dirty[: max(free, 0)]:
        # Held at READY: it is placed and prepared while the old one stops, and starts once that has ended.
        new = replace(work.new_task(key), update_started_at=progress.status.started_at)
        old = [asked_to_stop(replace(task, stays_down=False), work.now) for task in updatable(work, key)]
        work.put(*old, new)
        progress.own.append((key, new))
    del progress.dirty[: max(free, 0)]


def in_hand(work: Work, progress: Progress, key: SlotKey, task: Task) -> bool:
    """Whether the exchange of a slot is not over yet: its new task has to run, and then the delay to pass."""
    if task.state.terminal:
        since: datetime | None = task.updated_at
    elif task.desired_state > State.RUNNING:
        return False
    else:
        since = task.running_since
    if since is None:
        return True
    over_at = after_ns(since, progress.config.delay)
    if work.now < over_at:
        work.again(over_at)
        return True
    return False


def settling(work: Work, progress: Progress) -> bool:
    """Whether some task of the update has yet to run, or to have run as long as it is watched."""
    waiting = False
    for _, task in progress.own:
        if not task.live:
            continue
        if task.running_since is None:
            waiting = True
            continue
        watched_until = after_ns(task.running_since, watch_ns(progress))
        if work.now < watched_until:
            work.again(watched_until)
            waiting = True
    return waiting


def watch_ns(progress: Progress) -> int:
    """Return how long an update waits after its last task runs; as SwarmKit, a second more than a long delay."""
    delay_ns = progress.config.delay
    return progress.monitor_ns if delay_ns < progress.monitor_ns else delay_ns + SECOND_NS


def pause(work: Work, progress: Progress, failed: Task) -> None:
    """Stop exchanging tasks; the service stays as it is until its next update."""
    back = progress.status.state is UpdateState.ROLLBACK_STARTED
    status = replace(
        progress.status,
        state=UpdateState.ROLLBACK_PAUSED if back else UpdateState.PAUSED,
        message=f"{'rollback' if back else 'update'} paused due to failure or early termination of task {failed.id}",
    )
    work.put_service(replace(work.service, update_status=status))


def complete(work: Work, progress: Progress) -> None:
    """Declare an update done."""
    back = progress.status.state is UpdateState.ROLLBACK_STARTED
    status = replace(
        progress.status,
        state=UpdateState.ROLLBACK_COMPLETED if back else UpdateState.COMPLETED,
        completed_at=work.now,
        message="rollback completed" if back else "update completed",
    )
    work.put_service(replace(work.service, update_status=status))

"""Where an update of a service stands: what the store says of it, and the words for it.  Pure.

The memory of an update is the service's `update_status` (which update, since when, for how long) and its tasks
(`update_started_at` names the update that made one), so a new leader goes on where the old one stopped.  Used by
`update`, `judge` and `exchange`, and by stages that must not disturb an update.
"""

from dataclasses import dataclass
from datetime import datetime

from vault.model.service import (
    DEFAULT_MONITOR_NS,
    DEFAULT_UPDATE,
    Service,
    UpdateConfig,
    UpdateState,
    UpdateStatus,
)
from vault.model.task import Task
from vault.orchestrator.work import SlotKey, Work, after_ns
from vault.store.rules_update import watch_ns

ROLLING_BACK = (UpdateState.ROLLBACK_STARTED, UpdateState.ROLLBACK_PAUSED, UpdateState.ROLLBACK_COMPLETED)
PAUSED = (UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED)
IN_PROGRESS = (UpdateState.UPDATING, UpdateState.ROLLBACK_STARTED)


@dataclass(slots=True, kw_only=True)
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
    def watch_ns(self) -> int:
        """How long an update waits after its last task runs."""
        return watch_ns(self.config)

    @property
    def size(self) -> int:
        """How many slots the update is about."""
        return len({*self.dirty, *(key for key, _ in self.own)})

    @property
    def rolls_back(self) -> bool:
        """Whether it goes back to a former spec."""
        return self.status.state in ROLLING_BACK

    @property
    def noun(self) -> str:
        """What messages call it."""
        return "rollback" if self.rolls_back else "update"


def progress_of(work: Work, status: UpdateStatus, dirty: list[SlotKey]) -> Progress:
    """Return the update that `status` is about, with the tasks it has made."""
    own = [(key, task) for key in work.slots for task in work.tasks(key) if is_own(task, status)]
    return Progress(status=status, config=config_of(work.service, status.state), dirty=dirty, own=own)


def current_status(service: Service) -> UpdateStatus | None:
    """Return where the update to the service's present spec stands; None when there is none, or only an older one."""
    status = service.update_status
    if status is None or (status.spec_version is not None and status.spec_version != service.spec_version):
        return None
    return status


def has_begun(status: UpdateStatus) -> bool:
    """Whether an update has been given its start; a rollback is first asked for, then begun."""
    return status.started_at is not None and status.spec_version is not None


def is_in_progress(service: Service) -> bool:
    """Whether an update of the service is under way, or a rollback asked for."""
    return service.update_status is not None and service.update_status.state in IN_PROGRESS


def is_own(task: Task, status: UpdateStatus) -> bool:
    """Whether an update has made the task."""
    return task.update_started_at == status.started_at and task.spec_version == status.spec_version


def config_of(service: Service, state: UpdateState) -> UpdateConfig:
    """Return how tasks are exchanged in an update, or rollback, of that state."""
    spec = service.spec
    return (spec.rollback_config if state in ROLLING_BACK else spec.update_config) or DEFAULT_UPDATE


def due_at(status: UpdateStatus) -> datetime | None:
    """Return until when an update must be complete; None when it has no deadline."""
    if not status.deadline or status.started_at is None:
        return None
    return after_ns(status.started_at, status.deadline)

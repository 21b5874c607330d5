"""Where an update of a service stands: what the store says of it, and what that comes to, slot by slot.  Pure.

The memory of an update is the service's `update_status` (which update, since when, for how long) and its tasks
(`update_started_at` names the update that made one), so a new leader goes on where the old one stopped.  `Progress` is
a cache of what that says of each slot: made by a look at all of them, and kept up with the slots that change, so that
an update of thousands of tasks costs what happens and not what there is.  Used by `update`, `judge` and `exchange`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from vault.model.service import (
    DEFAULT_MONITOR_NS,
    DEFAULT_UPDATE,
    Service,
    UpdateConfig,
    UpdateState,
    UpdateStatus,
)
from vault.model.task import State, Task
from vault.orchestrator.dirty import is_slot_dirty
from vault.orchestrator.work import SlotKey, Work, after_ns
from vault.store.rules_update import watch_ns

ROLLING_BACK = (UpdateState.ROLLBACK_STARTED, UpdateState.ROLLBACK_PAUSED, UpdateState.ROLLBACK_COMPLETED)
PAUSED = (UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED)
IN_PROGRESS = (UpdateState.UPDATING, UpdateState.ROLLBACK_STARTED)
NEVER: Final = datetime.max.replace(tzinfo=UTC)  # Until when a task is waited for that has yet to run.


@dataclass(slots=True, kw_only=True)
class Progress:
    """An update in progress: which slots are still to be exchanged, and how those are that it has exchanged."""

    status: UpdateStatus
    config: UpdateConfig
    dirty: set[SlotKey] = field(default_factory=set)
    made: set[SlotKey] = field(default_factory=set)  # Slots that it has made a task for.
    failed: dict[SlotKey, list[Task]] = field(default_factory=dict)  # Its tasks that ended early.
    in_hand: dict[SlotKey, datetime] = field(default_factory=dict)  # Until when: a task has to run, the delay to pass.
    watched: dict[SlotKey, datetime] = field(default_factory=dict)  # Until when a task has to run before all is done.

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
        return len(self.dirty | self.made)

    @property
    def rolls_back(self) -> bool:
        """Whether it goes back to a former spec."""
        return self.status.state in ROLLING_BACK

    @property
    def rebalances(self) -> bool:
        """Whether it exchanges tasks that are as they should be, for others elsewhere."""
        return bool(self.status.moves)

    @property
    def noun(self) -> str:
        """What messages call it."""
        if self.rolls_back:
            return "rollback"
        return "rebalance" if self.rebalances else "update"

    def look_at(self, work: Work, keys: Iterable[SlotKey]) -> None:
        """Take in how some slots are now, and ask to look again when time alone will change that."""
        for key in keys:
            self.dirty.discard(key)
            self.made.discard(key)
            for slots in (self.failed, self.in_hand, self.watched):
                slots.pop(key, None)
            if is_slot_dirty(work, key):
                self.dirty.add(key)
            # Not those of a slot that is given up: they are deleted, and nobody is told of that.
            own = [one for one in work.tasks(key) if is_own(one, self.status) and one.desired_state < State.REMOVE]
            if own:
                self.made.add(key)
                self._look_at_own(work, key, own)

    def _look_at_own(self, work: Work, key: SlotKey, own: list[Task]) -> None:
        if failed := [task for task in own if self.has_failed(task)]:
            self.failed[key] = failed
        watched = [task for task in own if task.live]
        in_hand = [task for task in own if task.wanted or task.state.terminal]
        for slots, tasks, wait_ns in (
            (self.in_hand, in_hand, self.config.delay),
            (self.watched, watched, self.watch_ns),
        ):
            until = max((waited_until(task, wait_ns) for task in tasks), default=work.now)
            if until > work.now:
                slots[key] = until
                if until != NEVER:
                    work.again(until, key)

    def has_failed(self, task: Task) -> bool:
        """Whether a task of the update ended by itself before, or not long enough after, it was running.

        Unlike SwarmKit's, a task that completed and is not to run again has not failed: that is what it was for.
        """
        if not task.state.terminal or task.stop_asked_at is not None or task.finished:
            return False
        return task.running_since is None or task.updated_at < after_ns(task.running_since, self.monitor_ns)


def waited_until(task: Task, wait_ns: int) -> datetime:
    """Return until when a task is waited for: so long after it runs or, if it ended, after that."""
    since = task.updated_at if task.state.terminal else task.running_since
    return NEVER if since is None else after_ns(since, wait_ns)


def how_many(slots: dict[SlotKey, datetime], now: datetime) -> int:
    """Return how many slots are still waited for, and forget those that no longer are."""
    for key in [key for key, until in slots.items() if until <= now]:
        del slots[key]
    return len(slots)


def progress_of(work: Work, status: UpdateStatus) -> Progress:
    """Return the update that `status` is about, from a look at the whole service."""
    progress = Progress(status=status, config=config_of(work.service, status.state))
    progress.look_at(work, work.slots)
    return progress


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

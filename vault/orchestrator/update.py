"""Updates: when one begins, what it does next, and when it is complete.

Pure but for a cache, which it can rebuild.  Called by `services`.  `judge` has said before that the update has not
failed; `dirty` says which slots it is about, `exchange` exchanges their tasks, `progress` is its memory.  A service
whose spec changes while an update is under way, paused or rolling back begins a new one: nothing is kept of the former
but its tasks.
"""

from msgspec.structs import replace

from vault.model.service import Service, UpdateState, UpdateStatus
from vault.orchestrator.dirty import is_slot_dirty
from vault.orchestrator.exchange import exchange, note_running
from vault.orchestrator.progress import (
    IN_PROGRESS,
    PAUSED,
    Progress,
    config_of,
    current_status,
    has_begun,
    how_many,
    progress_of,
)
from vault.orchestrator.work import Work


class Updates:
    """The updates in progress, as they were when they were looked at last: a cache."""

    def __init__(self) -> None:
        self._known: dict[str, Progress] = {}  # By service.

    def knows(self, service: Service) -> bool:
        """Whether a look at some slots of a service will do: no update is in progress, or it is known of all others."""
        status = service.update_status
        if status is None or status.state not in IN_PROGRESS:
            return True
        known = self._known.get(service.id)
        return known is not None and known.status == status

    def progress(self, work: Work) -> Progress | None:
        """Return the update in progress, with what is looked at as it is now; None when none has begun."""
        status = current_status(work.service)
        if status is None or status.state not in IN_PROGRESS or not has_begun(status):
            self._known.pop(work.service.id, None)
            return None
        if work.keys is None:
            self._known[work.service.id] = progress_of(work, status)
        else:
            self._known[work.service.id].look_at(work, work.keys)
        return self._known[work.service.id]

    def forget(self, service_id: str) -> None:
        """Drop what is known of a service that is gone."""
        self._known.pop(service_id, None)


def advance(work: Work, progress: Progress | None) -> None:
    """Take a service's update one step further, or start one when tasks are of an older spec.

    While the service waits for another the update has begun, and exchanges nothing.

    progress: the update in progress, as it was before anything was decided; None while none has begun, which takes a
    look at the whole service.
    """
    status = current_status(work.service)
    if status is not None and status.state in PAUSED:
        return
    if progress is None:
        if (status := to_begin(work, status)) is None:
            return
        work.put_service(replace(work.service, update_status=status))
        progress = progress_of(work, status)
    if work.waits_for:
        return  # Old tasks would make way to new ones that may not start; the time it has is passing, though.
    note_running(work, progress)
    progress.look_at(work, tuple(work.slots))
    exchange(work, progress)
    if not progress.dirty and not how_many(progress.watched, work.now):
        complete(work, progress)


def to_begin(work: Work, status: UpdateStatus | None) -> UpdateStatus | None:
    """Return the status of the update that has to begin now; None when none has.  status: where the last one stands."""
    if status is not None and status.state not in IN_PROGRESS:
        status = None  # If anything is dirty: a node that was paused while the others were updated serves again.
    rolls_back = status is not None and status.state is UpdateState.ROLLBACK_STARTED
    if not rolls_back and not any(is_slot_dirty(work, key) for key in work.slots):
        return None
    return started(work, status)


def is_due(work: Work) -> bool:
    """Whether an update has to begin for the slots looked at."""
    status = current_status(work.service)
    idle = status is None or status.state not in (*PAUSED, *IN_PROGRESS)
    return idle and any(is_slot_dirty(work, key) for key in work.slots)


def started(work: Work, asked: UpdateStatus | None) -> UpdateStatus:
    """Return the status of an update that begins now; a rollback that was asked for keeps its own words."""
    if asked is not None and asked.state is UpdateState.ROLLBACK_STARTED:
        status = replace(asked, started_at=asked.started_at or work.now)
    else:
        status = UpdateStatus(state=UpdateState.UPDATING, started_at=work.now, message="update in progress")
    deadline = config_of(work.service, status.state).deadline or status.deadline
    return replace(status, spec_version=work.service.spec_version, deadline=deadline)


def complete(work: Work, progress: Progress) -> None:
    """Declare an update done."""
    status = replace(
        progress.status,
        state=UpdateState.ROLLBACK_COMPLETED if progress.rolls_back else UpdateState.COMPLETED,
        completed_at=work.now,
        message=f"{progress.noun} completed",
        moves=(),
    )
    work.put_service(replace(work.service, update_status=status))

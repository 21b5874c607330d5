"""Updates: when one begins, what it does next, and when it is complete.

Pure.  Called by `services` for a whole service.  `judge` has said before that the update has not failed; `dirty` says
which slots it is about, `exchange` exchanges their tasks, `progress` is its memory.  A service whose spec changes while
an update is under way, paused or rolling back begins a new one: nothing is kept of the former but its tasks.
"""

from msgspec.structs import replace

from vault.model.service import UpdateState, UpdateStatus
from vault.orchestrator.dirty import dirty_slots
from vault.orchestrator.exchange import exchange, is_settling, note_running
from vault.orchestrator.progress import IN_PROGRESS, PAUSED, Progress, config_of, current_status, has_begun, progress_of
from vault.orchestrator.work import Work


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
    if status is None or not has_begun(status):
        if not dirty and (status is None or status.state is UpdateState.UPDATING):
            return
        status = started(work, status)
        work.put_service(replace(work.service, update_status=status))
    progress = progress_of(work, status, dirty)
    note_running(work, progress)
    exchange(work, progress)
    if not progress.dirty and not is_settling(work, progress):
        complete(work, progress)


def is_due(work: Work) -> bool:
    """Whether an update has to begin for the slots looked at."""
    status = current_status(work.service)
    return (status is None or status.state not in (*PAUSED, *IN_PROGRESS)) and bool(dirty_slots(work))


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
    )
    work.put_service(replace(work.service, update_status=status))

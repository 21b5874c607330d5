"""Judging an update: has it failed, and what follows from that.

Pure.  Called by `services` before anything else is decided about a service.  An update fails when too many of the
tasks it made end early, or when its deadline passes; then it is paused, or the spec before it is put in force again.
Texts are SwarmKit's, but for the deadline, which is ours.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from vault.model.errors import FailedPrecondition, InvalidArgument
from vault.model.service import UpdateState, UpdateStatus
from vault.orchestrator.overdue import why_incomplete
from vault.orchestrator.progress import Progress, due_at
from vault.orchestrator.work import Work
from vault.store.rules_service import check_rollback

ROLLBACK, CONTINUE = "rollback", "continue"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an update failed, as its message goes on after `update paused` or `update rolled back`."""

    reason: str
    is_final: bool = False  # Whether it ends the update though its failure action is to continue.


def has_failed(work: Work, progress: Progress) -> bool:
    """Pause or roll back an update in progress that has failed; return whether one of these was decided."""
    failure = by_deadline(work, progress) or by_tasks(progress)
    if failure is None:
        return False
    action = progress.config.failure_action
    if action == CONTINUE and not failure.is_final:
        return False
    if action != ROLLBACK or progress.rolls_back or progress.rebalances:  # Never roll back what changed no spec.
        pause(work, progress, failure.reason)
    elif (hindrance := why_no_way_back(work)) is not None:
        pause(work, progress, f"{failure.reason}; it cannot be rolled back: {hindrance}")
    else:
        roll_back(work, progress, failure.reason)
    return True


def by_tasks(progress: Progress) -> Failure | None:
    """Return the failure that the update's tasks are, if more of them ended early than it tolerates."""
    failed = [task for tasks in progress.failed.values() for task in tasks]
    if not failed or len(failed) / progress.size <= progress.config.max_failure_ratio:
        return None
    last = max(failed, key=lambda task: (task.updated_at, task.id))
    return Failure(f"due to failure or early termination of task {last.id}")


def by_deadline(work: Work, progress: Progress) -> Failure | None:
    """Return the failure that the end of the update's time is; before that, ask for a look at all of it then."""
    due = due_at(progress.status)
    if due is None:
        return None
    if work.now < due:
        work.again(due)
        return None
    return Failure(why_incomplete(work, progress), is_final=True)


def why_no_way_back(work: Work) -> str | None:
    """Return why the former spec cannot be put in force again; None when it can."""
    try:
        check_rollback(work.snap, work.service)
    except (FailedPrecondition, InvalidArgument) as error:
        return error.description
    return None


def pause(work: Work, progress: Progress, reason: str) -> None:
    """Stop exchanging tasks; the service stays as it is until its next update."""
    state = UpdateState.ROLLBACK_PAUSED if progress.rolls_back else UpdateState.PAUSED
    status = replace(progress.status, state=state, message=f"{progress.noun} paused {reason}")
    work.put_service(replace(work.service, update_status=status))


def may_go_back(work: Work) -> bool:
    """Whether what is gone back to waits for no other service: it did so no more, or the update did not wait either."""
    return not work.waits_for or any(task.released for task in work.snap.tasks_of(work.service.id))


def roll_back(work: Work, progress: Progress, reason: str) -> None:
    """Put the former spec in force again; it has no spec before it then, so nobody goes back to the one that failed.
    As when somebody asks for it, it waits for no other service; unless the update did, and nothing had begun before.

    The rollback has as much time as the update had, unless its own settings say otherwise.
    """
    message = f"update rolled back {reason}"
    status = UpdateStatus(
        state=UpdateState.ROLLBACK_STARTED,
        started_at=work.now,
        message=message,
        reason=message,
        deadline=progress.status.deadline,
    )
    previous = work.service.previous_spec
    assert previous is not None
    back = replace(
        work.service,
        spec=previous,
        previous_spec=None,
        update_status=status,
        dependencies_met=may_go_back(work),
        registry_auth=work.service.previous_registry_auth,
        previous_registry_auth=work.service.registry_auth,  # Goes with the next update.
    )
    work.put_service(back)

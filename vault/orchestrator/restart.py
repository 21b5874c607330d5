"""Restarts: whether a task that ended is replaced, when the replacement may start, and the hold at READY until then.

Pure.  Makes one step of a task's life, (nothing) -> NEW, for replacements; moves desired state to SHUTDOWN for what
they replace and to RUNNING for what may start.  The count of attempts travels with the tasks themselves.  While an
update start-first has two tasks in a slot, the new one's end is handled as any, and the old one's leaves it the slot.
"""

from datetime import datetime

from msgspec.structs import replace

from vault.model.service import DEFAULT_RESTART_DELAY_NS, RestartPolicy, UpdateState
from vault.model.task import State, Task
from vault.orchestrator.dirty import is_dirty
from vault.orchestrator.enforcer import UNFIT
from vault.orchestrator.progress import current_status
from vault.orchestrator.work import SlotKey, Work, after_ns, asked_to_stop
from vault.scheduler.failures import failures_up_to

NO_POLICY = RestartPolicy()


def wants_restart(task: Task, now: datetime) -> bool:
    """Return whether the restart policy of a task asks for a replacement, were it to end now as it is."""
    policy = task.spec.restart_policy or NO_POLICY
    condition = policy.condition or "any"
    if condition == "none" or (condition == "on-failure" and task.state is State.COMPLETE):
        return False
    if not policy.max_attempts:
        return True
    if not policy.window:
        return task.restarts < policy.max_attempts
    recent = [moment for moment in task.restarted_at if after_ns(moment, policy.window) > now]
    return len(recent) < policy.max_attempts


def restart_ended(work: Work) -> None:
    """Replace each task that ended without being asked to, or whose node is lost to it, as its policy says."""
    for key in tuple(work.slots):
        # New ones before those they run beside; these may have taken over themselves.
        for task in sorted(work.wanted(key), key=lambda task: work.beside(key, task) is None):
            drained = is_drained(work, task)
            if task.done or not (task.state.terminal or drained or is_lost(work, task)):
                continue
            if task.state.terminal and task.status.message != UNFIT and is_rolled_back(work, task):
                continue  # The rollback exchanges it; once that is paused, it is restarted.
            held_until = task.start_not_before
            if task.state.terminal and held_until is not None and work.now < held_until:
                work.again(
                    held_until, key
                )  # It failed while being prepared: its own delay still holds its successor back.
                continue
            _restart(work, key, task, delayed=not drained)


def is_rolled_back(work: Work, task: Task) -> bool:
    """Whether a rollback in progress is to replace a task."""
    status = current_status(work.service)
    return status is not None and status.state is UpdateState.ROLLBACK_STARTED and is_dirty(work, task)


def is_lost(work: Work, task: Task) -> bool:
    """Whether a task's node is down or gone."""
    node = work.node_of(task)
    return bool(task.node_id) and (node is None or node.status.state == "down")


def is_drained(work: Work, task: Task) -> bool:
    """Whether an operator has asked the task's node to give up its tasks."""
    node = work.node_of(task)
    return node is not None and node.spec.availability == "drain"


def _restart(work: Work, key: SlotKey, old: Task, *, delayed: bool) -> None:
    if work.successor(key, old) is not None:
        work.put(asked_to_stop(old, work.now))
        return
    beside = work.beside(key, old)
    if not wants_restart(old, work.now):
        work.put(replace(asked_to_stop(old, work.now), stays_down=True))
        if beside is not None and old.finished:
            work.put(asked_to_stop(beside, work.now))
        return
    policy = old.spec.restart_policy or NO_POLICY
    delay_ns = DEFAULT_RESTART_DELAY_NS if policy.delay is None else policy.delay
    new = replace(
        counted(old, work.new_task(key), work.now),
        start_not_before=after_ns(work.now, delay_ns) if delayed and delay_ns else None,
        beside=beside.id if beside is not None else "",
        update_started_at=None if old.state.terminal else old.update_started_at,  # It only moves: the update goes on.
    )
    work.put(*work.begin_anew(key), asked_to_stop(old, work.now), new)


def counted(old: Task, new: Task, now: datetime) -> Task:
    """Return the replacement with what its policy and its placing need of history; a new spec starts afresh."""
    policy = new.spec.restart_policy or NO_POLICY
    same_spec = old.spec_version == new.spec_version
    if same_spec and not new.node_id:
        new = replace(new, failed_before=failures_up_to(old, now))
    if not policy.max_attempts:
        return new
    restarts = (old.restarts if same_spec else 0) + 1
    if not policy.window:
        return replace(new, restarts=restarts)
    earlier = [moment for moment in old.restarted_at if same_spec and after_ns(moment, policy.window) > now]
    return replace(new, restarts=restarts, restarted_at=(*earlier, now)[-policy.max_attempts :])


def release_held(work: Work) -> None:
    """Let tasks held at READY start: their delay is over, and nothing else of their slot may still be running.

    The exception is the task that an update start-first leaves running beside a new one.  While the service waits for
    another, all stay held.
    """
    if work.waits_for:
        return
    for key in tuple(work.slots):
        for task in work.wanted(key):
            if task.desired_state is State.READY and not task.state.terminal and _may_start(work, key, task):
                work.put(replace(task, desired_state=task.goal, start_not_before=None))


def _may_start(work: Work, key: SlotKey, task: Task) -> bool:
    not_before = task.start_not_before
    if not_before is not None and work.now < not_before:
        work.again(not_before, key)
        return False
    blocking = [other for other in work.tasks(key) if other.id not in (task.id, task.beside) and work.may_run(other)]
    for other in blocking:
        if other.stop_asked_at is not None:
            work.again(work.given_up_at(other.stop_asked_at, other), key)
    return not blocking

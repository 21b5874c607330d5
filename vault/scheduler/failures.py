"""Where tasks of a slot failed lately: what a task that replaces them is told, so that it goes elsewhere.

Pure.  History keeps too few tasks of a slot to tell that it is always the same node, and a new leader has to know, too:
so each replacement carries it on.  Written by `vault.orchestrator.restart`, counted by `fleet`.
"""

from datetime import datetime, timedelta

from vault.model.task import Failure, State, Task

FAILURE_WINDOW = timedelta(minutes=5)
MAX_CARRIED = 25  # The latest; five nodes that five tasks of a slot failed on.


def has_failed(task: Task) -> bool:
    """Return whether a task's end speaks against its node."""
    return task.state is State.FAILED or task.state is State.REJECTED


def failure_of(task: Task) -> Failure:
    """Return the failure of a task that has failed."""
    return Failure(task_id=task.id, node_id=task.node_id, at=task.updated_at)


def failures_up_to(task: Task, now: datetime) -> tuple[Failure, ...]:
    """Return what the replacement of a task, made now, is told: of its failure, too, if it has failed."""
    after = now - FAILURE_WINDOW
    lately = [failure for failure in task.failed_before if failure.at > after]
    if has_failed(task) and task.node_id:
        lately.append(failure_of(task))
    return tuple(lately[-MAX_CARRIED:])

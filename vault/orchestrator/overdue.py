"""Why an update is not complete when its deadline passes, in words.  Pure; called by `judge`."""

from vault.model.durations import go_duration
from vault.model.task import State, Task
from vault.orchestrator.dirty import is_dirty
from vault.orchestrator.progress import Progress
from vault.orchestrator.work import SlotKey, Work, made

MAX_NAMED = 3  # Tasks; the message is read in a terminal, and kept in the store.
MAX_REASON = 200  # Letters of what a task or node says.


def why_incomplete(work: Work, progress: Progress) -> str:
    """Return which tasks do not run, and why, and what all wait for, as a message goes on after `update paused`."""
    late = [text for key in work.in_order() if (text := why_missing(work, key)) is not None]
    parts = late[:MAX_NAMED]
    if len(late) > MAX_NAMED:
        parts.append(f"{len(late) - MAX_NAMED} more tasks do not run")
    if work.waits_for and not any(work.waits_for in text for text in parts):
        parts.insert(0, work.waits_for)
    if left := len(progress.dirty):
        parts.append(f"{left} of {len(work.filled_slots())} tasks were not exchanged yet")
    if not parts:
        parts.append(
            f"its tasks run, the last of them for less than the {go_duration(progress.watch_ns)} it is watched"
        )
    return f"because it was not completed within {go_duration(progress.status.deadline)}: {'; '.join(parts)}"


def why_missing(work: Work, key: SlotKey) -> str | None:
    """Return what keeps the new task of a slot from running; None when it runs, has finished, or is yet to be made."""
    clean = [task for task in work.tasks(key) if task.desired_state < State.REMOVE and not is_dirty(work, task)]
    newest = max(clean, key=made, default=None)
    if newest is None or newest.state is State.RUNNING or newest.finished:
        return None
    reason = newest.status.err or last_words(clean)
    reason = reason if len(reason) <= MAX_REASON else reason[: MAX_REASON - 1] + "…"
    return f"{place(work, key)} is {newest.state.value}{f' ({reason})' if reason else ''}"


def last_words(tasks: list[Task]) -> str:
    """Return why the last of some tasks failed that did; "" when none has."""
    failed = [task for task in tasks if task.state in (State.FAILED, State.REJECTED)]
    last = max(failed, key=lambda task: (task.updated_at, task.id), default=None)
    return last.status.err if last is not None else ""


def place(work: Work, key: SlotKey) -> str:
    """Return how people call a slot: `web.2`, or `web on worker1`."""
    name = work.service.spec.name
    if isinstance(key, int):
        return f"{name}.{key}"
    node = work.snap.nodes.get(key)
    return f"{name} on {node.description.hostname if node is not None and node.description.hostname else key}"

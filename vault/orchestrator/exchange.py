"""Exchanging the tasks of slots: stop-first or start-first, a few at a time.

Pure.  Makes one step of a task's life, (nothing) -> NEW, for the tasks that take over.

Stop-first, the old task is asked to stop and the new one, which is placed and prepared meanwhile, is held at READY
until it has (`restart.release_held`).  Start-first, the new task says in `beside` which one it may run beside, and
that one is asked to stop once the new one runs.  So a slot has two wanted tasks at most, and only start-first.

`exchange_slot` is the one way to exchange a task, whoever has a reason to; `hand_over` ends what it began start-first.
"""

from heapq import nsmallest

from msgspec.structs import replace

from vault.model.task import State, Task
from vault.orchestrator.dirty import superfluous
from vault.orchestrator.progress import Progress, how_many, is_own
from vault.orchestrator.work import SlotKey, Work, asked_to_stop, made

START_FIRST = "start-first"
MAX_EXCHANGED = 128  # Slots in one decision; the rest follow in the next.


def exchange(work: Work, progress: Progress) -> None:
    """Replace as many dirty slots as the update may have in hand at a time, the lowest first."""
    config = progress.config
    free = config.parallelism - how_many(progress.in_hand, work.now) if config.parallelism else MAX_EXCHANGED
    for key in nsmallest(min(free, MAX_EXCHANGED), progress.dirty):
        work.load(key)
        aim = next((work.moves[task.id] for task in work.wanted(key) if task.id in work.moves), "")
        new = replace(work.new_task(key), update_started_at=progress.status.started_at, aims_at=aim)
        exchange_slot(work, key, new, start_first=config.order == START_FIRST)


def exchange_slot(work: Work, key: SlotKey, new: Task, *, start_first: bool) -> Task:
    """Let `new` take the place of what is in a slot; return it as decided."""
    old = work.wanted(key)
    kept = to_keep(old) if start_first else None
    stopped = [asked_to_stop(task, work.now) for task in old if task is not kept]
    if kept is not None:
        new = replace(new, beside=kept.id)
    work.put(*work.begin_anew(key), *stopped, new)
    return new


def to_keep(old: list[Task]) -> Task | None:
    """Return the task that a new one may run beside: one that runs before others, the oldest of several."""
    return min(
        (task for task in old if task.live),
        key=lambda task: (task.state is not State.RUNNING, made(task)),
        default=None,
    )


def hand_over(work: Work) -> None:
    """Stop the tasks beside which others were started that run now, and new ones that nobody waits for any more.

    Whether the update that began this goes on says nothing: no slot keeps two tasks for ever.
    """
    for key in tuple(work.slots):
        for task in superfluous(work, key):
            work.put(asked_to_stop(task, work.now))
        for task in work.wanted(key):
            old = work.beside(key, task) if task.state is State.RUNNING else None
            if old is not None:
                work.put(asked_to_stop(old, work.now))


def note_running(work: Work, progress: Progress) -> None:
    """Remember since when the update's tasks run; their failures are judged by it."""
    for key in tuple(work.slots):
        for task in work.tasks(key):
            if task.state is State.RUNNING and task.running_since is None and is_own(task, progress.status):
                work.put(replace(task, running_since=work.now))

"""Jobs: tasks that run to completion, so many at a time, or one on each node there was when the run began.

Pure.  Makes one step of a task's life, (nothing) -> NEW.  Called by `services` for one job at a time.  Each update of a
job is another run of it, named by its iteration.  How far a run is, is in its tasks: a new leader goes on from there.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from vault.model.node import Node
from vault.model.service import Service
from vault.model.task import State, Task
from vault.orchestrator import restart
from vault.orchestrator.global_ import eligible
from vault.orchestrator.job_slots import JobBook, begin
from vault.orchestrator.replicated import MAX_NEW
from vault.orchestrator.work import SlotKey, Work, asked_to_stop
from vault.scheduler.constraint import parse_stored


def reconcile(work: Work, books: dict[str, JobBook]) -> None:
    """Bring a job's present run nearer to its end.

    books: what earlier looks at jobs of slots found, by service; kept up to date.  A look at the whole begins anew.
    """
    end_earlier_runs(work)
    done = {key for key in work.slots if has_completed(work, key)}
    for key in done:
        _stop(work, key)  # A node that was given up had completed it after all.
    if work.service.is_global:
        _leave_nodes(work)
        restart.restart_ended(work)
        _fill_nodes(work, done)
    else:
        restart.restart_ended(work)
        if work.keys is None:
            books[work.service.id] = JobBook()
        book = books[work.service.id]
        book.note(work, done)
        begin(work, book)
    restart.release_held(work)


def end_earlier_runs(work: Work) -> None:
    """Ask the tasks of earlier runs to go; those that ended stay as history, as long as there is room for it."""
    for key in work.in_order():
        for task in work.tasks(key):
            if is_of_this_run(work, task):
                continue
            if not task.state.terminal and task.desired_state < State.REMOVE:
                work.put(asked_to_stop(task, work.now, State.REMOVE))
            elif task.desired_state < State.REMOVE and (task.wanted or task.stays_down):
                work.put(replace(asked_to_stop(task, work.now), stays_down=False))


def is_of_this_run(work: Work, task: Task) -> bool:
    """Whether a task was made for the job's present run."""
    return task.job_iteration == work.service.job_iteration


def has_completed(work: Work, key: SlotKey) -> bool:
    """Whether a slot's part of the present run is done, whatever was asked of the task that did it."""
    return any(task.done and is_of_this_run(work, task) for task in work.tasks(key))


def _stop(work: Work, key: SlotKey) -> None:
    """Ask the tasks of a slot that have yet to complete to end."""
    for task in work.wanted(key):
        if not task.done:
            work.put(asked_to_stop(task, work.now))


def _leave_nodes(work: Work) -> None:
    """Take the job's tasks from nodes that may no longer run them; what has completed there stays known."""
    for node in _nodes(work):
        if not _may_run_on(work.service, node):
            _stop(work, node.id)
    for key in work.in_order():
        if key not in work.snap.nodes:
            for task in work.wanted(key):
                if not task.done:
                    work.put(asked_to_stop(task, work.now, State.REMOVE))


def _fill_nodes(work: Work, done: set[SlotKey]) -> None:
    """Begin a task on each node that may run the job and was there when the run began."""
    created = 0
    for node in _nodes(work):
        filled = node.id in done or work.filled(node.id)
        if filled or not _may_run_on(work.service, node) or not _begins_on(work.service, node):
            continue
        if created == MAX_NEW:
            work.again(work.now)
            return
        work.put(work.new_task(node.id))
        created += 1


def _nodes(work: Work) -> Iterator[Node]:
    keys = sorted(work.snap.nodes) if work.keys is None else work.keys
    return filter(None, map(work.snap.nodes.get, map(str, keys)))


def _may_run_on(service: Service, node: Node) -> bool:
    placement = service.spec.task_template.placement
    return eligible(node, parse_stored(placement.constraints if placement else ()))


def _begins_on(service: Service, node: Node) -> bool:
    """Whether a node takes new tasks and was there before the run; as in SwarmKit, later ones wait for the next."""
    began = service.job_status.last_execution if service.job_status is not None else service.created_at
    return node.spec.availability == "active" and node.created_at <= began

"""How far the present run of a job is, and the lines that say so.  Pure; `progress` asks and prints.

Follows Docker's progress: a job of slots has a line for the whole, one for the tasks under way and one for each slot; a
job of nodes has one for the whole and one for each node.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from vault.cli.screen import Line
from vault.cli.services.convergence import (
    LONGEST,
    MAX_BARS,
    RANK,
    Picture,
    Service,
    Task,
    bar_text,
    given_up,
    short_error,
)

COMPLETE = RANK["complete"]


def job_picture(service: Service, tasks: Iterable[Task], expected: Iterable[str] | None = None) -> Picture:
    """Look at a job.

    tasks: those made from its present spec; what is of earlier runs is not counted.  expected: ids of nodes on which a
    job of nodes is to get a task; None = not known.
    """
    run = _iteration(service.get("JobStatus"), "JobIteration")
    ours = [task for task in tasks if "JobIteration" in task and _iteration(task, "JobIteration") == run]
    mode = service["Spec"].get("Mode") or {}
    if mode.get("GlobalJob") is not None:
        return _on_nodes(ours, may_come=expected is None or any(expected))
    job = mode.get("ReplicatedJob") or {}
    return _in_slots(job.get("MaxConcurrent", 1), job.get("TotalCompletions", 1), ours)


def _iteration(owner: Mapping[str, Any] | None, field: str) -> int:
    number: int = ((owner or {}).get(field) or {}).get("Index", 0)
    return number


def _in_slots(at_a_time: int, total: int, tasks: list[Task]) -> Picture:
    slots = _furthest_back(tasks, "Slot", 0)
    done = sum(1 for task in slots.values() if task["Status"]["State"] == "complete")
    active = sum(1 for task in slots.values() if RANK[task["Status"]["State"]] < COMPLETE)

    def lines(active: int, done: int, shown: Mapping[Any, Task]) -> tuple[Line, ...]:
        most, width = min(total - done, at_a_time), len(str(at_a_time))
        heads = (_whole(done, total), Line("active tasks", f"{active:{width}} out of {most:{width}} tasks"))
        places = range(total if total <= MAX_BARS else 0)
        return (*heads, *(_place(f"{slot + 1}/{total}", shown.get(slot)) for slot in places))

    return Picture(
        there=done,
        wanted=total,
        lines=lines(active, done, slots),
        start=lines(0, 0, {}),
        given_up=given_up(slots.values()),
    )


def _on_nodes(tasks: list[Task], *, may_come: bool) -> Picture:
    nodes = {node: task for node, task in _furthest_back(tasks, "NodeID", "").items() if _counts(task)}
    if not nodes and may_come:
        return Picture(there=0, wanted=None, lines=(Line("job progress", "waiting for tasks"),))
    done = sum(1 for task in nodes.values() if task["Status"]["State"] == "complete")
    shown = sorted(nodes) if len(nodes) <= MAX_BARS else []
    return Picture(
        there=done,
        wanted=len(nodes),
        lines=(_whole(done, len(nodes)), *(_place(node, nodes[node]) for node in shown)),
        start=(_whole(0, len(nodes)),),
        given_up=given_up(nodes.values()),
    )


def _furthest_back(tasks: Iterable[Task], field: str, default: Any) -> dict[Any, Task]:
    """Return one task for each place: of several the one in the lowest state, which is the newest."""
    found: dict[Any, Task] = {}
    for task in tasks:
        place, state = task.get(field, default), task["Status"]["State"]
        if task["DesiredState"] not in RANK or state not in RANK:
            continue
        if place not in found or RANK[state] < RANK[found[place]["Status"]["State"]]:
            found[place] = task
    return found


def _counts(task: Task) -> bool:
    """Whether a node's task is part of the job: not one that had to go with its node."""
    state = task["Status"]["State"]
    return RANK[task["DesiredState"]] <= COMPLETE or state in ("complete", "failed", "rejected")


def _whole(done: int, total: int) -> Line:
    text = f"{done:{len(str(total))}} out of {total} complete"
    return Line("job progress", bar_text(text, done, total) if total else text, bar=bool(total))


def _place(key: str, task: Task | None) -> Line:
    if task is None:
        return Line(key, " ")
    if error := task["Status"].get("Err"):
        return Line(key, short_error(error))
    state = task["Status"]["State"]
    return Line(key, bar_text(f"{state:<{LONGEST}}", min(RANK[state], COMPLETE), COMPLETE), bar=True)

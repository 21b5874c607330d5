"""How far a service is on its way to its spec, and the lines that say so.  Pure; `progress` asks and prints.

Follows Docker's progress: replicated services count slots, global ones nodes, and a service that is as it should be
must stay so for its monitor time.  A task that completed and will not be restarted counts as there, unlike Docker's
(cli#5299).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vault.cli.screen import Line

STATES = (
    "new",
    "allocated",
    "pending",
    "assigned",
    "accepted",
    "preparing",
    "ready",
    "starting",
    "running",
    "complete",
    "shutdown",
    "failed",
    "rejected",
)
RANK = {state: rank for rank, state in enumerate(STATES, 1)}
RUNNING = RANK["running"]
LONGEST = 9  # Letters of "preparing", the longest state shown.
MAX_BARS = 20
BAR_CELLS = 50
MAX_ERROR = 75

Service = Mapping[str, Any]
Task = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What one look at the cluster shows of a service."""

    there: int
    wanted: int | None  # None: not known yet.
    lines: tuple[Line, ...]
    given_up: tuple[Task, ...] = ()  # Failed tasks whose places nothing is about to fill.
    start: tuple[Line, ...] = ()  # What is drawn first, where `lines` would not tell.
    late: tuple[Task, ...] = ()  # Tasks that are not where they should be.
    last_error: str = ""  # Of the last task that failed.

    @property
    def converged(self) -> bool:
        """Whether every task is where it should be."""
        return self.wanted is not None and self.there == self.wanted

    @property
    def opening(self) -> tuple[Line, ...]:
        """The lines that are drawn first, so that bars stand in their order: nothing is there yet."""
        if self.start:
            return self.start
        text = re.sub(r"\d+ out of", "0 out of", self.lines[0].text)
        return (Line(self.lines[0].key, text), *(Line(line.key, " ") for line in self.lines[1:]))

    @property
    def shortfall(self) -> str:
        """How many tasks are there, and what the first of the others says."""
        text = f"{self.there} of {self.wanted or 0} tasks run"
        if not self.late:
            return text
        task = max(self.late, key=lambda task: bool(task["Status"].get("Err")))
        text += f", task {task['ID']} is {task['Status']['State']}"
        if error := task["Status"].get("Err"):
            return f"{text} ({error})"
        return f"{text}; the last one that failed said: {self.last_error}" if self.last_error else text

    @property
    def hopeless(self) -> bool:
        """Whether nothing moves any more, and it is not as it should be."""
        return bool(self.given_up) and self.there + len(self.given_up) == self.wanted


def picture(
    service: Service,
    tasks: Iterable[Task],
    active_nodes: Iterable[str],
    *,
    expected: Iterable[str] = (),
    rollback: bool,
) -> Picture:
    """Look at a service.

    tasks: those made from its present spec.  active_nodes: ids of nodes that are not down.  expected: ids of nodes on
    which a global service is to get a task.
    """
    mode = service["Spec"].get("Mode") or {}
    active = set(active_nodes)
    restarts = (service["Spec"]["TaskTemplate"].get("RestartPolicy") or {}).get("Condition", "any")
    here = [task for task in tasks if not task.get("NodeID") or task["NodeID"] in active]
    if mode.get("Global") is not None:
        seen = _global(here, set(expected), restarts, rollback)
    else:
        seen = _replicated(_replicas(mode), here, restarts, rollback)
    return replace(seen, last_error=_last_error(here))


def _last_error(tasks: Iterable[Task]) -> str:
    """Return what the last of the tasks that failed says; "" when none has."""
    failed = [task for task in tasks if task["Status"]["State"] in ("failed", "rejected")]
    last = max(failed, key=lambda task: str(task["Status"].get("Timestamp", "")), default=None)
    return str(last["Status"].get("Err") or "") if last is not None else ""


def _replicas(mode: Mapping[str, Any]) -> int:
    replicas = (mode.get("Replicated") or {}).get("Replicas")
    return 1 if replicas is None else int(replicas)


def _replicated(replicas: int, tasks: Iterable[Task], restarts: str, rollback: bool) -> Picture:
    slots = _best(tasks, lambda task: task.get("Slot", 0))
    late = tuple(task for task in slots.values() if not _is_there(task, restarts))
    there = len(slots) - len(late)
    lines = [_overall(there, replicas, rollback)]
    if replicas <= MAX_BARS:
        shown = dict(enumerate((slots[slot] for slot in sorted(slots)), 1))
        lines += [_bar(f"{place}/{replicas}", shown.get(place)) for place in range(1, replicas + 1)]
    return Picture(there=there, wanted=replicas, lines=tuple(lines), given_up=given_up(slots.values()), late=late)


def _global(tasks: Iterable[Task], expected: set[str], restarts: str, rollback: bool) -> Picture:
    # A node that takes no new task, since it is paused, may well have one; one that is drained has had one.
    found = _best(tasks, lambda task: task.get("NodeID", ""))
    nodes = {node: task for node, task in found.items() if node in expected or RANK[task["DesiredState"]] <= RUNNING}
    late = tuple(task for task in nodes.values() if not _is_there(task, restarts))
    there, wanted = len(nodes) - len(late), len({*nodes, *expected})
    lines = [_overall(there, wanted, rollback)]
    if wanted <= MAX_BARS:
        lines += [_bar(node[:12], nodes.get(node)) for node in sorted({*nodes, *expected})]
    return Picture(there=there, wanted=wanted, lines=tuple(lines), given_up=given_up(nodes.values()), late=late)


def _best(tasks: Iterable[Task], place: Any) -> dict[Any, Task]:
    # Of several tasks in one place the one with the lowest desired state counts, then the lowest observed one.
    best: dict[Any, Task] = {}
    for task in tasks:
        if task.get("DesiredState") not in RANK or task["Status"]["State"] not in RANK:
            continue
        where = place(task)
        if where not in best or _order(task) < _order(best[where]):
            best[where] = task
    return best


def _order(task: Task) -> tuple[int, int]:
    return RANK[task["DesiredState"]], RANK[task["Status"]["State"]]


def _is_there(task: Task, restarts: str) -> bool:
    state = task["Status"]["State"]
    if state == "running":
        return RANK[task["DesiredState"]] <= RUNNING
    # A task that completed counts once it is clear that no other takes its place.
    return bool(state == "complete" and (restarts in ("none", "on-failure") or task["DesiredState"] == "shutdown"))


def given_up(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Return the tasks that failed and that nobody tries again."""
    return tuple(
        task
        for task in tasks
        if task["DesiredState"] == "shutdown" and task["Status"]["State"] in ("failed", "rejected")
    )


def _overall(there: int, wanted: int, rollback: bool) -> Line:
    prefix = "rolling back update: " if rollback else ""
    return Line("overall progress", f"{prefix}{there} out of {wanted} tasks")


def _bar(key: str, task: Task | None) -> Line:
    if task is None:
        return Line(key, " ")
    error = task["Status"].get("Err")
    if error:
        return Line(key, short_error(error))
    state = task["Status"]["State"]
    return Line(key, bar_text(f"{state:<{LONGEST}}", min(RANK[state], RUNNING), RUNNING), bar=True)


def short_error(error: str) -> str:
    """Return an error that fits in a line of progress."""
    text = error.replace("\n", " ")
    return text if len(text) <= MAX_ERROR else text[: MAX_ERROR - 1] + "…"


def bar_text(text: str, done: int, total: int) -> str:
    """Return a text and a bar, full once `done` has reached `total`."""
    cells = done * BAR_CELLS // total
    return f"{text} [{'=' * cells}>{' ' * (BAR_CELLS - cells)}] "

"""What nodes observed, as changes: a node speaks only of its own tasks, in bounded words, and no state goes back.

Pure.  Called by `vault.dispatcher.service` (what a node says) and `writer` (what is written).  Owns no step of its own:
it records the agent's.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from vault.model.base import EPOCH, from_s
from vault.model.ids import Kind
from vault.model.task import AGENT, STEPS, PortStatus, State, Task, TaskStatus
from vault.rpc.messages import Report
from vault.store.changes import Delete, Put
from vault.store.snapshot import Snapshot

WORDS_MAX: Final = 1024  # Characters of a message or an error.
SKEW: Final = timedelta(seconds=2)  # A node's clock that is off by more is corrected.
_CONTAINER_ID: Final = re.compile(r"[0-9a-f]{64}")


def said(report: Report, *, now_s: float) -> Iterator[tuple[str, TaskStatus]]:
    """Yield what a report says, in bounds, and in this manager's time whatever the node's clock says."""
    now = from_s(now_s)
    off = now - report.sent_at if report.sent_at != EPOCH else timedelta()
    for task_id, status in report.statuses:
        yield task_id, _bounded(status, now, off if abs(off) > SKEW else timedelta())


def observed(snap: Snapshot, node_id: str, task_id: str, status: TaskStatus) -> tuple[Put | Delete, ...]:
    """Return the change that an observation makes; what a node may not say, or what is old news, makes none.

    A task that was to go with its service, and has ended, leaves the store at once: nobody would do anything with its
    last state but delete it, as the reaper does, which is another commit and another look of every decider.
    """
    task = snap.tasks.get(task_id)
    if task is None or task.node_id != node_id or not _news(task, status):
        return ()
    if status.state.terminal and task.desired_state is State.REMOVE and task.service_id not in snap.services:
        return (Delete(Kind.TASK, task.id, task.version.index),)
    if len(status.port_status.ports) > len(task.host_ports):
        status = msgspec.structs.replace(status, port_status=PortStatus())
    if task.status.unhealthy and status.state is task.status.state:
        status = msgspec.structs.replace(status, unhealthy=True)  # What was given up stays given up.
    return (Put(msgspec.structs.replace(task, status=status)),)


def _bounded(status: TaskStatus, now: datetime, off: timedelta) -> TaskStatus:
    container = status.container_status
    if container is not None and _CONTAINER_ID.fullmatch(container.container_id) is None:
        container = None
    return msgspec.structs.replace(
        status,
        timestamp=_moved(status.timestamp, off, now),
        message=status.message[:WORDS_MAX],
        err=status.err[:WORDS_MAX],
        container_status=container,
    )


def _moved(moment: datetime, off: timedelta, now: datetime) -> datetime:
    """Return a moment of a node's clock in the manager's time, never in the future."""
    try:
        return min(moment + off, now)
    except (OverflowError, TypeError):  # Year 9999, or a time without a zone.
        return now


def _moves_of_agents() -> frozenset[tuple[State, State]]:
    """Return every pair of states that an agent's steps lead between; a report may leave out those in the middle."""
    steps = {(a, b) for a, moves in STEPS.items() for b, owner in moves.items() if owner == AGENT}
    moves: set[tuple[State, State]] = set()
    while steps - moves:
        moves |= steps
        steps = {(a, c) for a, b in moves for b2, c in moves if b is b2}
    return frozenset(moves)


_MOVES = _moves_of_agents()


def _news(task: Task, status: TaskStatus) -> bool:
    if status.state is task.status.state:
        unwell = status.unhealthy and not task.status.unhealthy
        return unwell or status.err != task.status.err or status.container_status != task.status.container_status
    return (task.status.state, status.state) in _MOVES

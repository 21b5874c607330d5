"""What nodes observed, written to the store: a node speaks only of its own tasks, and no state goes back.

`observed` is pure.  Called by the daemon for each report.  Owns no step of its own: it records the agent's.
"""

import msgspec

from vault.model.task import AGENT, STEPS, State, Task, TaskStatus
from vault.rpc.messages import Report
from vault.store.changes import Put
from vault.store.snapshot import Snapshot


def observed(snap: Snapshot, node_id: str, report: Report) -> tuple[Put, ...]:
    """Return the changes that a node's report makes; what it may not say, or what is old news, makes none."""
    puts = []
    for task_id, status in report.statuses:
        task = snap.tasks.get(task_id)
        if task is None or task.node_id != node_id or not _news(task, status):
            continue
        puts.append(Put(msgspec.structs.replace(task, status=status)))
    return tuple(puts)


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
        return status.err != task.status.err or status.container_status != task.status.container_status
    return (task.status.state, status.state) in _MOVES

"""Global services: one task on every node that may run it.

Pure.  Makes one step of a task's life, (nothing) -> NEW.  Called by `services` for one service at a time.
"""

from vault.model.constraint import Constraint
from vault.model.node import Node
from vault.orchestrator.replicated import MAX_NEW, remove_slot
from vault.orchestrator.work import Work, asked_to_stop
from vault.scheduler.constraint import node_matches, parse_stored


def reconcile(work: Work) -> None:
    """Put a task on every eligible node, and take it from those that no longer are.

    Eligible: not down, not drained, constraints met.  A paused node keeps the task it has and gets no new one.
    """
    placement = work.service.spec.task_template.placement
    constraints = parse_stored(placement.constraints if placement else ())
    created = 0
    keys = sorted(work.snap.nodes) if work.keys is None else work.keys
    for node in filter(None, map(work.snap.nodes.get, map(str, keys))):
        if not eligible(node, constraints):
            for task in work.wanted(node.id):
                work.put(asked_to_stop(task, work.now))
        elif node.spec.availability != "pause" and not work.filled(node.id):
            if created == MAX_NEW:
                work.again(work.now)
                return
            work.put(work.new_task(node.id))
            created += 1
    for key in [key for key in work.slots if key not in work.snap.nodes]:
        remove_slot(work, key)


def eligible(node: Node, constraints: tuple[Constraint, ...]) -> bool:
    """Whether a global service has a task on this node."""
    return node.status.state != "down" and node.spec.availability != "drain" and node_matches(constraints, node)

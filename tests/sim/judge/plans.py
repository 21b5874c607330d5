"""Plans of rebalances: nothing is left to do that would help, and those are moved whom it disturbs least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.sim.judge import oracle
from tests.sim.judge.placement import branch_of, unlucky
from tests.sim.story import slot_of
from vault.model.node import Node
from vault.model.task import State, Task
from vault.orchestrator.rebalancing import Plan
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.world import World

OnNodes = Mapping[str, list[Task]]


def check_plan(
    world: World, snap: Snapshot, made: Plan, onto: Collection[str] | None, *, nodes: bool, beside: OnNodes
) -> None:
    """Check what a plan leaves as it is.  beside: what nodes would hold, both old tasks and new ones."""
    check_order(world, snap, made)
    gives, gets = {move.task.node_id for move in made.moves}, {move.to for move in made.moves}
    targets = [node for node in snap.nodes.values() if is_open(node) and (onto is None or node.id in onto)]
    counts = {node_id: Counter(t.service_id for t in tasks if oracle.is_wanted(t)) for node_id, tasks in beside.items()}
    for task in left_over(snap, made):
        if nodes and task.node_id in gets:
            continue  # What came to its node may make it one too many: another plan moves it.
        for node in targets:
            if nodes and node.id in gives:
                continue
            a, b = counts[task.node_id], counts[node.id]
            helps = a.total() - b.total() > 1 and a[task.service_id] > b[task.service_id]
            evens = a[task.service_id] - b[task.service_id] > 1
            if (helps if nodes else evens) and would_do(world, snap, task, node, beside[node.id]):
                raise world.story.fail(f"{slot_of(task)} is to stay, and {node.id} has fewer", task.id, node.id)


def left_over(snap: Snapshot, made: Plan) -> Iterator[Task]:
    """Yield the tasks that might move and are to stay."""
    moved = {move.task.id for move in made.moves}
    for service_id in made.versions:
        for task in snap.tasks_of(service_id):
            if task.id not in moved and oracle.is_wanted(task) and may_move(snap, task):
                yield task


def would_do(world: World, snap: Snapshot, task: Task, node: Node, there: list[Task]) -> bool:
    """Whether a task might as well be on a node, in the same branch."""
    service = snap.services[task.service_id]
    new = replace(task, spec=service.spec.task_template, spec_version=service.spec_version)
    if branch_of(new, node) != branch_of(new, snap.nodes[task.node_id]) or oracle.obstacle(new, node, there):
        return False
    return not unlucky(world, {one.id: one for one in snap.tasks_on(node.id)}, new)


def check_order(world: World, snap: Snapshot, made: Plan) -> None:
    """Of a service's tasks on a node those go first that do not run yet."""
    stay = {(task.service_id, task.node_id) for task in left_over(snap, made) if task.state is not State.RUNNING}
    for move in made.moves:
        task = move.task
        if task.state is State.RUNNING and (task.service_id, task.node_id) in stay:
            raise world.story.fail(f"{slot_of(task)} is to move, and one that does not run yet stays", task.id)


def may_move(snap: Snapshot, task: Task) -> bool:
    """Whether a task may move: it is wanted, alone in its slot, and on a node that serves."""
    node = snap.nodes.get(task.node_id)
    slot = [one for one in snap.tasks_at(task.service_id, task.slot_key) if oracle.is_wanted(one)]
    held = State.ASSIGNED <= task.state <= State.RUNNING
    return slot == [task] and held and node is not None and is_open(node)


def is_open(node: Node) -> bool:
    """Whether a node takes new tasks."""
    return node.status.state == "ready" and node.spec.availability == "active"

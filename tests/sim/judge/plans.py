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
    check_help(world, snap, made, nodes=nodes)
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
            if (evens or (nodes and helps)) and would_do(world, snap, task, node, beside[node.id]):
                raise world.story.fail(f"{slot_of(task)} is to stay, and {node.id} has fewer", task.id, node.id)


def check_help(world: World, snap: Snapshot, made: Plan, *, nodes: bool) -> None:
    """A task goes to a node that has two tasks fewer, of its service or, if nodes are to be level, in all.

    Other moves are between branches, or from where a task should not be; and none goes to where its service fails.
    """
    there = {
        node_id: [t for t in snap.tasks_on(node_id) if t.live and t.state >= State.ASSIGNED] for node_id in snap.nodes
    }
    in_all = {node_id: len(tasks) for node_id, tasks in there.items()}
    for move in made.moves:
        task, service = move.task, snap.services[move.task.service_id]
        old, new = snap.nodes[task.node_id], snap.nodes[move.to]
        fresh = replace(task, spec=service.spec.task_template, spec_version=service.spec_version)
        on_it = {one.id: one for one in snap.tasks_on(new.id)}
        if unlucky(world, on_it, fresh, new.id, snap.tasks_of(service.id)):
            raise world.story.fail(f"{slot_of(task)} is to move to where its service fails", task.id, new.id)
        fewer = in_all[old.id] - in_all[new.id]
        in_all[old.id], in_all[new.id] = in_all[old.id] - 1, in_all[new.id] + 1
        of_service = [sum(one.service_id == service.id for one in there[node.id]) for node in (old, new)]
        same_branch = branch_of(fresh, old) == branch_of(fresh, new) and not oracle.obstacle(fresh, old, [])
        if same_branch and of_service[0] - of_service[1] < 2 and fewer < 2 and not has_limit(fresh):
            raise world.story.fail(f"{slot_of(task)} is to move from {old.id} to {new.id} for nothing", task.id)


def has_limit(task: Task) -> bool:
    """Whether there is a limit to the tasks of a service on a node, or they are spread over branches."""
    place = task.spec.placement
    return place is not None and bool(place.max_replicas or place.preferences)


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
    on_it = {one.id: one for one in snap.tasks_on(node.id)}
    return not unlucky(world, on_it, new, node.id, snap.tasks_of(service.id))


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

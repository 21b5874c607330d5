"""Where tasks are placed: each fits its node, beside the others; and no node would have been clearly better."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.sim.judge import oracle
from tests.sim.story import slot_of
from vault.model.node import Node
from vault.model.task import State, Task

if TYPE_CHECKING:
    from tests.sim.judge.decisions import Draft
    from tests.sim.world import World

FAILURES, FAILURES_S = 5, 300.0  # So many failures within so long put a node last.
OnNodes = dict[str, dict[str, Task]]


def check_placed(world: World, draft: Draft, placed: list[Task]) -> None:
    """Check the tasks that a decision places."""
    snap, on_nodes = draft.snap, defaultdict[str, dict[str, Task]](dict)
    for node_id in snap.nodes:
        on_nodes[node_id] = {task.id: draft.puts.get(task.id, task) for task in snap.tasks_on(node_id)}
    for task in placed:
        on_nodes[task.node_id][task.id] = task
    for task in placed:
        node = snap.nodes.get(task.node_id)
        if node is None:
            raise world.story.fail(f"{task.id} is placed on {task.node_id}, which is not there", task.id)
        after = {task.id, *(other.id for other in placed if other.beside == task.id or is_of_another_spec(task, other))}
        beside = oracle.holding(other for other in on_nodes[task.node_id].values() if other.id not in after)
        if why := oracle.obstacle(task, node, beside):
            raise world.story.fail(f"{slot_of(task)} is placed on {node.id}: {why}", task.id, node.id)
        check_luck(world, draft, on_nodes, task)
        if task.aims_at not in ("", node.id):
            check_missed(world, draft, on_nodes, task)
    chosen = {(task.service_id, task.spec_version): task for task in placed if is_chosen(task)}
    versions = Counter(service_id for service_id, _ in {(task.service_id, task.spec_version) for task in placed})
    for task in chosen.values():
        if versions[task.service_id] == 1:  # Or who came first found other counts than there are in the end.
            check_spread(world, draft, on_nodes, task)


def is_of_another_spec(task: Task, other: Task) -> bool:
    """Whether a task placed in the same decision has another limit: it may have come later, and may be too many."""
    return other.service_id == task.service_id and other.spec_version != task.spec_version


def is_chosen(task: Task) -> bool:
    """Whether the scheduler has chosen a task's node."""
    return isinstance(task.slot_key, int) and task.aims_at != task.node_id


def check_luck(world: World, draft: Draft, on_nodes: OnNodes, task: Task) -> None:
    """A node where tasks of the same spec fail again and again is the last choice."""
    known = {task_id: one for task_id, one in on_nodes[task.node_id].items() if task_id not in draft.deletes}
    all_ = draft.tasks_of(task.service_id)
    if not is_chosen(task) or not unlucky(world, known, task, task.node_id, all_):
        return
    branch, alone = branch_of(task, draft.snap.nodes[task.node_id]), as_if_alone(task)
    for node_id, node in draft.snap.nodes.items():
        there = oracle.holding(on_nodes[node_id].values())
        as_good = branch_of(task, node) == branch and not oracle.obstacle(alone, node, there)
        if as_good and not unlucky(world, on_nodes[node_id], task, node_id, all_):
            about = (task.id, task.node_id, node_id)
            raise world.story.fail(f"{slot_of(task)} is placed on {task.node_id}, where it fails", *about)


def check_missed(world: World, draft: Draft, on_nodes: OnNodes, task: Task) -> None:
    """A task that a rebalance moves goes where it was to go, unless it does not fit there any more."""
    aim = draft.snap.nodes.get(task.aims_at)
    if aim is not None and not oracle.obstacle(task, aim, oracle.holding(on_nodes[aim.id].values())):
        raise world.story.fail(
            f"{slot_of(task)} is placed on {task.node_id}, not on {aim.id}", task.id, task.service_id
        )


def check_spread(world: World, draft: Draft, on_nodes: OnNodes, task: Task) -> None:
    """No node that could take one more has two tasks of the service fewer than the one chosen.

    With a preference, no branch with such a node does, and none of the same branch.
    """
    have = Counter(
        {
            node_id: sum(1 for other in tasks.values() if other.service_id == task.service_id and other.live)
            for node_id, tasks in on_nodes.items()
        }
    )
    all_ = draft.tasks_of(task.service_id)
    if any(unlucky(world, tasks, task, node_id, all_) for node_id, tasks in on_nodes.items()):
        return
    branch = {node_id: branch_of(task, node) for node_id, node in draft.snap.nodes.items()}
    in_branch = Counter[str]()
    for node_id, zone in branch.items():
        in_branch[zone] += have[node_id]
    alone = as_if_alone(task)
    for node_id, node in draft.snap.nodes.items():
        same = branch[node_id] == branch[task.node_id]
        more = (
            have[task.node_id] - have[node_id] if same else in_branch[branch[task.node_id]] - in_branch[branch[node_id]]
        )
        if more < 2 or oracle.obstacle(alone, node, oracle.holding(on_nodes[node_id].values())):
            continue
        raise world.story.fail(
            f"{slot_of(task)} is placed on {task.node_id}, though {node_id} has {more} fewer of its service",
            task.id, task.service_id,
        )  # fmt: skip


def as_if_alone(task: Task) -> Task:
    """Return a task as if it took over from none: it is put beside that one only where it has no room elsewhere."""
    return replace(task, beside="")


def branch_of(task: Task, node: Node) -> str:
    """Return what of a node tasks are spread over; all nodes are one branch without a preference."""
    preferences = task.spec.placement.preferences if task.spec.placement else ()
    return node.spec.labels.get("zone", "") if preferences else ""


def unlucky(world: World, tasks: dict[str, Task], task: Task, node_id: str, all_: Iterable[Task]) -> bool:
    """Whether tasks of the same spec have failed on a node as often as makes it the last choice.

    tasks: those on the node, with the history that is kept of them.  all_: of the service; they tell of what is not.
    """
    after_s = world.clock.now_s - FAILURES_S
    failed = {
        other.id
        for other in tasks.values()
        if other.service_id == task.service_id
        and other.spec_version == task.spec_version
        and other.state in (State.FAILED, State.REJECTED)
        and other.updated_at.timestamp() > after_s
    }
    told = {
        failure.task_id
        for other in all_
        if other.spec_version == task.spec_version and not other.state.terminal
        for failure in other.failed_before
        if failure.node_id == node_id and failure.at.timestamp() > after_s
    }
    return len(failed | told) >= FAILURES

"""The life of each task: who moves it where, what of it never changes, and how many a slot may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.task import AGENT, STEPS, State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World

Moves = frozenset[tuple[State, State]]
KEPT = ("spec", "service_id", "slot", "spec_version", "service_name", "host_ports", "job_iteration")


def reach(agents: bool) -> Moves:
    """Return every pair of states between which the steps of nodes, or of the leader, lead in one commit."""
    moves = {(a, b) for a, steps in STEPS.items() for b, owner in steps.items() if (owner == AGENT) is agents}
    while more := {(a, d) for a, b in moves for c, d in moves if b is c} - moves:
        moves |= more
    return frozenset(moves)


LEGAL = {"nodes": reach(True), "leader": reach(False), "somebody": frozenset[tuple[State, State]]()}


def check_tasks(world: World, who: str, before: Snapshot, after: Snapshot, changes: Written) -> None:
    """Check the tasks that a commit wrote."""
    slots: dict[str, Task] = {}
    for (kind, _), old, new in changes:
        if kind is not Kind.TASK or not isinstance(new, Task):
            continue
        if isinstance(old, Task):
            check_moved(world, who, after, old, new)
        elif new.state > State.ASSIGNED or not oracle.is_wanted(new):
            raise world.story.fail(f"{slot_of(new)} is made in a state of its own", new.id)
        elif (service := before.services.get(new.service_id)) is None or service.spec_version != new.spec_version:
            raise world.story.fail(f"{slot_of(new)} is made though its service is another by now", new.id)
        if oracle.is_wanted(new):
            slots[slot_of(new)] = new
    for slot, task in slots.items():
        check_slot(world, after, slot, task)


def check_moved(world: World, who: str, after: Snapshot, old: Task, new: Task) -> None:
    """Observed state moves along steps of who wrote it, desired state only on; what a task is stays."""
    if old.state is not new.state and (old.state, new.state) not in LEGAL[who]:
        raise world.story.fail(f"{who} moved {slot_of(new)} from {old.state.value} to {new.state.value}", new.id)
    if new.desired_state < old.desired_state:
        raise world.story.fail(f"{slot_of(new)} is wanted again: {new.desired_state.value}", new.id)
    if any(getattr(old, name) != getattr(new, name) for name in KEPT):
        raise world.story.fail(f"{slot_of(new)} is not what it was", new.id)
    if old.node_id not in ("", new.node_id):
        raise world.story.fail(f"{slot_of(new)} moved from {old.node_id} to {new.node_id}", new.id)
    if oracle.is_wanted(old) and not oracle.is_wanted(new) and new.service_id in after.services:
        asked = new.stop_asked_at is not None
        if asked is new.state.terminal and asked is old.state.terminal:
            raise world.story.fail(f"{slot_of(new)} ended by itself or was asked to: its record says otherwise", new.id)
    if old.state is not new.state and who == "leader":
        check_given_up(world, after, old, new)


def check_given_up(world: World, after: Snapshot, old: Task, new: Task) -> None:
    """The leader calls a task lost or unfit only where it is."""
    node, service = after.nodes.get(new.node_id), after.services.get(new.service_id)
    if new.state is State.ORPHANED and node is not None and not world.judge.lost.is_given_up(node.id, new.updated_at):
        raise world.story.fail(f"{slot_of(new)} is called an orphan too early", new.id, new.node_id)
    if new.state is State.REJECTED and node is not None and service is not None:
        basis = world.judge.restarts.basis  # Somebody may have changed the service or the node since the decision.
        if not is_unfit(after, new) and not is_unfit(basis, new):
            raise world.story.fail(f"{slot_of(new)} is rejected on a node that it fits", new.id, node.id)


def is_unfit(snap: Snapshot, task: Task) -> bool:
    """Whether a task's node no longer satisfies it, or has less than its tasks ask for."""
    node, service = snap.nodes.get(task.node_id), snap.services.get(task.service_id)
    if node is None or service is None:
        return False
    return not oracle.may_stay(service, task, node) or oracle.too_much(
        oracle.holding(snap.tasks_on(node.id)), task, node
    )


def check_slot(world: World, after: Snapshot, slot: str, task: Task) -> None:
    """A slot has one wanted task; two while an update starts the new one first."""
    tasks = list(after.tasks_at(task.service_id, task.slot_key))
    wanted = [
        one for one in tasks if oracle.is_wanted(one) and not one.done and one.job_iteration == task.job_iteration
    ]
    taken_over = {one.beside for one in wanted}  # Who of them has ended needs only to be told so.
    wanted = [one for one in wanted if not (one.state.terminal and one.id in taken_over)]
    if len(wanted) < 2:
        return
    if len(wanted) == 2 and oracle.overlap(*wanted):
        return
    raise world.story.fail(f"slot {slot} has {len(wanted)} wanted tasks", slot, task.service_id)

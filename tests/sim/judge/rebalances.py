"""Rebalances: what is planned fits and helps, what moves is what was planned, and no service is less even for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.sim.judge import oracle
from tests.sim.judge.placement import branch_of
from tests.sim.judge.plans import check_plan, is_open, may_move
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.service import Service, UpdateState, UpdateStatus
from vault.model.task import State, Task
from vault.orchestrator.rebalancing import Plan
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.judge.decisions import Draft
    from tests.sim.world import World

Unevenness = tuple[int, int, int]
STILL = ("spec", "status", "description")  # Of a node: while these stay, it takes and keeps the same tasks.


@dataclass(slots=True)
class Begun:
    """A rebalance in progress."""

    status: UpdateStatus
    before: Unevenness  # Of its service when it began,
    placed: int  # and how many tasks had a node.
    disturbed: bool = False  # Whether something befell the cluster meanwhile that moves tasks, too.
    moved: set[str] = field(default_factory=set)  # Slots.


class Rebalances:
    """Those in progress."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._begun: dict[str, Begun] = {}
        # By service, version of its spec, and moves: the tasks that were on nodes.
        self._plans: dict[tuple[str, int, frozenset[tuple[str, str]]], set[str]] = {}

    def planned(self, snap: Snapshot, made: Plan, onto: Collection[str] | None, *, nodes: bool) -> None:
        """Somebody plans: each task moves once, to where it fits while it has its old place, and for the better."""
        beside = {node_id: oracle.holding(snap.tasks_on(node_id)) for node_id in snap.nodes}
        after = {service_id: list(snap.tasks_of(service_id)) for service_id in {m.task.service_id for m in made.moves}}
        for move in made.moves:
            task, service, node = move.task, snap.services[move.task.service_id], snap.nodes[move.to]
            about = (task.id, service.id, move.to)
            if task not in after[service.id]:
                raise self._world.story.fail(f"{slot_of(task)} is to move, and is no task, or moves twice", *about)
            if service.spec.mode.replicated is None or not may_move(snap, task) or (onto and move.to not in onto):
                raise self._world.story.fail(f"{slot_of(task)} is to move, and must not", *about)
            new = replace(task, spec=service.spec.task_template, node_id=move.to, aims_at=move.to)
            if why := oracle.obstacle(new, node, beside[move.to]):
                raise self._world.story.fail(f"{slot_of(task)} is to move to {move.to}: {why}", *about)
            beside[move.to].append(new)
            beside[task.node_id].remove(task)
            beside[task.node_id].append(replace(task, desired_state=State.SHUTDOWN))
            after[service.id].remove(task)
            after[service.id].append(new)
        for service_id, tasks in after.items():
            service = snap.services[service_id]
            if unevenness(snap, service, tasks) > unevenness(snap, service, snap.tasks_of(service_id)):
                raise self._world.story.fail(f"{service_id} would be less even", service_id)
        for service_id, version in made.versions.items():
            mine = frozenset((move.task.id, move.to) for move in made.moves if move.task.service_id == service_id)
            self._plans[service_id, version, mine] = on_nodes(snap, service_id)
        check_plan(self._world, snap, made, onto, nodes=nodes, beside=beside)

    def committed(self, who: str, before: Snapshot, after: Snapshot, changes: Written) -> None:
        """Follow a commit."""
        for (kind, _), old, new in changes:
            if kind is Kind.NODE and moves_tasks(old, new):
                for begun in self._begun.values():
                    begun.disturbed = True
            elif kind is Kind.TASK and isinstance(new, Task) and (begun := self._begun.get(new.service_id)) is not None:
                if old is None:
                    self._made(before, begun, new)
                begun.disturbed |= new.state.terminal and new.stop_asked_at is None
                begun.disturbed |= bool(new.node_id) and new.aims_at not in ("", new.node_id)  # It did not fit there.
        for _, old, new in changes:
            if isinstance(old, Service) and old != new:
                self._changed(who, before, after, old, new if isinstance(new, Service) else None)

    def _made(self, before: Snapshot, begun: Begun, new: Task) -> None:
        """No more slots are exchanged than were to be, and those that no longer are as their spec asks."""
        if new.update_started_at != begun.status.started_at:
            return
        service, slot = before.services[new.service_id], slot_of(new)
        old = [task for task in before.tasks_at(new.service_id, new.slot_key) if oracle.is_wanted(task)]
        if slot in begun.moved or any(oracle.outdated(before, service, task) for task in old):
            return
        begun.moved.add(slot)
        if len(begun.moved) > len(begun.status.moves):
            about = (new.service_id, new.id)
            raise self._world.story.fail(f"{new.service_id} moves more than {len(begun.status.moves)} tasks", *about)

    def _changed(self, who: str, before: Snapshot, after: Snapshot, old: Service, new: Service | None) -> None:
        begun = self._begun.get(old.id)
        status = new.update_status if new is not None else None
        if new is not None and status is not None and begins(old, new):
            if who != "somebody" or new.spec != old.spec:
                raise self._world.story.fail(f"{who} began to rebalance {new.id}", new.id)
            if is_to_be_updated(before, old):
                raise self._world.story.fail(f"{new.id} is rebalanced before its update has begun", new.id)
            for move in status.moves:
                node = before.nodes.get(move.node_id)
                if node is None or not is_open(node):
                    raise self._world.story.fail(f"{new.id} is to move to {move.node_id}, which takes none", new.id)
            version = new.spec_version.index if new.spec_version else 0
            made_for = self._plans.get((new.id, version, frozenset((one.task_id, one.node_id) for one in status.moves)))
            if made_for is None:
                raise self._world.story.fail(f"{new.id} is rebalanced by a plan for another spec", new.id)
            config = new.spec.update_config
            if status.deadline != ((config.deadline or 0) if config is not None else 0):
                raise self._world.story.fail(f"{new.id} is rebalanced without its deadline", new.id)
            tasks = list(after.tasks_of(new.id))
            ended = any(oracle.is_wanted(task) and task.state.terminal for task in tasks)  # Others are to come.
            others = made_for != on_nodes(after, new.id)  # Than those that it was planned for.
            even = unevenness(after, new, tasks)
            self._begun[new.id] = Begun(status, even, placed(after, new), disturbed=ended or others)
        elif begun is not None and (status is None or status.moves != begun.status.moves):
            del self._begun[old.id]
            ends = status is not None and status.state is UpdateState.COMPLETED
            if new is not None and ends and status.started_at == begun.status.started_at and not begun.disturbed:
                self._check_even(after, new, begun)

    def _check_even(self, after: Snapshot, service: Service, begun: Begun) -> None:
        """A rebalance that nothing has disturbed leaves a service no less even than it was."""
        if placed(after, service) != begun.placed:
            return  # Tasks that had waited have their nodes now.
        self._world.judge.counts["undisturbed rebalances"] += 1
        now = unevenness(after, service, after.tasks_of(service.id))
        if now > begun.before:
            raise self._world.story.fail(f"{service.id} is less even than before: {begun.before}, {now}", service.id)

    def check_new(self, draft: Draft, service: Service, task: Task) -> None:
        """A task aims at a node exactly if a plan says that it is to go there."""
        plan = plan_of(draft.snap.services.get(service.id))
        slot = list(draft.snap.tasks_at(task.service_id, task.slot_key))
        aims = {plan[old.id] for old in slot if old.id in plan and old.live}
        if task.aims_at and task.aims_at not in aims:
            raise self._world.story.fail(f"{slot_of(task)} aims at {task.aims_at}, which nobody planned", task.id)
        status = service.update_status
        own = status is not None and task.update_started_at == status.started_at
        if aims and not task.aims_at and own and all(old.update_started_at != task.update_started_at for old in slot):
            raise self._world.story.fail(f"{slot_of(task)} is to move to {aims}, and does not aim there", task.id)


def begins(old: Service, new: Service) -> bool:
    """Whether a rebalance begins."""
    a, b = old.update_status, new.update_status
    return b is not None and bool(b.moves) and (a is None or a.started_at != b.started_at)


def is_to_be_updated(snap: Snapshot, service: Service) -> bool:
    """Whether an update of a service to its present spec has yet to begin."""
    status = service.update_status
    if status is not None and status.spec_version in (None, service.spec_version):
        return False
    return any(oracle.is_wanted(task) and oracle.is_old(snap, service, task) for task in snap.tasks_of(service.id))


def plan_of(service: Service | None) -> dict[str, str]:
    """Return which tasks a rebalance in progress exchanges, and where their successors are to run."""
    status = service.update_status if service is not None else None
    if service is None or status is None or status.state is not UpdateState.UPDATING:
        return {}
    if status.spec_version != service.spec_version:
        return {}
    return {move.task_id: move.node_id for move in status.moves}


def moves_tasks(old: object, new: object) -> bool:
    """Whether a change to a node may move tasks."""
    if not isinstance(old, Node) or not isinstance(new, Node):
        return True
    return any(getattr(old, name) != getattr(new, name) for name in STILL)


def unevenness(snap: Snapshot, service: Service, tasks: Iterable[Task]) -> Unevenness:
    """Return how uneven a service is: tasks that should be elsewhere, then branches, then nodes; less is better."""
    live = [task for task in tasks if task.live and task.node_id in snap.nodes]
    wanted = service.spec.task_template
    on = Counter(task.node_id for task in live)
    most = wanted.placement.max_replicas if wanted.placement else 0
    misplaced = 0
    for node_id, count in on.items():
        node = snap.nodes[node_id]
        if not is_open(node):
            continue  # Of such nothing is taken.
        fits = oracle.allowed(wanted, node) and oracle.runs_on(wanted, node)
        misplaced += count if not fits else max(count - most, 0) if most else 0
    spread = live[0] if live else None
    branches = Counter(
        branch_of(replace(spread, spec=wanted), snap.nodes[task.node_id]) for task in live if spread is not None
    )
    return misplaced, squares(branches), squares(on)


def placed(snap: Snapshot, service: Service) -> int:
    """Return how many tasks of a service are on nodes."""
    return len(on_nodes(snap, service.id))


def on_nodes(snap: Snapshot, service_id: str) -> set[str]:
    """Return the tasks of a service that are on nodes."""
    return {task.id for task in snap.tasks_of(service_id) if task.live and task.node_id in snap.nodes}


def squares(counts: Counter[str]) -> int:
    """Return what is least when all counts are alike."""
    return sum(count * count for count in counts.values())

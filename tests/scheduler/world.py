"""Nodes and tasks in one line, for tests of the scheduler."""

from collections.abc import Iterable

from msgspec.structs import replace

from vault.model.base import Version
from vault.model.generic import GenericResource, discrete
from vault.model.node import Engine, Node, NodeDescription, NodeResources, NodeSpec, NodeStatus, Platform
from vault.model.service import (
    Placement,
    PlacementPreference,
    Reservation,
    Resources,
    SpreadOver,
    TaskSpec,
)
from vault.model.task import State, Task, TaskStatus
from vault.scheduler.schedule import Scheduler
from vault.store.changes import Put
from vault.store.decision import Decision
from vault.store.snapshot import Snapshot

NOW_S = 10_000.0
CPU = 10**9


def node(
    node_id: str,
    *,
    cpus: int = 4,
    memory: int = 4096,
    arch: str = "x86_64",
    generic: Iterable[GenericResource] = (),
    engine: Engine | None = None,
    **labels: str,
) -> Node:
    """Return a node that is ready."""
    return Node(
        id=node_id,
        spec=NodeSpec(labels=labels),
        description=NodeDescription(
            resources=NodeResources(nano_cpus=cpus * CPU, memory_bytes=memory, generic_resources=tuple(generic)),
            platform=Platform(architecture=arch, os="linux"),
            engine=engine or Engine(),
        ),
        status=NodeStatus(state="ready"),
    )


def pending(task_id: str, service_id: str = "web", **spec: object) -> Task:
    """Return a task that waits for a node."""
    return Task(
        id=task_id,
        spec=TaskSpec(**spec),  # type: ignore[arg-type]
        service_id=service_id,
        slot=1,
        spec_version=Version(index=1),
        status=TaskStatus(state=State.PENDING),
    )


def on(task: Task, node_id: str, state: State = State.RUNNING) -> Task:
    """Return the task as it is on a node."""
    return replace(task, node_id=node_id, status=TaskStatus(state=state))


def reserve(cpus: int = 0, memory: int = 0, **generic: int) -> Resources:
    """Return what a task keeps for itself."""
    kinds = tuple(discrete(kind, count) for kind, count in generic.items())
    return Resources(reservations=Reservation(nano_cpus=cpus * CPU, memory_bytes=memory, generic_resources=kinds))


def spread(*labels: str, constraints: tuple[str, ...] = (), most: int = 0) -> Placement:
    """Return a placement with preferences, the first first."""
    preferences = tuple(PlacementPreference(spread=SpreadOver(spread_descriptor=label)) for label in labels)
    return Placement(preferences=preferences, constraints=constraints, max_replicas=most)


def snapshot(*objects: Node | Task, after_s: float = 0.0) -> Snapshot:
    """Return a snapshot of objects that were written some time ago."""
    return Snapshot().apply([Put(obj) for obj in objects], index=1, now_s=NOW_S - after_s)


def tasks_in(decision: Decision) -> list[Task]:
    """Return the tasks that a decision changes."""
    return [change.obj for change in decision.changes if isinstance(change, Put) and isinstance(change.obj, Task)]


def settle(snap: Snapshot, scheduler: Scheduler | None = None, *, now_s: float = NOW_S) -> Snapshot:
    """Let a scheduler decide until it has nothing more to say; each decision is committed."""
    scheduler = scheduler or Scheduler()
    decision = scheduler(snap, None, now_s=now_s, new_id=str)
    while decision.changes or decision.ask_again_s == now_s:
        before, snap = snap, snap.apply(decision.changes, index=snap.index + 1, now_s=now_s)
        decision = scheduler(snap, snap.changed_since(before), now_s=now_s, new_id=str)
    return snap


def schedule(*objects: Node | Task, after_s: float = 0.0) -> dict[str, str]:
    """Return where each task is placed, or its reason, some time after the objects were written."""
    decision = Scheduler()(snapshot(*objects, after_s=after_s), None, now_s=NOW_S, new_id=str)
    return {task.id: task.node_id if task.state is State.ASSIGNED else task.status.err for task in tasks_in(decision)}

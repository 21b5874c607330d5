"""The service that is being decided about: its tasks by slot, and what has been decided so far.

Local to one decision, which stays a pure function: snapshot in, changes out.  Used by `services` and by the parts it
calls in turn, so that each sees what the ones before it decided.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain

from msgspec.structs import replace

from vault.model.base import from_s
from vault.model.ids import Kind, NewID
from vault.model.node import Node
from vault.model.service import DEFAULT_STOP_GRACE_NS, Service, UpdateState
from vault.model.task import State, Task, TaskStatus
from vault.orchestrator.groups import Groups
from vault.store.changes import Atomic, Change, Put, Relied
from vault.store.snapshot import Snapshot

SlotKey = int | str  # The slot of a replicated service's task, the node of a global one's.
STOP_LIMIT_S = 60.0  # SwarmKit waits so long at most for an old task to stop.
STOP_LIMIT_AFTER_GRACE_S = 30.0  # Ours: never less than the time the task was promised.


def after_ns(moment: datetime, duration_ns: int) -> datetime:
    """Return the moment `duration_ns` nanoseconds later."""
    return moment + timedelta(microseconds=duration_ns / 1000)


def asked_to_stop(task: Task, now: datetime, desired: State = State.SHUTDOWN) -> Task:
    """Return the task with a desired state beyond RUNNING; one that has ended was not asked to stop."""
    asked = task.stop_asked_at or (None if task.state.terminal else now)
    return replace(task, desired_state=desired, stop_asked_at=asked)


def moves_of(service: Service) -> dict[str, str]:
    """Return the tasks that a rebalance in progress exchanges, and the nodes that their successors are to run on."""
    status = service.update_status
    if status is None or status.state is not UpdateState.UPDATING or status.spec_version != service.spec_version:
        return {}
    return {move.task_id: move.node_id for move in status.moves}


class Work:
    """One service, or some of its slots, and the changes to it and its tasks that this decision makes."""

    def __init__(
        self, snap: Snapshot, service: Service, keys: Iterable[SlotKey] | None = None, *, now_s: float, new_id: NewID
    ) -> None:
        self.snap = snap
        self.service = service
        self.now = from_s(now_s)
        self.new_id = new_id
        self.keys = None if keys is None else sorted(keys, key=str)  # None: the whole service.
        self.due: dict[SlotKey | None, datetime] = {}  # Slot, or None for all of them -> when to look again.
        self.slots: dict[SlotKey, dict[str, Task]] = {}
        self._wanted: dict[SlotKey, list[Task]] = {}  # By slot, as long as nothing is put there.
        self.empty: tuple[int, ...] = ()  # Slots that want a task, beyond what one decision makes.
        self.unsure = False  # Whether a refusal of what was decided would only be seen by another look at all of it.
        self.waits_for = ""  # Why no task may start, as `depends` has found; "" = they may.
        self.moves = moves_of(service)  # Task -> node: those that a rebalance has yet to exchange.
        self._read = service
        self._groups: Groups[str] = Groups()
        self._decided_in: dict[SlotKey, str] = {}  # Slot -> the first of its tasks that was decided on.
        if self.keys is None:
            tasks = snap.tasks_of(service.id)
        else:
            tasks = chain.from_iterable(snap.tasks_at(service.id, key) for key in self.keys)
        for task in sorted(tasks, key=lambda task: task.id):  # Equal snapshots, equal decisions.
            self.slots.setdefault(task.slot_key, {})[task.id] = task

    def load(self, key: SlotKey) -> None:
        """Look at one more slot."""
        if self.keys is not None and key not in self.slots:
            tasks = sorted(self.snap.tasks_at(self.service.id, key), key=lambda task: task.id)
            self.slots[key] = {task.id: task for task in tasks}

    def as_whole(self) -> "Work":
        """Return the work on the whole service instead, with nothing decided yet."""
        return Work(self.snap, self._read, now_s=self.now.timestamp(), new_id=self.new_id)

    def misses(self, key: SlotKey) -> bool:
        """Whether a slot that nobody gave up has no task to fill it."""
        given_up = all(task.desired_state is State.REMOVE for task in self.tasks(key))
        return not given_up and not self.filled(key)

    def in_order(self) -> list[SlotKey]:
        """Return the slots that have tasks, ended ones too, in order."""
        return sorted(self.slots, key=lambda key: (str(key) if isinstance(key, str) else "", key))

    def tasks(self, key: SlotKey) -> Iterator[Task]:
        """Return the tasks of a slot, ended ones too, in no order."""
        return iter(tuple(self.slots.get(key, {}).values()))

    def wanted(self, key: SlotKey) -> list[Task]:
        """Return the tasks of a slot that nobody has asked to end; ended ones among them are yet to be handled."""
        wanted = self._wanted.get(key)
        if wanted is None:
            wanted = self._wanted[key] = [task for task in self.slots.get(key, {}).values() if task.wanted]
        return wanted

    def ended_for_good(self, key: SlotKey) -> list[Task]:
        """Return the tasks of a slot that ended and are to have no successor; an update that comes changes that."""
        return [task for task in self.tasks(key) if task.stays_down and task.desired_state is State.SHUTDOWN]

    def filled(self, key: SlotKey) -> bool:
        """Whether a slot needs no task: it has one, or its last one ended for good."""
        return bool(self.wanted(key) or self.ended_for_good(key))

    def begin_anew(self, key: SlotKey) -> list[Task]:
        """Return the tasks of a slot that ended for good as they are once another is made there."""
        return [replace(task, stays_down=False) for task in self.ended_for_good(key)]

    def beside(self, key: SlotKey, task: Task) -> Task | None:
        """Return the task that one of an update start-first runs beside and will take over from; None when it has."""
        old = self.slots.get(key, {}).get(task.beside)
        return old if old is not None and old.wanted else None

    def successor(self, key: SlotKey, task: Task) -> Task | None:
        """Return the task of an update start-first that will take over from one; None when there is none."""
        return next((other for other in self.wanted(key) if other.beside == task.id), None)

    def filled_slots(self) -> list[SlotKey]:
        """Return the slots that need no task."""
        return [key for key in self.slots if self.filled(key)]

    def node_of(self, task: Task) -> Node | None:
        """Return the node a task is assigned to; None when it has none or the node is gone."""
        return self.snap.nodes.get(task.node_id)

    def may_run(self, task: Task) -> bool:
        """Whether a container of the task may still be running somewhere that we can wait for."""
        if not State.ASSIGNED <= task.state <= State.RUNNING:
            return False
        node = self.node_of(task)
        if node is None or node.status.state == "down":
            return False
        return task.stop_asked_at is None or self.now < self.given_up_at(task.stop_asked_at, task)

    def given_up_at(self, asked: datetime, task: Task) -> datetime:
        """Return until when a task that was asked to stop is waited for."""
        grace_ns = task.spec.container_spec.stop_grace_period
        grace_s = (DEFAULT_STOP_GRACE_NS if grace_ns is None else grace_ns) / 1e9
        return asked + timedelta(seconds=max(STOP_LIMIT_S, grace_s + STOP_LIMIT_AFTER_GRACE_S))

    def new_task(self, key: SlotKey) -> Task:
        """Return a fresh task for a slot, held at READY; `restart.release_held` lets it start, often at once."""
        spec = self.service.spec
        ports = spec.endpoint_spec.ports if spec.endpoint_spec else ()
        return Task(
            id=self.new_id(),
            spec=spec.task_template,
            service_id=self.service.id,
            slot=key if isinstance(key, int) else 0,
            node_id=key if isinstance(key, str) else "",
            status=TaskStatus(timestamp=self.now, state=State.NEW, message="created"),
            desired_state=State.READY,
            spec_version=self.service.spec_version,
            job_iteration=self.service.job_iteration,
            numbered=spec.mode.replicated_job is not None,
            service_name=spec.name,
            service_labels=spec.labels,
            host_ports=tuple(port for port in ports if port.publish_mode == "host"),
        )

    def put(self, *tasks: Task) -> None:
        """Decide on tasks, all of them or none; with them stands or falls what else is decided about their slots."""
        together: list[str] = []
        for task in tasks:
            key = task.slot_key
            self.slots.setdefault(key, {})[task.id] = task
            self._wanted.pop(key, None)
            together += (task.id, self._decided_in.setdefault(key, task.id))
        self._groups.join(together)

    def put_service(self, service: Service) -> None:
        """Decide on the service itself."""
        self.service = service

    def again(self, at: datetime, key: SlotKey | None = None) -> None:
        """Ask to look at a slot, or at all of the service, again at a moment."""
        self.due[key] = min(self.due.get(key, at), at)

    @property
    def decided(self) -> bool:
        """Whether anything was decided."""
        return bool(self._groups) or self.service is not self._read

    def changes(self) -> tuple[Change | Atomic, ...]:
        """Return what was decided; new tasks rely on the service being as it was read."""
        relied = (Relied(Kind.SERVICE, self._read.id, self._read.version.index),)
        decided = {task.id: task for tasks in self.slots.values() for task in tasks.values()}
        changes: list[Change | Atomic] = []
        for group in self._groups:
            puts = [Put(task, () if task.version.index else relied) for task in map(decided.__getitem__, group)]
            changes.append(puts[0] if len(puts) == 1 else Atomic(tuple(puts)))
        if self.service is not self._read:
            changes.append(Put(self.service))  # Last: the tasks above rely on its old version.
        return tuple(changes)


def made(task: Task) -> tuple[bool, datetime, str]:
    """Sort key: when a task was made; those not stored yet come last."""
    return (not task.version.index, task.created_at, task.id)

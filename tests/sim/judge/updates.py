"""Updates only go on, keep to their pace, and end in the words that are true."""

from __future__ import annotations

from datetime import datetime
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from tests.sim.judge.rebalances import plan_of
from tests.sim.judge.restarts import may_be_replaced
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.service import Service, UpdateConfig, UpdateState, UpdateStatus
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.judge.decisions import Draft
    from tests.sim.world import World

UPDATING, PAUSED, COMPLETED = UpdateState.UPDATING, UpdateState.PAUSED, UpdateState.COMPLETED
BACK, BACK_PAUSED = UpdateState.ROLLBACK_STARTED, UpdateState.ROLLBACK_PAUSED
BACK_COMPLETED = UpdateState.ROLLBACK_COMPLETED
IN_PROGRESS, STOPPED = (UPDATING, BACK), (PAUSED, BACK_PAUSED)
DONE = (COMPLETED, BACK_COMPLETED)
# Where the leader may take an update of one spec; None = there is none yet.
EDGES: dict[UpdateState | None, tuple[UpdateState, ...]] = {
    None: (UPDATING,),
    UPDATING: (PAUSED, COMPLETED),
    BACK: (BACK, BACK_PAUSED, BACK_COMPLETED),
    COMPLETED: (UPDATING,),  # A node that was paused meanwhile has its turn.
    BACK_COMPLETED: (UPDATING,),
    PAUSED: (),
    BACK_PAUSED: (),
}
LATE = "because it was not completed within"
LATE_S = 1.0  # How long after its deadline an update may still be in progress.


def status_of(service: Service) -> UpdateStatus | None:
    """Return where the update to the present spec stands; None before it has begun."""
    status = service.update_status
    if status is not None and status.spec_version is not None and status.spec_version != service.spec_version:
        return None
    return status


def config_of(service: Service, status: UpdateStatus) -> UpdateConfig:
    """Return how tasks are to be exchanged."""
    back = status.state in (BACK, BACK_PAUSED, BACK_COMPLETED)
    config = service.spec.rollback_config if back else service.spec.update_config
    return config or UpdateConfig(parallelism=1)


def monitor_s(config: UpdateConfig) -> float:
    """Return how long a new task is watched."""
    return config.monitor / 1e9 if config.monitor else 5.0


def ends_s(status: UpdateStatus) -> float:
    """Return until when an update has to be complete."""
    return status.started_at.timestamp() + status.deadline / 1e9 if status.deadline and status.started_at else inf


class Updates:
    """When each task was seen to run and to end, which is what updates are judged by."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ran_s: dict[str, float] = {}
        self.ended_s: dict[str, float] = {}
        self._ends_s: dict[str, float] = {}  # Service -> the deadline of its update in progress.
        self._heir_of: dict[str, datetime] = {}  # Task that moved -> the update that had made the one before it.
        self._beside: dict[str, Task] = {}  # Tasks that were started beside another and run.
        self._respecified: set[str] = set()  # Services with another spec since the leader was at rest.

    def committed(self, who: str, before: Snapshot, after: Snapshot, changes: Written) -> None:
        """Follow a commit."""
        now_s = self._world.clock.now_s
        for (kind, object_id), old, new in changes:
            if kind is Kind.TASK:
                if not isinstance(new, Task):
                    for known in (self.ran_s, self.ended_s, self._heir_of, self._beside):
                        known.pop(object_id, None)
                    continue
                if old is None and new.update_started_at is None:
                    self._inherits(before, after, new)
                if new.beside and new.state is State.RUNNING and oracle.is_wanted(new):
                    self._beside[object_id] = new
                else:
                    self._beside.pop(object_id, None)
                if new.state is State.RUNNING:
                    self.ran_s.setdefault(object_id, now_s)
                elif new.state.terminal:
                    self.ended_s.setdefault(object_id, now_s)
            elif isinstance(new, Service):
                status = status_of(new)
                ends = ends_s(status) if status is not None and status.state in IN_PROGRESS else inf
                self._ends_s[object_id] = ends
                if isinstance(old, Service):
                    self._check_edge(who, old, new)
                    is_another = old.spec != new.spec
                    if is_another:
                        self._respecified.add(object_id)
                    if is_another is (old.spec_version == new.spec_version):
                        raise self._world.story.fail(f"{object_id} is known by another spec than it has", object_id)

    def _inherits(self, before: Snapshot, after: Snapshot, new: Task) -> None:
        """A task that moves though it has not ended is still its update's: the one in its place is waited for, too."""
        for old in before.tasks_at(new.service_id, new.slot_key):
            moved = after.tasks.get(old.id)
            if moved is None or oracle.is_wanted(moved) or moved.state.terminal or not oracle.is_wanted(old):
                continue
            if not may_be_replaced(old):
                continue  # It is given up for good; another of its slot moves.
            begun = self._made_by(old)
            if begun is not None and old.spec_version == new.spec_version:
                self._heir_of[new.id] = begun

    def _made_by(self, task: Task) -> datetime | None:
        """Return which update a task belongs to, by its beginning."""
        return task.update_started_at or self._heir_of.get(task.id)

    def _is_own(self, task: Task, status: UpdateStatus) -> bool:
        """Whether a task belongs to an update."""
        return task.spec_version == status.spec_version and self._made_by(task) == status.started_at

    def starts_first(self, service: Service) -> bool:
        """Whether an update in progress, or one that has stopped, lets a new task start before the old one stops."""
        status = status_of(service)
        return status is not None and config_of(service, status).order == "start-first"

    def at_rest(self, snap: Snapshot) -> None:
        """The leader has nothing to do: no update has overrun its deadline, or is yet to begin; nobody waits to go."""
        for service_id, end_s in self._ends_s.items():
            if self._world.clock.now_s > end_s + LATE_S and service_id in snap.services:
                raise self._world.story.fail(f"the update of {service_id} has overrun its deadline", service_id)
        for task in self._beside.values():
            old = snap.tasks.get(task.beside)
            if old is not None and oracle.is_wanted(old):
                raise self._world.story.fail(f"{slot_of(task)} keeps two tasks though the new one runs", slot_of(task))
        if self._respecified:
            self._check_begun(snap)

    def _check_begun(self, snap: Snapshot) -> None:
        """Services that have another spec are updated, unless no task is of an older one."""
        for service_id in sorted(self._respecified):
            service = snap.services.get(service_id)
            self._respecified.remove(service_id)
            if service is None or service.is_job:
                continue
            status = status_of(service)
            if status is not None and status.state not in DONE:
                continue
            for task in filter(attrgetter("live"), snap.tasks_of(service_id)):
                if oracle.is_old(snap, service, task):
                    raise self._world.story.fail(f"{slot_of(task)} is of an older spec and stays", slot_of(task))

    def decided(self, draft: Draft) -> None:
        """The leader has decided about updates: judge what they become by the tasks as they would be then."""
        for service_id, new in draft.services.items():
            if (old := draft.snap.services.get(service_id)) is None:
                continue
            a, b = status_of(old), status_of(new)
            if a == b or b is None:
                continue
            if b.state in DONE:
                self._check_done(draft, old, new, b)
            elif b.state in STOPPED:
                self._check_stopped(draft, new, b)
            elif a is not None and a.state is UPDATING and b.state is BACK:
                self._check_rolled_back(draft, old, new, a, b)

    def _check_edge(self, who: str, old: Service, new: Service) -> None:
        """An update moves only where it may, and only its own ways change a spec."""
        a, b = status_of(old), status_of(new)
        status = new.update_status
        if (
            old.spec != new.spec
            and status is not None
            and (status.state is not BACK or status.spec_version is not None)
        ):
            raise self._world.story.fail(f"{new.id} has another spec, and the update of the former one", new.id)
        if a == b:
            return
        begun, state = a.state if a else None, b.state if b else None
        if who == "somebody":
            rebalances = b is not None and bool(b.moves) and (begun not in STOPPED or (a is not None and bool(a.moves)))
            if state is UPDATING and rebalances and begun not in IN_PROGRESS:
                return
            if state is not None and state is not BACK:
                raise self._world.story.fail(f"a client set the update of {new.id} to {state}", new.id)
        elif begun is UPDATING and state is BACK:
            if old.previous_spec is None or new.spec != old.previous_spec or new.previous_spec is not None:
                raise self._world.story.fail(f"{new.id} is rolled back to another spec than it had", new.id)
        elif state is None or old.spec != new.spec or state not in EDGES[begun]:
            raise self._world.story.fail(f"the update of {new.id} went from {begun} to {state}", new.id)

    def _check_done(self, draft: Draft, old: Service, service: Service, status: UpdateStatus) -> None:
        """Every wanted task is of the new spec, and those that the update made have run as long as they are watched."""
        now_s, config, snap = self._world.clock.now_s, config_of(service, status), draft.snap
        tasks, moves = draft.tasks_of(service.id), plan_of(old)
        if status.moves:
            raise self._world.story.fail(f"{service.id} is {status.state}, and remembers what has moved", service.id)
        for task in filter(attrgetter("live"), tasks):
            if task.id in moves and not oracle.is_kept(task, tasks):
                raise self._world.story.fail(
                    f"{service.id} is rebalanced, {slot_of(task)} has not moved", slot_of(task)
                )
            if oracle.is_old(snap, service, task, tasks):
                raise self._world.story.fail(f"{service.id} is {status.state}, {slot_of(task)} is not", slot_of(task))
            if self._is_own(task, status) and self.ran_s.get(task.id, now_s) > now_s - monitor_s(config):
                raise self._world.story.fail(
                    f"{service.id} is {status.state}, and {slot_of(task)} was not watched long enough", service.id
                )
        failed = [task for task in tasks if self._is_own(task, status) and self._failed(task, config)]
        own = {task.slot_key for task in tasks if self._is_own(task, status)}
        if config.failure_action != "continue" and len(failed) > config.max_failure_ratio * len(own) + 1e-9:
            raise self._world.story.fail(f"{service.id} is {status.state} with {len(failed)} failures", service.id)

    def _check_rolled_back(
        self, draft: Draft, old: Service, new: Service, was: UpdateStatus, status: UpdateStatus
    ) -> None:
        """An update that failed goes back if it is to."""
        if config_of(old, was).failure_action != "rollback" or was.moves:
            raise self._world.story.fail(f"{new.id} is rolled back though nobody asked for that", new.id)
        self._check_failed(draft, old, was, status.message)

    def _check_stopped(self, draft: Draft, service: Service, status: UpdateStatus) -> None:
        """It stops only if it is to stop, or when its time is over."""
        config = config_of(service, status)
        if config.failure_action == "continue" and LATE not in status.message:
            raise self._world.story.fail(f"the update of {service.id} stops though it is to go on", service.id)
        rolls_back = config.failure_action == "rollback" and status.state is PAUSED and not status.moves
        if rolls_back and "it cannot be rolled back" not in status.message:
            raise self._world.story.fail(f"the update of {service.id} stops, not rolled back", service.id)
        self._check_failed(draft, service, status, status.message)

    def _check_failed(self, draft: Draft, service: Service, status: UpdateStatus, message: str) -> None:
        """An update failed by its deadline, or because too many tasks of its own failed, of which it names one."""
        if LATE in message:
            if self._world.clock.now_s < ends_s(status):
                raise self._world.story.fail(f"the update of {service.id} ends before its deadline", service.id)
            return
        config = config_of(service, status)
        tasks = list(draft.snap.tasks_of(service.id))
        failed = {task.id for task in tasks if self._is_own(task, status) and self._failed(task, config, as_noted=True)}
        named = message.partition(";")[0].rpartition(" ")[2]
        if named not in failed:
            raise self._world.story.fail(f"the update of {service.id} fails by a task that did not", service.id)
        if named in draft.deletes and status.state in STOPPED:
            raise self._world.story.fail(f"the update of {service.id} names a task that is deleted", service.id)
        slots = {task.slot_key for task in tasks if self._concerns(draft.snap, service, status, task)}
        if len(failed) <= config.max_failure_ratio * len(slots):
            raise self._world.story.fail(f"the update of {service.id} fails by {len(failed)} tasks only", service.id)

    def _concerns(self, snap: Snapshot, service: Service, status: UpdateStatus, task: Task) -> bool:
        """Whether an update is about the slot of a task: it has exchanged that, or is to."""
        if self._is_own(task, status):
            return task.desired_state < State.REMOVE
        node = snap.nodes.get(task.node_id)
        if service.is_global and (node is None or node.spec.availability != "active"):
            return False  # It is not its turn before the node takes new tasks.
        if service.is_global and node and not oracle.eligible(service, node):
            return False  # What is over there has no successor.
        return (oracle.is_wanted(task) or task.stays_down) and oracle.is_old(snap, service, task)

    def _failed(self, task: Task, config: UpdateConfig, *, as_noted: bool = False) -> bool:
        """Whether a task ended by itself before, or not long enough after, it was seen running.

        as_noted: when the leader noted that, which may be later than it could have.
        """
        if not task.state.terminal or task.stop_asked_at is not None or oracle.is_satisfied(task):
            return False
        noted = task.running_since.timestamp() if as_noted and task.running_since else 0.0
        ran_s = self.ran_s.get(task.id)
        return ran_s is None or self.ended_s[task.id] < max(ran_s, noted) + monitor_s(config)

    def exchanged(self, service: Service, tasks: list[Task]) -> None:
        """No more slots are in hand than the parallelism allows, and each rests for the delay once its task runs."""
        status = status_of(service)
        if status is None or status.state not in IN_PROGRESS:
            return
        config, now_s = config_of(service, status), self._world.clock.now_s
        busy = 0
        for task in tasks:
            if not self._is_own(task, status):
                continue
            if task.state.terminal and task.stop_asked_at is not None:
                continue  # It moved: another is in hand in its place.
            if task.state.terminal:
                since_s: float | None = self.ended_s[task.id]
            elif not oracle.is_wanted(task):
                continue
            else:
                since_s = self.ran_s.get(task.id)
            busy += since_s is None or now_s < since_s + config.delay / 1e9
        if config.parallelism and busy > config.parallelism:
            raise self._world.story.fail(f"{service.id} has {busy} slots in hand, not {config.parallelism}", service.id)


def is_judged_by(service: Service, task: Task) -> bool:
    """Whether an update in progress is judged by a task that it made, or one that has stopped may name it."""
    status = status_of(service)
    if status is None or status.state not in (*IN_PROGRESS, *STOPPED):
        return False
    return task.update_started_at == status.started_at and task.spec_version == status.spec_version

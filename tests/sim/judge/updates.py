"""Updates only go on, keep to their pace, and end in the words that are true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.service import Service, UpdateConfig, UpdateState, UpdateStatus
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
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


class Updates:
    """When each task was seen to run and to end, which is what updates are judged by."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ran_s: dict[str, float] = {}
        self.ended_s: dict[str, float] = {}

    def committed(self, who: str, before: Snapshot, after: Snapshot, changes: Written) -> None:
        """Follow a commit."""
        now_s = self._world.clock.now_s
        for (kind, object_id), old, new in changes:
            if kind is Kind.TASK:
                if not isinstance(new, Task):
                    self.ran_s.pop(object_id, None)
                    self.ended_s.pop(object_id, None)
                    continue
                if new.state is State.RUNNING:
                    self.ran_s.setdefault(object_id, now_s)
                elif new.state.terminal:
                    self.ended_s.setdefault(object_id, now_s)
            elif isinstance(old, Service) and isinstance(new, Service):
                self._check_moved(who, before, after, old, new)

    def overlaps(self, snap: Snapshot, one: Task, other: Task) -> bool:
        """Whether an update that starts the new task first lets two tasks of a slot be wanted, and run."""
        service = snap.services.get(one.service_id)
        status = status_of(service) if service is not None else None
        if service is None or status is None or config_of(service, status).order != "start-first":
            return False
        return (one.spec_version == service.spec_version) is not (other.spec_version == service.spec_version)

    def _check_moved(self, who: str, before: Snapshot, after: Snapshot, old: Service, new: Service) -> None:
        a, b = status_of(old), status_of(new)
        if a == b:
            return
        begun, state = a.state if a else None, b.state if b else None
        if who == "somebody":
            if state is not None and state is not BACK:
                raise self._world.story.fail(f"a client set the update of {new.id} to {state}", new.id)
            return
        if state is None or old.spec != new.spec or state not in EDGES[begun]:
            raise self._world.story.fail(f"the update of {new.id} went from {begun} to {state}", new.id)
        assert b is not None
        if state in DONE:
            self._check_done(after, new, b)
        elif state in STOPPED:
            self._check_stopped(before, after, new, b)

    def _check_done(self, after: Snapshot, service: Service, status: UpdateStatus) -> None:
        """Every wanted task is of the new spec, and those that the update made have run as long as they are watched."""
        now_s, config = self._world.clock.now_s, config_of(service, status)
        tasks = list(after.tasks_of(service.id))
        for task in tasks:
            if not task.live:
                continue
            node = after.nodes.get(task.node_id)
            waits = service.is_global and node is not None and node.spec.availability == "pause"
            if oracle.outdated(after, service, task) and not waits:
                raise self._world.story.fail(f"{service.id} is {status.state}, {slot_of(task)} is not", service.id)
            if not is_own(task, status):
                continue
            if self.ran_s.get(task.id, now_s) > now_s - monitor_s(config):
                raise self._world.story.fail(
                    f"{service.id} is {status.state}, and {slot_of(task)} was not watched long enough", service.id
                )
        failed = [task for task in tasks if is_own(task, status) and self._failed(task, config)]
        own = {task.slot or task.node_id for task in tasks if is_own(task, status)}
        if config.failure_action != "continue" and len(failed) > config.max_failure_ratio * len(own) + 1e-9:
            raise self._world.story.fail(f"{service.id} is {status.state} with {len(failed)} failures", service.id)

    def _check_stopped(self, before: Snapshot, after: Snapshot, service: Service, status: UpdateStatus) -> None:
        """It stops because of a task of its own that failed, and only if it is to stop then."""
        config = config_of(service, status)
        task_id = status.message.rpartition(" ")[2]
        named = after.tasks.get(task_id) or before.tasks.get(task_id)
        if config.failure_action == "continue":
            raise self._world.story.fail(f"the update of {service.id} stops though it is to go on", service.id)
        if named is None or not is_own(named, status) or not self._failed(named, config):
            raise self._world.story.fail(f"the update of {service.id} stops for a task that did not fail", service.id)

    def _failed(self, task: Task, config: UpdateConfig) -> bool:
        """Whether a task ended by itself before, or not long enough after, it was seen running."""
        if not task.state.terminal or task.stop_asked_at is not None:
            return False
        ran_s = self.ran_s.get(task.id)
        return ran_s is None or self.ended_s[task.id] < ran_s + monitor_s(config)

    def decided(self, service: Service, tasks: list[Task]) -> None:
        """No more slots are in hand than the parallelism allows, and each rests for the delay once its task runs."""
        status = status_of(service)
        if status is None or status.state not in IN_PROGRESS:
            return
        config, now_s = config_of(service, status), self._world.clock.now_s
        busy = 0
        for task in tasks:
            if not is_own(task, status):
                continue
            if task.state.terminal:
                since_s: float | None = self.ended_s[task.id]
            elif task.desired_state > State.RUNNING:
                continue
            else:
                since_s = self.ran_s.get(task.id)
            busy += since_s is None or now_s < since_s + config.delay / 1e9
        if config.parallelism and busy > config.parallelism:
            raise self._world.story.fail(f"{service.id} has {busy} slots in hand, not {config.parallelism}", service.id)


def is_own(task: Task, status: UpdateStatus) -> bool:
    """Whether an update has made a task."""
    return task.update_started_at == status.started_at and task.spec_version == status.spec_version

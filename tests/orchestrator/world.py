"""A world in one line: a snapshot, the real control, and time that moves only when told to."""

from collections.abc import Callable
from itertools import count

from msgspec.structs import replace

from vault.model.base import from_s
from vault.model.container import ContainerSpec
from vault.model.ids import Kind
from vault.model.node import Node, NodeDescription, NodeResources, NodeSpec, NodeStatus
from vault.model.service import (
    Global,
    GlobalJob,
    Placement,
    Replicated,
    ReplicatedJob,
    RestartPolicy,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from vault.model.task import State, Task, TaskStatus
from vault.orchestrator.control import new_control
from vault.store.changes import Change, Delete, Put
from vault.store.decision import Decision
from vault.store.rules_service import next_run, removed_service, rolled_back
from vault.store.snapshot import Snapshot

SECOND = 10**9


def spec(
    replicas: int | None = 1,
    *,
    image: str = "v1",
    constraints: tuple[str, ...] = (),
    restart: RestartPolicy | None = None,
    update: UpdateConfig | None = None,
    rollback: UpdateConfig | None = None,
) -> ServiceSpec:
    """Return the spec of a service called web; replicas None = global."""
    return ServiceSpec(
        name="web",
        task_template=TaskSpec(
            container_spec=ContainerSpec(image=image),
            placement=Placement(constraints=constraints) if constraints else None,
            restart_policy=restart,
        ),
        mode=ServiceMode(global_=Global())
        if replicas is None
        else ServiceMode(replicated=Replicated(replicas=replicas)),
        update_config=update,
        rollback_config=rollback,
    )


def job(
    total: int | None = 1,
    *,
    at_a_time: int = 1,
    restart: RestartPolicy | None = None,
    constraints: tuple[str, ...] = (),
    force: int = 0,
) -> ServiceSpec:
    """Return the spec of a job called web; total None = one task on each node."""
    plain = spec(restart=restart, constraints=constraints)
    mode = (
        ServiceMode(global_job=GlobalJob())
        if total is None
        else ServiceMode(replicated_job=ReplicatedJob(max_concurrent=at_a_time, total_completions=total))
    )
    return replace(plain, mode=mode, task_template=replace(plain.task_template, force_update=force))


class World:
    """A store without delays, and the control that decides about it."""

    def __init__(self, *, nodes: int = 1, forgetful: bool = False) -> None:
        self.now_s = 1000.0
        self.snap = Snapshot()
        self.again_s: float | None = None
        self.forgetful = forgetful  # Every decision is another leader's.
        self.refusals = 0  # Of so many decisions the store refuses every second change.
        self._control = new_control()
        self._before: Snapshot | None = None
        self._ids = (f"t{number:024d}" for number in count(1))
        self.write(*(Put(node(f"n{number}")) for number in range(1, nodes + 1)))

    def write(self, *changes: Change) -> None:
        """Commit somebody's changes."""
        self.snap = self.snap.apply(changes, index=self.snap.index + 1, now_s=self.now_s)

    def forget(self) -> None:
        """Let another leader decide from now on; it knows only what is stored."""
        self._control, self._before = new_control(), None

    def decide(self, *, refused: bool = False) -> Decision:
        """Decide once and commit it, unless the store refuses all of it."""
        if self.forgetful:
            self.forget()
        after = self.snap
        decision = self._control(self._before, after, now_s=self.now_s, new_id=lambda: next(self._ids))
        self._before, self.again_s = after, decision.ask_again_s
        accepted = () if refused else decision.changes
        if accepted and self.refusals:
            self.refusals, accepted = self.refusals - 1, accepted[self.refusals % 2 :: 2]
        if accepted:
            self.snap = after.apply(accepted, index=after.index + 1, now_s=self.now_s)
        return decision

    def settle(self) -> None:
        """Decide until there is nothing to decide."""
        for _ in range(200):
            if not self.decide().changes and (self.again_s is None or self.again_s > self.now_s):
                return
        raise AssertionError("there is always something to decide")

    def create(self, wanted: ServiceSpec, service_id: str = "web") -> None:
        """Create a service and let its tasks be placed."""
        self.announce(wanted, service_id)
        self.settle()

    def announce(self, wanted: ServiceSpec, service_id: str = "web") -> None:
        """Create a service; nothing is decided about it yet."""
        run = next_run(self.snap, wanted, None, self.now_s)
        self.write(Put(Service(id=service_id, spec=wanted, job_status=run)))

    def run(self, wanted: ServiceSpec) -> None:
        """Create a service and let its tasks run."""
        self.create(wanted)
        for task in self.tasks():
            self.observe(task, State.RUNNING)
        self.settle()

    def update(self, wanted: ServiceSpec) -> None:
        """Give the service another spec, as the API does."""
        service = self.snap.services["web"]
        run = next_run(self.snap, wanted, service.job_status, self.now_s)
        self.write(Put(replace(service, spec=wanted, previous_spec=service.spec, update_status=None, job_status=run)))
        self.settle()

    def roll_back(self) -> None:
        """Take the service back to its previous spec, as the API does."""
        version = self.snap.services["web"].version.index
        self.write(rolled_back(self.snap, "web", version=version, now_s=self.now_s))
        self.settle()

    def follow(self, ends: State = State.RUNNING) -> None:
        """Let nodes do what is asked of them: who must stop stops, then who may start comes to `ends`."""
        for task in self.tasks():
            if task.desired_state > State.RUNNING and not task.state.terminal:
                self.observe(task, State.SHUTDOWN)
        for task in self.tasks():
            if task.desired_state is State.RUNNING and State.ASSIGNED <= task.state < State.RUNNING:
                self.observe(task, ends)

    def images(self) -> list[str]:
        """Return the images of the tasks that are to run, by slot, an older task first."""
        tasks = sorted(self.wanted(), key=lambda task: (task.slot, task.node_id, task.id))
        return [task.spec.container_spec.image for task in tasks]

    def remove(self) -> None:
        """Remove the service, as the API does."""
        self.write(*removed_service(self.snap, "web", now_s=self.now_s))
        self.settle()

    def observe(self, task: Task, state: State, *, settle: bool = True) -> None:
        """Let a node report a state of a task."""
        stored = self.snap.tasks[task.id]
        status = TaskStatus(timestamp=from_s(self.now_s), state=state, message=state.value)
        self.write(Put(replace(stored, status=status)))
        if settle:
            self.settle()

    def set_node(self, node_id: str, change: Callable[[Node], Node]) -> None:
        """Change a node."""
        self.write(Put(change(self.snap.nodes[node_id])))
        self.settle()

    def remove_node(self, node_id: str) -> None:
        """Take a node out of the cluster."""
        gone = self.snap.nodes[node_id]
        self.write(Delete(Kind.NODE, node_id, gone.version.index))
        self.settle()

    def wait(self, seconds: float) -> None:
        """Let time pass, deciding when asked to."""
        end_s = self.now_s + seconds
        while self.again_s is not None and self.again_s <= end_s:
            self.now_s = max(self.now_s, self.again_s)
            self.settle()
        self.now_s = end_s

    def tasks(self) -> list[Task]:
        """Return all tasks in the order they were made."""
        return sorted(self.snap.tasks.values(), key=lambda task: task.id)

    def wanted(self) -> list[Task]:
        """Return the tasks that are to run, by slot."""
        wanted = [task for task in self.snap.tasks.values() if task.wanted]
        return sorted(wanted, key=lambda task: (task.slot, task.node_id))

    def shown(self) -> list[str]:
        """Return slot, observed and desired state of each task, in the order they were made."""
        return [f"{task.slot} {task.state.value} {task.desired_state.value}" for task in self.tasks()]

    @property
    def status(self) -> tuple[str, str] | None:
        """State and message of the service's update."""
        status = self.snap.services["web"].update_status
        return None if status is None else (status.state.value, status.message)


def node(node_id: str, *, cpus: int = 8, labels: dict[str, str] | None = None) -> Node:
    """Return a node that is ready."""
    return Node(
        id=node_id,
        spec=NodeSpec(labels=labels or {}),
        description=NodeDescription(
            hostname=node_id, resources=NodeResources(nano_cpus=cpus * SECOND, memory_bytes=8 << 30)
        ),
        status=NodeStatus(state="ready"),
    )


def availability(value: str) -> Callable[[Node], Node]:
    """Return what sets a node's availability."""
    return lambda old: replace(old, spec=replace(old.spec, availability=value))


def state(value: str) -> Callable[[Node], Node]:
    """Return what sets a node's state as the managers see it."""
    return lambda old: replace(old, status=replace(old.status, state=value))


def labelled(**labels: str) -> Callable[[Node], Node]:
    """Return what sets a node's labels."""
    return lambda old: replace(old, spec=replace(old.spec, labels=labels))

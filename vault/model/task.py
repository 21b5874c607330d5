"""Tasks: one container each, on one node, moving one way along `STEPS`."""

from datetime import datetime
from enum import Enum

import msgspec

from vault.model.base import EPOCH, Object, Shape, Version, always, no_labels
from vault.model.generic import GenericResource
from vault.model.network import NetworkAttachment
from vault.model.service import PortConfig, TaskSpec


class State(Enum):
    """States of a task in their order; observed state never goes back."""

    NEW = "new"
    PENDING = "pending"
    ASSIGNED = "assigned"
    ACCEPTED = "accepted"
    PREPARING = "preparing"
    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    COMPLETE = "complete"
    SHUTDOWN = "shutdown"
    FAILED = "failed"
    REJECTED = "rejected"
    REMOVE = "remove"
    ORPHANED = "orphaned"

    rank: int  # Its place in the order.

    # Compared and looked up hundreds of thousands of times a second, hence no `total_ordering` and Enum's own hash.
    __hash__ = object.__hash__

    def __lt__(self, other: "State") -> bool:
        return self.rank < other.rank

    def __le__(self, other: "State") -> bool:
        return self.rank <= other.rank

    def __gt__(self, other: "State") -> bool:
        return self.rank > other.rank

    def __ge__(self, other: "State") -> bool:
        return self.rank >= other.rank

    @property
    def terminal(self) -> bool:
        """Whether a task observed in this state has ended."""
        return self.rank > _RUNNING


for _rank, _state in enumerate(State):
    _state.rank = _rank
_RUNNING, _COMPLETE = State.RUNNING.rank, State.COMPLETE.rank

AGENT, ALLOCATOR, SCHEDULER, ENFORCER, LEADER = "agent", "allocator", "scheduler", "enforcer", "leader"
# Every legal move of an observed state, and the one package that makes it.
_ENDED_EARLY = {State.SHUTDOWN: AGENT, State.FAILED: AGENT, State.REJECTED: AGENT, State.ORPHANED: LEADER}
STEPS: dict[State, dict[State, str]] = {
    State.NEW: {State.PENDING: ALLOCATOR},
    State.PENDING: {State.ASSIGNED: SCHEDULER},
    State.ASSIGNED: {State.ACCEPTED: AGENT, **_ENDED_EARLY},
    State.ACCEPTED: {State.PREPARING: AGENT, **_ENDED_EARLY},
    State.PREPARING: {State.READY: AGENT, **_ENDED_EARLY},
    State.READY: {State.STARTING: AGENT, **_ENDED_EARLY},
    State.STARTING: {State.RUNNING: AGENT, State.COMPLETE: AGENT, **_ENDED_EARLY},
    State.RUNNING: {
        State.COMPLETE: AGENT,
        State.SHUTDOWN: AGENT,
        State.FAILED: AGENT,
        State.REJECTED: ENFORCER,
        State.ORPHANED: LEADER,
    },
}


class ContainerStatus(Shape, frozen=True, kw_only=True):
    """The container of a task as the agent sees it."""

    container_id: str = msgspec.field(name="ContainerID", default="")  # 64 hexadecimal digits.
    pid: int = msgspec.field(name="PID", default_factory=lambda: 0)
    exit_code: int = always(0)


class PortStatus(Shape, frozen=True, kw_only=True):
    """The `mode: host` ports that are open for a task."""

    ports: tuple[PortConfig, ...] = ()


class TaskStatus(Shape, frozen=True, kw_only=True):
    """Observed state of a task, and how it came there."""

    timestamp: datetime = msgspec.field(default_factory=lambda: EPOCH)
    state: State = always(State.NEW)
    message: str = ""
    err: str = ""  # One sentence; why a task is pending, rejected or failed.
    container_status: ContainerStatus | None = None
    port_status: PortStatus = msgspec.field(default_factory=lambda: PortStatus())
    # Its health check has given its container up, which is being stopped; no answer of the API shows it.
    unhealthy: bool = False

    @property
    def serves(self) -> bool:
        """Whether others may be led to the task: it runs, and is well as far as anybody looks."""
        return self.state is State.RUNNING and not self.unhealthy


class Failure(Shape, frozen=True, kw_only=True):
    """A task that failed, and where."""

    task_id: str = msgspec.field(name="TaskID")
    node_id: str = msgspec.field(name="NodeID")
    at: datetime  # When it was stored that it had failed, or a little later.


class Task(Object, frozen=True, kw_only=True):
    """One attempt to run one slot of a service.  `spec` is a copy and never changes."""

    labels: dict[str, str] = no_labels()
    spec: TaskSpec
    service_id: str = msgspec.field(name="ServiceID", default="")
    slot: int = 0  # 1.. for replicated services, 0.. for replicated jobs; 0 for global ones.
    node_id: str = msgspec.field(name="NodeID", default="")
    status: TaskStatus = msgspec.field(default_factory=lambda: TaskStatus())
    desired_state: State = always(State.RUNNING)
    networks_attachments: tuple[NetworkAttachment, ...] = ()
    generic_resources: tuple[GenericResource, ...] = ()  # What it was given of its node's, by the scheduler.
    job_iteration: Version | None = None  # `JobStatus.job_iteration` it was made for; None: it is no job's.
    spec_version: Version | None = None  # `Service.spec_version` it was made from.
    service_name: str = ""  # Copies, so that a node can name the container without the service.
    service_labels: dict[str, str] = msgspec.field(default_factory=dict)
    host_ports: tuple[PortConfig, ...] = ()  # The service's `mode: host` ports at creation.
    start_not_before: datetime | None = None  # While READY is desired: the restart delay ends here.
    stop_asked_at: datetime | None = None  # When it was no longer wanted.
    # Memory of the orchestrator, kept here so that a new leader goes on; no answer of the API shows it.
    numbered: bool = False  # Slot 0 is a slot: a replicated job's begin there.
    stays_down: bool = False  # It ended and its restart policy wants no other: it fills its slot until the next update.
    restarts: int = 0  # How many restarts of its slot, under its spec version, led to it.
    restarted_at: tuple[datetime, ...] = ()  # When they happened, as far as the policy's window looks back.
    failed_before: tuple[Failure, ...] = ()  # Those of its slot, under its spec version, that failed lately.
    update_started_at: datetime | None = None  # The update, named by its start, that made this task.
    beside: str = ""  # Start-first: the task of its slot that it may run beside, and that stops once it runs.
    running_since: datetime | None = None  # When an update first saw it running.
    aims_at: str = ""  # The node that a rebalance has chosen for it; the scheduler chooses when that will not do.

    @property
    def state(self) -> State:
        """Observed state."""
        return self.status.state

    @property
    def live(self) -> bool:
        """Whether it fills its slot: neither ended nor asked to end."""
        return self.desired_state.rank <= _COMPLETE and self.status.state.rank <= _RUNNING

    @property
    def wanted(self) -> bool:
        """Whether nobody has asked it to end: it is to run or, in a job, to complete."""
        return self.desired_state.rank <= _COMPLETE

    @property
    def released(self) -> bool:
        """Whether it may start: wanted, and no longer held at READY."""
        return _RUNNING <= self.desired_state.rank <= _COMPLETE

    @property
    def goal(self) -> State:
        """The desired state of such a task once it may start."""
        return State.RUNNING if self.job_iteration is None else State.COMPLETE

    @property
    def done(self) -> bool:
        """Whether it is a job's and has completed: it stays wanted as what it is."""
        return self.job_iteration is not None and self.status.state is State.COMPLETE

    @property
    def finished(self) -> bool:
        """Whether it did what it was for: it completed, and its restart policy does not want that done again."""
        policy = self.spec.restart_policy
        return self.state is State.COMPLETE and policy is not None and policy.condition in ("none", "on-failure")

    @property
    def slot_key(self) -> int | str:
        """What tells its slot from others of its service: the slot, or the node for a global service's task."""
        return self.slot if self.slot or self.numbered else self.node_id

    @property
    def encrypts(self) -> bool:
        """Whether it is on a network whose packets are encrypted between nodes."""
        return any(place.network.spec.encrypted for place in self.networks_attachments)

    @property
    def name(self) -> str:
        """`service.slot.id`, or `service.node.id` for a global service; also the container's name."""
        return f"{self.service_name}.{self.slot_key}.{self.id}"

"""Services: what should run, and how it changes.  Durations are nanoseconds, as in Docker's API."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from vault.model.base import EPOCH, SECOND_NS, Object, Shape, Version, always, no_labels
from vault.model.container import ContainerSpec
from vault.model.generic import GenericResource
from vault.model.secret import Driver


class Limit(Shape, frozen=True, kw_only=True):
    """What a task may use at most.  CPU in 1e-9 CPUs, memory in bytes; 0 = no limit."""

    nano_cpus: int = msgspec.field(name="NanoCPUs", default=0)
    memory_bytes: int = 0
    pids: int = 0


class Reservation(Shape, frozen=True, kw_only=True):
    """What the scheduler keeps free for a task."""

    nano_cpus: int = msgspec.field(name="NanoCPUs", default=0)
    memory_bytes: int = 0
    generic_resources: tuple[GenericResource, ...] = ()  # Discrete ones only.


class Resources(Shape, frozen=True, kw_only=True):
    """Limits and reservations of a task."""

    limits: Limit | None = None
    reservations: Reservation | None = None
    swap_bytes: int | None = None  # Beside the memory limit; -1 = without limit, None = as much as memory.
    memory_swappiness: int | None = None  # 0..100, -1 = the kernel's; cgroup v1 only.


class RestartPolicy(Shape, frozen=True, kw_only=True):
    """When an ended task is replaced.  None of a field means Docker's default: any, 5 s, without limit."""

    condition: str = ""  # none | on-failure | any
    delay: int | None = None
    max_attempts: int | None = None
    window: int | None = None


class SpreadOver(Shape, frozen=True, kw_only=True):
    """Which label of nodes tasks are spread over: `node.labels.NAME` or `engine.labels.NAME`."""

    spread_descriptor: str = always("")


class PlacementPreference(Shape, frozen=True, kw_only=True):
    """One level of where tasks had better run; the first counts before the second."""

    spread: SpreadOver | None = None


class Placement(Shape, frozen=True, kw_only=True):
    """Where a task may run."""

    constraints: tuple[str, ...] = ()
    preferences: tuple[PlacementPreference, ...] = ()
    max_replicas: int = 0  # On one node; 0 = any number.
    platforms: tuple[dict[str, Any], ...] = ()


class NetworkAttachmentConfig(Shape, frozen=True, kw_only=True):
    """A network a task is on: by id once stored, by name or id as posted."""

    target: str = ""
    aliases: tuple[str, ...] = ()
    driver_opts: dict[str, str] = msgspec.field(default_factory=dict)


class TaskSpec(Shape, frozen=True, kw_only=True):
    """What one task of a service is."""

    container_spec: ContainerSpec = msgspec.field(default_factory=lambda: ContainerSpec())
    resources: Resources | None = None
    restart_policy: RestartPolicy | None = None
    placement: Placement | None = None
    networks: tuple[NetworkAttachmentConfig, ...] = ()
    log_driver: Driver | None = None
    force_update: int = always(0)
    runtime: str = ""


class Replicated(Shape, frozen=True, kw_only=True):
    """A number of tasks; None = 1."""

    replicas: int | None = None


class Global(Shape, frozen=True, kw_only=True):
    """One task on every node that may run it."""


class ReplicatedJob(Shape, frozen=True, kw_only=True):
    """A number of tasks that run to completion; once stored, both numbers are set."""

    max_concurrent: int | None = None  # How many run at a time; None = 1.
    total_completions: int | None = None  # How many there are; None = as many as run at a time.


class GlobalJob(Shape, frozen=True, kw_only=True):
    """One task that runs to completion on every node that may run it."""


class ServiceMode(Shape, frozen=True, kw_only=True):
    """Exactly one is set; none means replicated with one task.  `global` is a keyword in Python."""

    replicated: Replicated | None = None
    global_: Global | None = msgspec.field(name="Global", default=None)
    replicated_job: ReplicatedJob | None = None
    global_job: GlobalJob | None = None

    @property
    def is_job(self) -> bool:
        """Whether tasks run to completion."""
        return self.replicated_job is not None or self.global_job is not None

    @property
    def name(self) -> str:
        """Return what the mode is called in options, files and filters."""
        match self:
            case ServiceMode(global_=Global()):
                return "global"
            case ServiceMode(replicated_job=ReplicatedJob()):
                return "replicated-job"
            case ServiceMode(global_job=GlobalJob()):
                return "global-job"
            case _:
                return "replicated"


class UpdateConfig(Shape, frozen=True, kw_only=True):
    """How tasks are exchanged.  parallelism 0 = all at once."""

    parallelism: int = always(0)
    delay: int = 0
    failure_action: str = ""  # pause | continue | rollback; "" = pause
    monitor: int = 0  # 0 = 5 s
    max_failure_ratio: float = always(0)
    order: str = always("stop-first")  # stop-first | start-first
    deadline: int | None = None  # Ours: how long it may take in all.  Posted: 0 = no limit, None = as it was.


class PortConfig(Shape, frozen=True, kw_only=True):
    """A port of a service."""

    name: str = ""
    protocol: str = always("tcp")
    target_port: int = 0
    published_port: int = 0  # 0 = chosen by the allocator.
    publish_mode: str = always("ingress")  # ingress | host


class EndpointSpec(Shape, frozen=True, kw_only=True):
    """How a service is reached."""

    mode: str = ""  # vip | dnsrr
    ports: tuple[PortConfig, ...] = ()


class ServiceSpec(Shape, frozen=True, kw_only=True):
    """What a user says of a service; stored as posted."""

    name: str = ""
    labels: dict[str, str] = no_labels()
    task_template: TaskSpec = msgspec.field(default_factory=lambda: TaskSpec())
    mode: ServiceMode = msgspec.field(default_factory=lambda: ServiceMode(replicated=Replicated(replicas=1)))
    update_config: UpdateConfig | None = None
    rollback_config: UpdateConfig | None = None
    endpoint_spec: EndpointSpec | None = None


class VirtualIP(Shape, frozen=True, kw_only=True):
    """The address of a service on a network, with prefix length."""

    network_id: str = msgspec.field(name="NetworkID", default="")
    addr: str = ""


class Endpoint(Shape, frozen=True, kw_only=True):
    """What the allocator gave a service."""

    spec: EndpointSpec = msgspec.field(default_factory=lambda: EndpointSpec())
    ports: tuple[PortConfig, ...] = ()
    virtual_ips: tuple[VirtualIP, ...] = msgspec.field(name="VirtualIPs", default=())


class UpdateState(StrEnum):
    """Where an update of a service stands."""

    UPDATING = "updating"
    PAUSED = "paused"
    COMPLETED = "completed"
    ROLLBACK_STARTED = "rollback_started"
    ROLLBACK_PAUSED = "rollback_paused"
    ROLLBACK_COMPLETED = "rollback_completed"


class PlannedMove(Shape, frozen=True, kw_only=True):
    """A task that a rebalance exchanges for one on another node."""

    task_id: str = msgspec.field(name="TaskID")
    node_id: str = msgspec.field(name="NodeID")  # Where to.


class UpdateStatus(Shape, frozen=True, kw_only=True):
    """Progress of an update, and its memory: a new leader goes on from here."""

    state: UpdateState
    started_at: datetime | None = None
    completed_at: datetime | None = None
    message: str = ""
    reason: str = ""  # Ours: why the rollback began that nobody asked for, once `message` says how it goes.
    spec_version: Version | None = None  # `Service.spec_version` it is about; no answer of the API shows it.
    deadline: int = 0  # How long it may take in all, 0 = no limit; no answer of the API shows it.
    moves: tuple[PlannedMove, ...] = ()  # It is a rebalance, of these tasks; no answer of the API shows them.


class JobStatus(Shape, frozen=True, kw_only=True):
    """Which run of a job its tasks are for."""

    job_iteration: Version = msgspec.field(default_factory=lambda: Version())  # Grows with each update.
    last_execution: datetime = msgspec.field(default_factory=lambda: EPOCH)  # When that run began.


class ServiceStatus(Shape, frozen=True, kw_only=True):
    """Counted for `?status=true`; never stored."""

    running_tasks: int = always(0)
    desired_tasks: int = always(0)
    completed_tasks: int = always(0)


class Service(Object, frozen=True, kw_only=True):
    """A service: spec, the spec before it, and what the cluster made of it."""

    spec: ServiceSpec
    previous_spec: ServiceSpec | None = None
    spec_version: Version | None = None  # Commit index of the last change of `spec`; None until the store has set it.
    endpoint: Endpoint = msgspec.field(default_factory=lambda: Endpoint())
    update_status: UpdateStatus | None = None
    service_status: ServiceStatus | None = None
    job_status: JobStatus | None = None  # Jobs have one, other services none.
    # What its tasks waited for (`vault.model.depends`) has been so once; no answer of the API shows it.
    dependencies_met: bool = False
    # The credentials (`vault.model.registry_auth`) of either spec, by id; no answer of the API shows them.
    registry_auth: str = ""
    previous_registry_auth: str = ""

    @property
    def replicas(self) -> int:
        """How many tasks a replicated service should have; 0 for a global one."""
        match self.spec.mode:
            case ServiceMode(replicated=Replicated(replicas=count)):
                return 1 if count is None else count
            case _:
                return 0

    @property
    def is_global(self) -> bool:
        """Whether one task runs on every eligible node, for ever or to completion."""
        return self.spec.mode.global_ is not None or self.spec.mode.global_job is not None

    @property
    def is_job(self) -> bool:
        """Whether its tasks run to completion."""
        return self.spec.mode.is_job

    @property
    def job_iteration(self) -> Version | None:
        """Which run of a job is the present one; None for other services."""
        if not self.is_job:
            return None
        return self.job_status.job_iteration if self.job_status is not None else Version()


DEFAULT_STOP_GRACE_NS = 10 * SECOND_NS
DEFAULT_RESTART_DELAY_NS = 5 * SECOND_NS
DEFAULT_MONITOR_NS = 5 * SECOND_NS
DEFAULT_UPDATE = UpdateConfig(
    parallelism=1, failure_action="pause", monitor=DEFAULT_MONITOR_NS, max_failure_ratio=0, order="stop-first"
)

"""What a task asks of the node it runs on, read from its spec once for all tasks that are alike.  Pure.

Used by the scheduler's filters, by the constraint enforcer and by the planner of rebalances.
"""

from dataclasses import dataclass

from vault.model.service import TaskSpec
from vault.model.task import Task

PortKey = tuple[str, int]  # Protocol and published port.
GroupKey = tuple[str, int]  # Service and spec version: tasks of one group are alike.
NO_PLUGIN = {"Log": ("", "none"), "Volume": ("", "local"), "Network": ("",)}  # Drivers that every node has.


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What depends on what a node is, not on what it carries.  Hashable: many services ask for the same."""

    constraints: tuple[str, ...] = ()
    platforms: tuple[tuple[str, str], ...] = ()  # System and architecture; none = any.
    plugins: frozenset[tuple[str, str]] = frozenset()  # Type and name of drivers.
    encrypts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the tasks of a group ask for."""

    group: GroupKey
    fixed: Fixed
    nano_cpus: int = 0
    memory_bytes: int = 0
    generic: tuple[tuple[str, int], ...] = ()  # Kind and how many.
    ports: frozenset[PortKey] = frozenset()
    max_replicas: int = 0  # 0 = any number on one node.
    preferences: tuple[str, ...] = ()  # Labels to spread over, as `node.labels.NAME` or `engine.labels.NAME`.

    @property
    def service_id(self) -> str:
        """The service."""
        return self.group[0]


def group_of(task: Task) -> GroupKey:
    """Return the group of a task."""
    return (task.service_id, task.spec_version.index if task.spec_version else 0)


def needs_of(task: Task) -> Needs:
    """Return what a task asks for."""
    placement = task.spec.placement
    nano_cpus, memory_bytes = reserved(task.spec)
    return Needs(
        group=group_of(task),
        fixed=Fixed(
            constraints=placement.constraints if placement else (),
            platforms=tuple(
                (str(one.get("OS", "")), str(one.get("Architecture", "")))
                for one in (placement.platforms if placement else ())
            ),
            plugins=plugins_of(task),
            encrypts=task.encrypts,
        ),
        nano_cpus=nano_cpus,
        memory_bytes=memory_bytes,
        generic=reserved_generic(task.spec),
        ports=host_ports(task),
        max_replicas=placement.max_replicas if placement else 0,
        preferences=tuple(
            preference.spread.spread_descriptor
            for preference in (placement.preferences if placement else ())
            if preference.spread is not None
        ),
    )


def is_limited(task: Task) -> bool:
    """Whether a service has only so many tasks on a node."""
    return task.spec.placement is not None and task.spec.placement.max_replicas > 0


def reserved(spec: TaskSpec) -> tuple[int, int]:
    """Return what a task keeps for itself: CPU in 1e-9 CPUs, memory in bytes."""
    reservations = spec.resources.reservations if spec.resources else None
    return (reservations.nano_cpus, reservations.memory_bytes) if reservations else (0, 0)


def reserved_generic(spec: TaskSpec) -> tuple[tuple[str, int], ...]:
    """Return how many of each kind of generic resource a task keeps for itself."""
    reservations = spec.resources.reservations if spec.resources else None
    resources = reservations.generic_resources if reservations else ()
    asked = (resource.discrete_resource_spec for resource in resources)
    return tuple((one.kind, one.value) for one in asked if one is not None and one.value > 0)


def host_ports(task: Task) -> frozenset[PortKey]:
    """Return the ports that a task opens on its node."""
    if not task.host_ports:
        return frozenset()
    return frozenset((port.protocol, port.published_port) for port in task.host_ports if port.published_port)


def plugins_of(task: Task) -> frozenset[tuple[str, str]]:
    """Return the drivers for logs, volumes and networks that a task uses and that a node may lack: type and name."""
    found: set[tuple[str, str]] = set()
    if task.spec.log_driver is not None:
        found.add(("Log", task.spec.log_driver.name))
    for mount in task.spec.container_spec.mounts:
        if mount.type == "volume" and mount.volume_options and mount.volume_options.driver_config:
            found.add(("Volume", mount.volume_options.driver_config.name))
    for place in task.networks_attachments:
        found.add(("Network", place.network.driver_state.name if place.network.driver_state else ""))
    return frozenset((kind, name) for kind, name in found if name not in NO_PLUGIN[kind])

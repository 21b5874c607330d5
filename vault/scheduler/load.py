"""What each node carries: reserved resources, tasks by service, host ports, recent failures.

A cache over snapshots: each figure is a sum over the tasks on the node.  Used by `schedule` only.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vault.model.node import Node
from vault.model.service import TaskSpec
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

FAILURE_WINDOW = timedelta(minutes=5)
PortKey = tuple[str, int]  # Protocol and published port.


def reserved(spec: TaskSpec) -> tuple[int, int]:
    """Return what a task keeps for itself: CPU in 1e-9 CPUs, memory in bytes."""
    reservations = spec.resources.reservations if spec.resources else None
    return (reservations.nano_cpus, reservations.memory_bytes) if reservations else (0, 0)


def host_ports(task: Task) -> set[PortKey]:
    """Return the ports that a task opens on its node."""
    return {(port.protocol, port.published_port) for port in task.host_ports if port.published_port}


@dataclass(slots=True)
class Load:
    """One node, and what is on it."""

    node: Node
    free_nano_cpus: int
    free_memory_bytes: int
    active: int = 0  # Tasks that are wanted.
    active_of: Counter[str] = field(default_factory=Counter)  # Service -> wanted tasks.
    ports: set[PortKey] = field(default_factory=set)
    failures: dict[tuple[str, int], list[datetime]] = field(default_factory=dict)  # (Service, spec version) -> when.

    def add(self, task: Task) -> None:
        """Count a task that is on the node, or is being placed there."""
        if task.state.terminal:
            if task.state in (State.FAILED, State.REJECTED):
                self.failures.setdefault(failure_key(task), []).append(task.updated_at)
            return
        if task.state < State.ASSIGNED:
            return  # A global service's task that is not confirmed yet.
        nano_cpus, memory_bytes = reserved(task.spec)
        self.free_nano_cpus -= nano_cpus
        self.free_memory_bytes -= memory_bytes
        self.ports |= host_ports(task)
        if task.desired_state <= State.RUNNING:
            self.active += 1
            self.active_of[task.service_id] += 1

    def recent_failures(self, task: Task, now: datetime) -> int:
        """Return how many tasks of the same service and spec failed here in the last five minutes."""
        return sum(1 for moment in self.failures.get(failure_key(task), ()) if moment > now - FAILURE_WINDOW)


def failure_key(task: Task) -> tuple[str, int]:
    """Return what failures are counted by: a new spec starts afresh."""
    return (task.service_id, task.spec_version.index if task.spec_version else 0)


def load_of(snap: Snapshot, node: Node) -> Load:
    """Return what a node carries, counted from its tasks."""
    resources = node.description.resources
    load = Load(node, resources.nano_cpus, resources.memory_bytes)
    for task in snap.tasks_on(node.id):
        load.add(task)
    return load

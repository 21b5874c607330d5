"""What each node carries: reserved resources, tasks by service, host ports, recent failures.

A cache over snapshots: each figure is a sum over the tasks on the node.  Used by `schedule` only.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from vault.model.node import Node
from vault.model.service import TaskSpec
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

FAILURE_WINDOW = timedelta(minutes=5)
PortKey = tuple[str, int]  # Protocol and published port.
FailureKey = tuple[str, int]  # Service and spec version: a new spec starts afresh.
K = TypeVar("K")


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
    ports: Counter[PortKey] = field(default_factory=Counter)
    failures: dict[FailureKey, dict[str, datetime]] = field(default_factory=dict)  # What failed -> task -> when.

    def count(self, task: Task, by: int) -> None:
        """Count a task that is on the node, or is being placed there (`by` 1), or no longer is (-1)."""
        if task.state.terminal:
            if task.state in (State.FAILED, State.REJECTED):
                self._count_failure(task, by)
            return
        if task.state < State.ASSIGNED:
            return  # A global service's task that is not confirmed yet.
        nano_cpus, memory_bytes = reserved(task.spec)
        self.free_nano_cpus -= by * nano_cpus
        self.free_memory_bytes -= by * memory_bytes
        for port in host_ports(task):
            _add(self.ports, port, by)
        if task.wanted:
            self.active += by
            _add(self.active_of, task.service_id, by)

    def _count_failure(self, task: Task, by: int) -> None:
        failed = self.failures.setdefault(failure_key(task), {})
        if by > 0:
            failed[task.id] = task.updated_at
        else:
            failed.pop(task.id, None)
        if not failed:
            del self.failures[failure_key(task)]

    def recent_failures(self, task: Task, now: datetime) -> int:
        """Return how many tasks of the same service and spec failed here in the last five minutes."""
        failed = self.failures.get(failure_key(task))
        return sum(1 for moment in failed.values() if moment > now - FAILURE_WINDOW) if failed else 0


def _add(counter: Counter[K], key: K, by: int) -> None:
    counter[key] += by
    if not counter[key]:
        del counter[key]


def failure_key(task: Task) -> FailureKey:
    """Return what failures are counted by."""
    return (task.service_id, task.spec_version.index if task.spec_version else 0)


def load_of(snap: Snapshot, node: Node) -> Load:
    """Return what a node carries, counted from its tasks."""
    resources = node.description.resources
    load = Load(node, resources.nano_cpus, resources.memory_bytes)
    for task in snap.tasks_on(node.id):
        load.count(task, 1)
    return load

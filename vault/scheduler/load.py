"""What a node carries: reserved resources and host ports.  Each figure is a sum over the tasks on it.

Used by `fleet`, which keeps one for each node.
"""

from collections import Counter
from dataclasses import dataclass, field

from vault.model.node import Node, NodeResources
from vault.model.task import Task
from vault.scheduler.needs import Needs, PortKey, host_ports, reserved
from vault.scheduler.stock import Stock

NOTHING = NodeResources()
MANY = 1_000_000  # More tasks than a service can have.


@dataclass(slots=True, eq=False)
class Load:
    """One node, and what is on it."""

    id: str
    place: int  # In every `waiting.Marks`.
    node: Node | None = None  # None: it is gone, or not known yet, and tasks are on it.
    free_nano_cpus: int = 0
    free_memory_bytes: int = 0
    active: int = 0  # Tasks that are wanted.
    held: int = 0  # Tasks that have resources, wanted or not.
    ports: Counter[PortKey] = field(default_factory=Counter)
    stock: Stock | None = None  # None while neither node nor tasks know of generic resources.

    def describe(self, node: Node | None) -> None:
        """Take a node's new description, or that it is gone."""
        old = self.node.description.resources if self.node else NOTHING
        new = node.description.resources if node else NOTHING
        self.node = node
        self.free_nano_cpus += new.nano_cpus - old.nano_cpus
        self.free_memory_bytes += new.memory_bytes - old.memory_bytes
        if new.generic_resources != old.generic_resources:
            self.stock = self.stock or Stock()
            self.stock.describe(new.generic_resources)

    def count(self, task: Task, by: int) -> None:
        """Count what a task on the node has for itself (`by` 1), or no longer has (-1)."""
        nano_cpus, memory_bytes = reserved(task.spec)
        self.held += by
        self.free_nano_cpus -= by * nano_cpus
        self.free_memory_bytes -= by * memory_bytes
        if task.host_ports:
            for port in host_ports(task):
                self.ports[port] += by
                if not self.ports[port]:
                    del self.ports[port]
        if task.generic_resources:
            self.stock = self.stock or Stock()
            self.stock.count(task.generic_resources, by)

    def has_room(self, needs: Needs) -> bool:
        """Whether what tasks reserve is still free; what they do not ask for may be overdrawn."""
        if needs.nano_cpus and needs.nano_cpus > self.free_nano_cpus:
            return False
        if needs.memory_bytes and needs.memory_bytes > self.free_memory_bytes:
            return False
        if not needs.generic:
            return True
        return self.stock is not None and all(self.stock.free(kind) >= count for kind, count in needs.generic)

    def room(self, needs: Needs) -> int:
        """Return how many tasks of a group fit in beside what is there, however many of them there may be."""
        fits = [MANY]
        if needs.nano_cpus:
            fits.append(self.free_nano_cpus // needs.nano_cpus)
        if needs.memory_bytes:
            fits.append(self.free_memory_bytes // needs.memory_bytes)
        fits += [self.stock.free(kind) // count if self.stock is not None else 0 for kind, count in needs.generic]
        if needs.ports:
            fits.append(1 if needs.ports.isdisjoint(self.ports) else 0)
        return max(0, min(fits))

    def figures(self) -> tuple[object, ...]:
        """Return all that was counted."""
        stock = self.stock.figures() if self.stock else ()
        return self.node, self.free_nano_cpus, self.free_memory_bytes, self.active, self.held, self.ports, stock

"""A service has as many slots as it asks for, or one on each node that will do, whenever the leader rests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from vault.model.ids import Kind
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World


class Replicas:
    """The services of which anything has changed since the leader rested."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._touched: set[str] = set()
        self._nodes_changed = False

    def committed(self, changes: Written) -> None:
        """Follow a commit."""
        for (kind, object_id), old, new in changes:
            obj = new or old
            if isinstance(obj, Task):
                self._touched.add(obj.service_id)
            elif kind is Kind.SERVICE:
                self._touched.add(object_id)
            elif kind is Kind.NODE:
                self._nodes_changed = True

    def at_rest(self, snap: Snapshot) -> None:
        """The leader has nothing to do: no slot is missing, and none is one too many."""
        if self._nodes_changed:
            self._touched.update(service.id for service in snap.services.values() if service.is_global)
        for service_id in sorted(self._touched):
            if (service := snap.services.get(service_id)) is None:
                continue
            tasks = snap.tasks_of(service_id)
            filled = {task.slot_key for task in tasks if oracle.is_wanted(task) or is_for_good(task)}
            if service.is_global and not service.is_job:
                self._check_nodes(snap, service, filled)
            elif service.spec.mode.replicated is not None and len(filled) != service.replicas:
                raise self._world.story.fail(
                    f"{service_id} is left with {len(filled)} slots, not {service.replicas}", service_id
                )
        self._touched.clear()
        self._nodes_changed = False

    def _check_nodes(self, snap: Snapshot, service: Service, filled: set[int | str]) -> None:
        """A global service is on every node that takes tasks and will do."""
        for node in snap.nodes.values():
            if node.spec.availability == "active" and oracle.eligible(service, node) and node.id not in filled:
                raise self._world.story.fail(f"{service.id} is left without a task on {node.id}", service.id, node.id)


def is_for_good(task: Task) -> bool:
    """Whether a task is to have no successor, be it that it has ended or that its node is lost."""
    return task.stays_down and task.desired_state is State.SHUTDOWN

"""No secret or config on a node without a live task there that uses it, and none removed that a service may need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.judge.oracle import holding, is_wanted
from vault.model.ids import Kind
from vault.model.service import Service, ServiceSpec
from vault.model.task import State, Task
from vault.rpc.messages import Assignments
from vault.store.snapshot import Key, Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World


def reads(spec: ServiceSpec | Task) -> set[Key]:
    """Return the secrets and configs that a spec refers to."""
    container = (spec.spec if isinstance(spec, Task) else spec.task_template).container_spec
    secrets = {(Kind.SECRET, one.secret_id) for one in container.secrets}
    return secrets | {(Kind.CONFIG, one.config_id) for one in container.configs}


def used_on(snap: Snapshot, node_id: str) -> set[Key]:
    """Return what the live tasks of a node read."""
    used: set[Key] = set()
    for task in holding(snap.tasks_on(node_id)):
        if is_wanted(task) or task.state >= State.STARTING:
            used |= reads(task)
    return used


def check_told(world: World, node_id: str, snap: Snapshot, message: Assignments) -> None:
    """A node is given only what a task of its own reads, and what it is told of is its own."""
    if message.put_values:
        used = used_on(snap, node_id)
        for value in message.put_values:
            if (value.kind, value.id) not in used:
                raise world.story.fail(f"{node_id} is given {value.id}, which no task there uses", node_id, value.id)
    for task in message.put_tasks:
        if task.node_id != node_id:
            raise world.story.fail(f"{node_id} is told of a task of {task.node_id}", node_id, task.id)
    session = world.store.leader.desk.sessions.get(node_id) if world.store.leader else None
    if session is not None and session.view.values.keys() - used_on(snap, node_id):
        raise world.story.fail(f"{node_id} keeps a value that no task there uses", node_id)


def check_members(world: World, after: Snapshot, changes: Written) -> None:
    """What a service reads, or would read after a rollback, is there."""
    for (kind, object_id), _, new in changes:
        if isinstance(new, Service):
            for spec in filter(None, (new.spec, new.previous_spec)):
                for key in reads(spec):
                    if after.get(*key) is None:
                        raise world.story.fail(f"{new.id} may need {key[1]}, which is not there", new.id, key[1])
        elif new is None and kind in (Kind.SECRET, Kind.CONFIG):
            for service in after.services.values():
                if any((kind, object_id) in reads(spec) for spec in (service.spec, service.previous_spec) if spec):
                    raise world.story.fail(
                        f"{object_id} is removed and {service.id} may need it", object_id, service.id
                    )

"""Credentials for registries: with the service that they are for, and on nodes that have yet to pull for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.judge.oracle import holding, is_wanted
from tests.sim.story import slot_of
from vault.crypto.plaintext import Plaintext
from vault.model.ids import Kind
from vault.model.registry_auth import RegistryAuth
from vault.model.service import Service, UpdateState
from vault.model.task import State, Task
from vault.rpc.messages import Assignments
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World


def of_service(snap: Snapshot, service_id: str) -> RegistryAuth | None:
    """Return the credentials that a service's image is pulled with."""
    service = snap.services.get(service_id)
    auth = snap.get(Kind.REGISTRY_AUTH, service.registry_auth) if service is not None else None
    return auth if isinstance(auth, RegistryAuth) else None


def pulled_with(snap: Snapshot, node_id: str) -> dict[str, int]:
    """Return the services for which a node has yet to pull with credentials, and the version of those."""
    tasks = [task for task in holding(snap.tasks_on(node_id)) if is_wanted(task) and task.state < State.READY]
    found = {task.service_id: of_service(snap, task.service_id) for task in tasks}
    return {service_id: auth.version.index for service_id, auth in found.items() if auth is not None}


def check_kept(world: World, after: Snapshot, changes: Written) -> None:
    """Each spec has its own credentials or none, and nothing is kept that neither spec of a service has."""
    if not any(kind in (Kind.SERVICE, Kind.REGISTRY_AUTH) for (kind, _), _, _ in changes):
        return
    used = {
        (service.id, auth_id)
        for service in after.services.values()
        for auth_id in (service.registry_auth, service.previous_registry_auth)
        if auth_id
    }
    kept = after.objects[Kind.REGISTRY_AUTH].values()
    held = {(one.service_id, one.id) for one in kept if isinstance(one, RegistryAuth)}
    if used != held:
        service_id, auth_id = min(used ^ held)
        what = "are gone" if (service_id, auth_id) in used else "are kept for nothing"
        raise world.story.fail(f"the credentials {auth_id} of {service_id} {what}", service_id, auth_id)
    for _, old, new in changes:
        begins = isinstance(old, Service) and isinstance(new, Service) and goes_back(new) and not goes_back(old)
        if begins and new.registry_auth != old.previous_registry_auth:
            raise world.story.fail(f"{new.id} goes back without the credentials that it had", new.id)


def goes_back(service: Service) -> bool:
    """Whether a service is on its way back."""
    return service.update_status is not None and service.update_status.state is UpdateState.ROLLBACK_STARTED


class Given:
    """What nodes were given in their sessions."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._given: dict[str, dict[str, int]] = {}  # Node -> service -> version.

    def told(self, node_id: str, snap: Snapshot, message: Assignments) -> None:
        """A node is given what it is to pull with, the newest, and it is withdrawn once it has pulled."""
        given = self._given[node_id] = {} if message.full else self._given.get(node_id, {})
        given.update({value.id: value.version for value in message.put_values if value.kind is Kind.REGISTRY_AUTH})
        for kind, service_id in message.remove_values:
            if kind is Kind.REGISTRY_AUTH:
                del given[service_id]
        if given != (wanted := pulled_with(snap, node_id)):
            raise self._world.story.fail(f"{node_id} has credentials {given}, not {wanted}", node_id, *given, *wanted)


def check_pulled(world: World, task: Task, value: Plaintext | None) -> None:
    """A task's image is pulled with credentials of its service, which it has if they were there when it was told."""
    world.judge.counts["pulled with credentials"] += value is not None
    if value is not None:
        if not value.reveal().startswith(f"{task.service_id} ".encode()):
            raise world.story.fail(f"{slot_of(task)} pulls with credentials of another service", task.id)
        return
    auth, service = of_service(world.store.snap, task.service_id), world.store.snap.services.get(task.service_id)
    # One that went back to its former spec since has old credentials again, which the task was not told with.
    unchanged = service is not None and service.version.index < task.version.index
    if auth is not None and auth.version.index < task.version.index and unchanged:
        raise world.story.fail(f"{slot_of(task)} pulls without the credentials of its service", task.id)

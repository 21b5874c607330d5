"""No secret or config on a node without a live task there that uses it, and none removed that a service may need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.sim.judge.oracle import holding, is_wanted
from tests.sim.story import slot_of
from vault.crypto import Plaintext
from vault.model.ids import Kind, SecretID
from vault.model.service import Service, ServiceSpec
from vault.model.task import State, Task
from vault.plugins.secret_provider import SecretRequest
from vault.rpc.messages import Assignments
from vault.store.snapshot import Key, Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.session import Session
    from tests.sim.world import World


def reads(spec: ServiceSpec | Task) -> set[Key]:
    """Return the secrets and configs that a spec refers to."""
    container = (spec.spec if isinstance(spec, Task) else spec.task_template).container_spec
    secrets = {(Kind.SECRET, one.secret_id) for one in container.secrets}
    return secrets | {(Kind.CONFIG, one.config_id) for one in container.configs}


def used_on(snap: Snapshot, node_id: str) -> set[Key]:
    """Return what the live tasks of a node read."""
    return {key for task in holding(snap.tasks_on(node_id)) for key in used_by(task)}


def used_by(task: Task) -> set[Key]:
    """Return what a task may be given: of secrets with a driver a value of its own, until it has its files."""
    has_begun = task.state >= State.STARTING
    if not is_wanted(task) and not has_begun:
        return set()
    plain = {key for key in reads(task) if not is_driven(key)}
    return plain if has_begun else plain | {own(key, task.id) for key in reads(task) if is_driven(key)}


def mounted_on(snap: Snapshot, node_id: str) -> set[Key]:
    """Return the secrets and configs of which live tasks of a node may have files."""
    tasks = [task for task in holding(snap.tasks_on(node_id)) if is_wanted(task) or task.state >= State.STARTING]
    return {key for task in tasks for key in reads(task)}


def is_driven(key: Key) -> bool:
    """Whether a driver gives the value of a secret: `People` names them so."""
    return key[1].startswith("d")


def own(key: Key, task_id: str) -> Key:
    """Return what a task's own value is known by."""
    return key[0], f"{key[1]}.{task_id}"


class Values:
    """What a driver was asked for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._refused: set[tuple[str, str]] = set()  # Secret and task.

    def asked(self, session: Session, snap: Snapshot, request: SecretRequest) -> None:
        """A driver is asked once in a session, for a task on that node that uses the secret and has yet to start."""
        key = own((Kind.SECRET, request.secret_name), request.task_id)
        if key not in used_on(snap, session.node_id) or request.node_id != session.node_id or key in session.passed_on:
            raise self._world.story.fail(f"a driver is asked for {key[1]} for nothing", request.task_id)

    def refused(self, secret_id: str, task_id: str) -> None:
        """A driver gave nothing."""
        self._refused.add((secret_id, task_id))

    def mounted(self, task: Task, secrets: Mapping[SecretID, Plaintext]) -> None:
        """A task is prepared: what it is given of a driver was given for it alone."""
        for secret_id, value in secrets.items():
            key = (Kind.SECRET, secret_id)
            if is_driven(key) and not value.reveal().startswith(f"{own(key, task.id)[1]} ".encode()):
                raise self._world.story.fail(f"{slot_of(task)} is given the value of another task", task.id)

    def lacks(self, task: Task, *, given: bool) -> None:
        """A task is rejected for want of a value: one that is removed or, if a reason was given, that was refused."""
        if given and not any((secret_id, task.id) in self._refused for _, secret_id in reads(task)):
            raise self._world.story.fail(f"{slot_of(task)} is refused a value, and no driver did so", task.id)
        if not given and all(self._world.store.snap.get(*key) is not None for key in reads(task)):
            raise self._world.story.fail(f"{slot_of(task)} lacks a value that is there", task.id)

    def check_own(self, message: Assignments) -> None:
        """What goes to a node as a task's own was given for that task, or refused to it."""
        for value in message.put_values:
            secret_id, _, task_id = value.id.partition(".")
            if not is_driven((value.kind, secret_id)):
                continue
            good = (
                (secret_id, task_id) in self._refused
                if value.error
                else value.payload.startswith(f"{value.id} ".encode())
            )
            if not good:
                raise self._world.story.fail(f"{value.id} is not what a driver said", task_id)


def check_told(world: World, node_id: str, snap: Snapshot, message: Assignments) -> None:
    """A node is given only what a task of its own reads, and what it is told of is its own."""
    used = used_on(snap, node_id)
    session = world.store.leader.desk.sessions.get(node_id) if world.store.leader else None
    if session is not None:
        missing = {key for key in used.difference(session.view.values) if snap.get(*key) is not None}
        if missing:
            raise world.story.fail(f"{node_id} is not to have {sorted(missing)}, which a task there uses", node_id)
    if message.put_values:
        for value in message.put_values:
            if value.kind is not Kind.REGISTRY_AUTH and (value.kind, value.id) not in used:
                raise world.story.fail(f"{node_id} is given {value.id}, which no task there uses", node_id, value.id)
        world.judge.values.check_own(message)
    session = world.store.leader.desk.sessions.get(node_id) if world.store.leader else None
    told = frozenset(session.view.values) if session is not None else frozenset[Key]()
    known = {key for key in told if key[0] is not Kind.REGISTRY_AUTH}
    if known - used_on(snap, node_id):
        raise world.story.fail(f"{node_id} keeps a value that no task there uses", node_id)
    for task in message.put_tasks:
        if task.node_id != node_id:
            raise world.story.fail(f"{node_id} is told of a task of {task.node_id}", node_id, task.id)
        if task.state.terminal or not is_wanted(task):
            continue
        lacking = [key for key in used_by(task) - known if snap.get(key[0], key[1].partition(".")[0]) is not None]
        if lacking:
            raise world.story.fail(f"{slot_of(task)} is told before its {sorted(lacking)[0][1]}", node_id, task.id)


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

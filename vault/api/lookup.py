"""How a reference in a path finds its object: full id, then exact name, then the beginning of an id.  Pure.

Called by all handlers of cluster objects.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from starlette.requests import Request

from vault.model.errors import Ambiguous, NotFound, OutcomeForgotten
from vault.model.ids import Kind
from vault.model.network import Network
from vault.model.node import Node
from vault.model.secret import Config, Secret
from vault.model.service import Service
from vault.model.task import Task
from vault.store.snapshot import Snapshot

T = TypeVar("T")
NamedT = TypeVar("NamedT", Secret, Config, Service, Network)


def find(kind: str, reference: str, objects: Mapping[str, T], name_of: Callable[[T], str]) -> T:
    """Return the object that `reference` means; raise `NotFound` or `Ambiguous`."""
    found = objects.get(reference)
    if found is not None:
        return found
    wanted = reference.lower()
    return only(kind, reference, (obj for obj in objects.values() if name_of(obj).lower() == wanted)) or by_prefix(
        kind, reference, objects
    )


def by_prefix(kind: str, reference: str, objects: Mapping[str, T]) -> T:
    """Return the one object whose id begins with `reference`; raise `NotFound` or `Ambiguous`."""
    found = only(kind, reference, (obj for object_id, obj in objects.items() if object_id.startswith(reference)))
    if found is None or not reference:
        raise NotFound(kind, reference)
    return found


def only(kind: str, reference: str, found: Iterable[T]) -> T | None:
    """Return the one object found, or None; raise `Ambiguous` for more."""
    matches = list(found)
    if len(matches) > 1:
        raise Ambiguous(kind, reference, len(matches))
    return matches[0] if matches else None


def made_already(request: Request, snapshot: Snapshot, kind: Kind, object_id: str) -> bool:
    """Whether a create was done before: its id was drawn at random for this very request, which was sent again.

    It may have been removed since.  Raises `OutcomeForgotten` when this manager cannot tell.
    """
    if snapshot.get(kind, object_id) is not None or object_id in snapshot.removals:
        return True
    since: int | None = request.scope.get("sent_since")
    if since is not None and since < snapshot.removals.since:
        raise OutcomeForgotten
    return False


def find_secret(snapshot: Snapshot, reference: str) -> Secret:
    """Return a secret by id, name or id prefix."""
    named = snapshot.by_name(Kind.SECRET, reference)
    objects = snapshot.secrets
    return objects.get(reference) or _as(Secret, named) or by_prefix(Kind.SECRET, reference, objects)


def find_config(snapshot: Snapshot, reference: str) -> Config:
    """Return a config by id, name or id prefix."""
    named = snapshot.by_name(Kind.CONFIG, reference)
    objects = snapshot.configs
    return objects.get(reference) or _as(Config, named) or by_prefix(Kind.CONFIG, reference, objects)


def find_service(snapshot: Snapshot, reference: str) -> Service:
    """Return a service by id, name or id prefix."""
    named = snapshot.by_name(Kind.SERVICE, reference)
    objects = snapshot.services
    return objects.get(reference) or _as(Service, named) or by_prefix(Kind.SERVICE, reference, objects)


def find_network(snapshot: Snapshot, reference: str) -> Network:
    """Return a network of the cluster by id, name or id prefix."""
    named = snapshot.by_name(Kind.NETWORK, reference)
    objects = snapshot.networks
    return objects.get(reference) or _as(Network, named) or by_prefix(Kind.NETWORK, reference, objects)


def find_node(snapshot: Snapshot, reference: str) -> Node:
    """Return a node by id, host name or id prefix."""
    return find(Kind.NODE, reference, snapshot.nodes, lambda node: node.description.hostname or node.spec.name)


def find_task(snapshot: Snapshot, reference: str) -> Task:
    """Return a task by id, name (`service.slot.id`) or id prefix."""
    return find(Kind.TASK, reference, snapshot.tasks, lambda task: task.name)


def _as(type_: type[NamedT], obj: object) -> NamedT | None:
    return obj if isinstance(obj, type_) else None

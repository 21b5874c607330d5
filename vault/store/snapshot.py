"""One moment of the cluster: immutable, cheap to derive, with the indexes that deciders and the API need.  Pure.

Maps are persistent (`rpds`): a derived snapshot shares what did not change.  Values of secrets and configs are
not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec
from rpds import HashTrieMap, HashTrieSet

from vault.model.base import Version, from_s
from vault.model.cluster import Cluster
from vault.model.ids import Kind
from vault.model.network import Network
from vault.model.node import Node
from vault.model.secret import Config, Secret
from vault.model.service import Service
from vault.model.stack import StackRecord
from vault.model.task import Task
from vault.store.changes import AnyObject, Atomic, Change, Delete, Put, PutValue, kind_of, name_of
from vault.store.removals import Removals

Key = tuple[Kind, str]
Ids: TypeAlias = "HashTrieSet[str]"
K = TypeVar("K")
Published = tuple[int, str]  # Number and protocol.
Slot = tuple[str, int, str]  # Service, slot, and the node of a global task.
NO_IDS: Ids = HashTrieSet()
CREATED = frozenset({Kind.SECRET, Kind.CONFIG, Kind.SERVICE, Kind.NETWORK, Kind.STACK})  # What clients create.
LOG_COMMITS = 4096  # How far back `changed_since` can look.


class Stale(Exception):
    """A change no longer fits: its object, or one it relied on, has another version."""

    def __init__(self, kind: Kind, object_id: str) -> None:
        super().__init__(f"{kind} {object_id} has changed")
        self.kind = kind
        self.id = object_id


@dataclass(frozen=True, slots=True)
class ChangeLog:
    """Which objects each commit touched; shared by the snapshots of one store, bounded.

    Ids are kept by kind, in tuples: the garbage collector does not look at those, and keys are a million.
    """

    commits: dict[int, list[tuple[Kind, tuple[str, ...]]]] = field(default_factory=dict)

    def note(self, index: int, ids: Mapping[Kind, Iterable[str]]) -> None:
        """Remember that commit `index` touched the objects of these ids."""
        self.commits.setdefault(index, []).extend((kind, tuple(of_kind)) for kind, of_kind in ids.items())
        while len(self.commits) > LOG_COMMITS:
            del self.commits[next(iter(self.commits))]

    def touched(self, indexes: Iterable[int]) -> list[tuple[Kind, tuple[str, ...]]] | None:
        """Return the objects that some commits touched; None when one of them is not known any more."""
        found: list[tuple[Kind, tuple[str, ...]]] = []
        for index in indexes:
            if (noted := self.commits.get(index)) is None:
                return None
            found += noted
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The objects at one commit index."""

    index: int = 0
    objects: Mapping[Kind, HashTrieMap[str, Any]] = field(
        default_factory=lambda: {kind: HashTrieMap() for kind in Kind}
    )
    names: HashTrieMap[Key, str] = field(default_factory=HashTrieMap)  # Lower-case name -> id.
    by_service: HashTrieMap[str, Ids] = field(default_factory=HashTrieMap)
    by_slot: HashTrieMap[Slot, tuple[str, ...]] = field(default_factory=HashTrieMap)  # Few each, in order.
    by_node: HashTrieMap[str, Ids] = field(default_factory=HashTrieMap)
    users: HashTrieMap[Key, Ids] = field(default_factory=HashTrieMap)  # Secret, config or network -> services.
    publishers: HashTrieMap[Published, Ids] = field(default_factory=HashTrieMap)  # Published port -> services.
    removals: Removals = field(default_factory=Removals)
    log: ChangeLog = field(default_factory=ChangeLog)
    stored: Snapshot | None = None  # What all of this is while the store has taken nothing of it; None: this.

    @property
    def cluster(self) -> Cluster | None:
        """The cluster object; None before `swarm init`."""
        return next(iter(self.objects[Kind.CLUSTER].values()), None)

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Nodes by id."""
        return self.objects[Kind.NODE]

    @property
    def services(self) -> Mapping[str, Service]:
        """Services by id."""
        return self.objects[Kind.SERVICE]

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Tasks by id."""
        return self.objects[Kind.TASK]

    @property
    def networks(self) -> Mapping[str, Network]:
        """Networks by id."""
        return self.objects[Kind.NETWORK]

    @property
    def secrets(self) -> Mapping[str, Secret]:
        """Secrets by id."""
        return self.objects[Kind.SECRET]

    @property
    def configs(self) -> Mapping[str, Config]:
        """Configs by id."""
        return self.objects[Kind.CONFIG]

    @property
    def stacks(self) -> Mapping[str, StackRecord]:
        """What is remembered of the last deploy of each stack, by id."""
        return self.objects[Kind.STACK]

    def get(self, kind: Kind, object_id: str) -> AnyObject | None:
        """Return the object, or None."""
        found: AnyObject | None = self.objects[kind].get(object_id)
        return found

    def by_name(self, kind: Kind, name: str) -> AnyObject | None:
        """Return the object of that name whatever its case, or None."""
        object_id = self.names.get((kind, name.lower()))
        return None if object_id is None else self.objects[kind].get(object_id)

    def tasks_of(self, service_id: str) -> Iterator[Task]:
        """Return the tasks of a service, in no order.

        One by one, not by `map`: of that a list is made in one go, while no other thread has its turn.
        """
        tasks = self.tasks
        return (tasks[task_id] for task_id in members(self.by_service.get(service_id, NO_IDS)))

    def tasks_on(self, node_id: str) -> Iterator[Task]:
        """Return the tasks assigned to a node, in no order."""
        return map(self.tasks.__getitem__, members(self.by_node.get(node_id, NO_IDS)))

    def tasks_in(self, service_id: str, slot: int, node_id: str = "") -> Iterator[Task]:
        """Return the tasks of one slot (replicated), or of slot 0 and a node (global), by id."""
        return map(self.tasks.__getitem__, self.by_slot.get((service_id, slot, node_id), ()))

    def tasks_at(self, service_id: str, key: int | str) -> Iterator[Task]:
        """Return the tasks of one slot, named as in `Task.slot_key`, by id."""
        return self.tasks_in(service_id, 0, key) if isinstance(key, str) else self.tasks_in(service_id, key)

    def services_using(self, kind: Kind, object_id: str) -> Iterator[Service]:
        """Return the services whose spec, or previous spec, refers to a secret, config or network."""
        services = self.services
        return (services[service_id] for service_id in members(self.users.get((kind, object_id), NO_IDS)))

    def services_publishing(self, number: int, protocol: str) -> Iterator[Service]:
        """Return the services that publish a port, or were given it, in either mode."""
        services = self.services
        return (services[service_id] for service_id in members(self.publishers.get((number, protocol), NO_IDS)))

    def changed_since(self, before: Snapshot) -> set[Key] | None:
        """Return the objects touched between `before` and this snapshot, or more; None = too long ago to tell."""
        touched = self._touched_since(before)
        return None if touched is None else {(kind, object_id) for kind, ids in touched for object_id in ids}

    def kinds_changed_since(self, before: Snapshot) -> set[Kind] | None:
        """Return of which kinds those objects are, which is quicker when there are many."""
        touched = self._touched_since(before)
        return None if touched is None else {kind for kind, _ in touched}

    def _touched_since(self, before: Snapshot) -> list[tuple[Kind, tuple[str, ...]]] | None:
        if before.log is not self.log or not 0 <= self.index - before.index <= LOG_COMMITS:
            return None
        return self.log.touched(range(before.index + 1, self.index + 1))

    def mark(self) -> Snapshot:
        """Return what stands for this snapshot in `changed_since`, and holds nothing.

        Whoever lets go of a snapshot that nobody else holds any more frees all that has changed since, at one moment.
        """
        return Snapshot(index=self.index, log=self.log)

    def apart(self) -> Snapshot:
        """Return this snapshot with a log of its own: what is made of it is never to be one of its store's."""
        return replace(self, log=ChangeLog(), stored=self.stored or self)

    def apply(self, changes: Iterable[Change | Atomic], *, index: int, now_s: float) -> Snapshot:
        """Return the snapshot after `changes`, all of them, as commit `index`.

        Sets version, times and a service's spec version.  Raises `Stale` when a version does not fit; this
        snapshot is not touched then.  An object may be written only once per commit index.
        """
        draft, now = Draft(self), from_s(now_s)
        for change in changes:
            for single in change.changes if isinstance(change, Atomic) else (change,):
                draft.apply(single, index, now)
        return draft.finish(index)


class Draft:
    """A snapshot in the making; used by one `apply`."""

    def __init__(self, base: Snapshot) -> None:
        self.base = base
        self.objects = dict(base.objects)
        self.names, self.users, self.publishers = base.names, base.users, base.publishers
        self.by_service, self.by_slot, self.by_node = base.by_service, base.by_slot, base.by_node
        self.touched: dict[Kind, set[str]] = {}
        self.removed: list[str] = []

    def apply(self, change: Change, index: int, now: datetime) -> None:
        """Apply one change; raise `Stale` when it does not fit."""
        match change:
            case Put(obj=obj):
                kind, object_id, version = kind_of(obj), obj.id, obj.version.index
            case Delete(kind=kind, id=object_id, version=version):
                pass
            case PutValue():
                return
        old = self.objects[kind].get(object_id)
        if (0 if old is None else old.version.index) != version:
            raise Stale(kind, object_id)
        for relied in change.relied_on:
            found = self.objects[relied.kind].get(relied.id)
            if (0 if found is None else found.version.index) != relied.version:
                raise Stale(relied.kind, relied.id)
        self.replace(kind, object_id, old, stamp(change.obj, old, index, now) if isinstance(change, Put) else None)

    def take(self, kind: Kind, object_id: str, new: AnyObject | None) -> None:
        """Make an object what another manager has committed: version and times are in it already; None removes it."""
        self.replace(kind, object_id, self.objects[kind].get(object_id), new)

    def replace(self, kind: Kind, object_id: str, old: AnyObject | None, new: AnyObject | None) -> None:
        """Put an object in the place of another; None is no object.  The indexes are left alone when both are alike."""
        stays = old is not None and new is not None and indexed_alike(old, new)
        if old is not None and not stays:
            self.unindex(kind, old)
        if new is None:
            self.remove(kind, object_id)
        else:
            self.objects[kind] = self.objects[kind].insert(object_id, new)
            if not stays:
                self.index(kind, new)
        self.touched.setdefault(kind, set()).add(object_id)

    def remove(self, kind: Kind, object_id: str) -> None:
        """Take an object out, and note that it was there: also one that came and went since the base."""
        self.objects[kind] = self.objects[kind].discard(object_id)
        if kind in CREATED:
            self.removed.append(object_id)

    def index(self, kind: Kind, obj: AnyObject) -> None:
        """Add an object to the indexes."""
        if isinstance(obj, Task):
            self.by_service = _add(self.by_service, obj.service_id, obj.id)
            slot = _slot(obj)
            self.by_slot = self.by_slot.insert(slot, tuple(sorted((*self.by_slot.get(slot, ()), obj.id))))
            if obj.node_id:
                self.by_node = _add(self.by_node, obj.node_id, obj.id)
            return
        if name := name_of(obj):
            self.names = self.names.insert((kind, name.lower()), obj.id)
        if isinstance(obj, Service):
            for key in used_by(obj):
                self.users = _add(self.users, key, obj.id)
            for port in published_by(obj):
                self.publishers = _add(self.publishers, port, obj.id)

    def unindex(self, kind: Kind, obj: AnyObject) -> None:
        """Take an object out of the indexes."""
        if isinstance(obj, Task):
            self.by_service = _drop(self.by_service, obj.service_id, obj.id)
            slot = _slot(obj)
            left = tuple(task_id for task_id in self.by_slot.get(slot, ()) if task_id != obj.id)
            self.by_slot = self.by_slot.insert(slot, left) if left else self.by_slot.discard(slot)
            if obj.node_id:
                self.by_node = _drop(self.by_node, obj.node_id, obj.id)
            return
        key = (kind, name_of(obj).lower())
        if self.names.get(key) == obj.id:
            self.names = self.names.remove(key)
        if isinstance(obj, Service):
            for used in used_by(obj):
                self.users = _drop(self.users, used, obj.id)
            for port in published_by(obj):
                self.publishers = _drop(self.publishers, port, obj.id)

    def finish(self, index: int) -> Snapshot:
        """Return the snapshot, and note in the log what it touched."""
        self.base.log.note(index, self.touched)
        removals = self.base.removals
        for object_id in self.removed:
            removals = removals.with_one(object_id, index)
        return Snapshot(
            index=index,
            objects=self.objects,
            names=self.names,
            users=self.users,
            publishers=self.publishers,
            by_service=self.by_service,
            by_slot=self.by_slot,
            by_node=self.by_node,
            removals=removals,
            log=self.base.log,
            stored=self.base.stored,
        )


def taken_at_once(ids: Ids) -> list[str]:
    """Return the ids in a set as pickling takes them, which is nowhere promised to stay as it is.

    The set's own iterator takes them one by one out of copies of the set, which costs up to sixty times as much; so do
    those of rpds's maps, and it has no other way.
    """
    return cast(tuple[object, tuple[list[str]]], ids.__reduce__())[1][0]


def is_good(take: Callable[[Ids], list[str]]) -> bool:
    """Whether a way to take the ids of a set is one, with the rpds that is installed."""
    some = ["a", "b", "c"]
    try:
        found = take(HashTrieSet(some)), take(NO_IDS)
    except (TypeError, LookupError, AttributeError):
        return False
    return all(type(one) is list for one in found) and (sorted(found[0]), found[1]) == (some, [])


members: Final[Callable[[Ids], list[str]]] = taken_at_once if is_good(taken_at_once) else list  # In no order.


def stamp(obj: AnyObject, old: AnyObject | None, index: int, now: datetime) -> AnyObject:
    """Return `obj` as commit `index` stores it: version, times, and the spec version of a service or node.

    A node that is down keeps the moment when it went down, whatever else changes; it has none while it is not.
    """
    created = now if old is None else old.created_at
    new = msgspec.structs.replace(obj, version=Version(index=index), created_at=created, updated_at=now)
    if isinstance(new, Service | Node):
        in_force = old.spec_version if isinstance(old, Service | Node) and old.spec == new.spec else None
        new = msgspec.structs.replace(new, spec_version=in_force or Version(index=index))
    if isinstance(new, Node) and (new.down_since is not None or new.status.state == "down"):
        return msgspec.structs.replace(new, down_since=(new.down_since or now) if new.status.state == "down" else None)
    return new


def indexed_alike(old: AnyObject, new: AnyObject) -> bool:
    """Whether two versions of an object stand at the same places of all indexes; most changes are of a state only."""
    if isinstance(old, Task) and isinstance(new, Task):
        return old.node_id == new.node_id and _slot(old) == _slot(new)
    return not isinstance(new, Service) and name_of(old) == name_of(new)


def used_by(service: Service) -> set[Key]:
    """Return the secrets, configs and networks that a service's spec or previous spec refers to, by id."""
    keys: set[Key] = set()
    for spec in (service.spec, service.previous_spec):
        if spec is None:
            continue
        container = spec.task_template.container_spec
        keys |= {(Kind.SECRET, ref.secret_id) for ref in container.secrets}
        keys |= {(Kind.CONFIG, ref.config_id) for ref in container.configs}
        keys |= {(Kind.NETWORK, ref.target) for ref in spec.task_template.networks}
    return keys


def published_by(service: Service) -> set[Published]:
    """Return the ports that a service publishes: those of its spec, and those it was given."""
    asked = service.spec.endpoint_spec.ports if service.spec.endpoint_spec else ()
    ports = (*asked, *service.endpoint.ports)
    return {(port.published_port, port.protocol) for port in ports if port.published_port}


def _slot(task: Task) -> Slot:
    key = task.slot_key
    return (task.service_id, task.slot, key if isinstance(key, str) else "")


def _add(index: HashTrieMap[K, Ids], key: K, object_id: str) -> HashTrieMap[K, Ids]:
    return index.insert(key, index.get(key, NO_IDS).insert(object_id))


def _drop(index: HashTrieMap[K, Ids], key: K, object_id: str) -> HashTrieMap[K, Ids]:
    left = index.get(key, NO_IDS).discard(object_id)
    if left:
        return index.insert(key, left)
    return index.discard(key)

"""Which tasks, secrets, configs and credentials a node should hold, and what changed since it was last told.

Pure: snapshots in, differences out.  Called by `vault.dispatcher.stream` and, for who is concerned at all, by
`vault.dispatcher.service`.  This is the one place that decides which node may see a secret: it goes to nodes with a
live task that refers to it, and leaves with the last such task.  Credentials for registries go to nodes that have yet
to pull the image of a service's task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

from rpds import HashTrieMap

from vault.model.ids import Kind
from vault.model.registry_auth import RegistryAuth
from vault.model.secret import Config, Secret
from vault.model.service import Service
from vault.model.task import State, Task
from vault.rpc.messages import own_value
from vault.store.changes import kind_of
from vault.store.snapshot import NO_IDS, Key, Snapshot, members

ValueKey = tuple[Kind, str]  # And id: that of the object, or of one task's own value; of credentials, the service's.
Value = Secret | Config | RegistryAuth
K = TypeVar("K")
_ASSIGNED, _READY, _STARTING, _RUNNING = (
    state.rank for state in (State.ASSIGNED, State.READY, State.STARTING, State.RUNNING)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What a node has been told, and which values its tasks may read.  Maps are persistent: the next shares them."""

    tasks: HashTrieMap[str, int] = field(default_factory=HashTrieMap)  # Task id -> version sent.
    values: HashTrieMap[ValueKey, int] = field(default_factory=HashTrieMap)  # Secret or config -> version sent.
    reads: HashTrieMap[str, tuple[ValueKey, ...]] = field(default_factory=HashTrieMap)  # By task, whether there or not.
    readers: HashTrieMap[ValueKey, int] = field(default_factory=HashTrieMap)  # How many of its tasks read a value.
    open_tasks: frozenset[str] = frozenset()  # What was left out of the last message
    open_values: frozenset[ValueKey] = frozenset()  # and is to be looked at again.

    @property
    def refers(self) -> frozenset[ValueKey]:
        """Every secret and config whose coming or going would concern the node."""
        return frozenset((kind, object_id.partition(".")[0]) for kind, object_id in self.readers)

    def without(self, tasks: Collection[str], values: Collection[ValueKey], *, told: NodeView) -> NodeView:
        """Return this view as it is when `tasks` and `values` were left out of a message; `told` is the one before."""
        if not (tasks or values):
            return self
        return replace(
            self,
            tasks=_as_before(self.tasks, told.tasks, tasks),
            values=_as_before(self.values, told.values, values),
            open_tasks=self.open_tasks.union(tasks),
            open_values=self.open_values.union(values),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A value that a node should have."""

    obj: Value
    task: Task | None = None  # Whose own value it is: of a secret with a driver, which is asked for each task.

    @property
    def key(self) -> ValueKey:
        """What it is known by."""
        if isinstance(self.obj, RegistryAuth):
            return Kind.REGISTRY_AUTH, self.obj.service_id
        return kind_of(self.obj), self.obj.id if self.task is None else own_value(self.obj.id, self.task.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a node has to be told."""

    put_tasks: tuple[Task, ...] = ()
    remove_tasks: tuple[str, ...] = ()
    put_values: tuple[Wanted, ...] = ()
    remove_values: tuple[ValueKey, ...] = ()


def difference(
    view: NodeView, snap: Snapshot, node_id: str, changed: Collection[str] | None = None
) -> tuple[NodeView, Difference]:
    """Return what `node_id` should hold now, and what it must be told for that.

    A task is sent from ASSIGNED on, and again when what concerns its node changed; a status the node reported itself
    is not sent back.  A removed secret is withdrawn even while a task still refers to it.

    changed: the tasks that may be others than when the view was made, which alone are looked at; None = everything.
    When a value has come or gone, everything has to be looked at, and is as long as one was left out of a message.
    """
    if view.open_values:
        changed = None
    tasks, reads, counted = view.tasks, view.reads, _Readers(view.readers)
    readable: set[ValueKey] = set()  # By tasks that are looked at: no value is sent for what others read before.
    put_tasks: list[Task] = []
    remove_tasks: list[str] = []
    for task_id in sorted(view.open_tasks.union(_all_tasks(view, snap, node_id) if changed is None else changed)):
        task = snap.tasks.get(task_id)
        before = reads.get(task_id)
        if task is None or task.node_id != node_id or task.status.state.rank < _ASSIGNED:
            if task_id in tasks:
                remove_tasks.append(task_id)
                tasks = tasks.remove(task_id)
            if before is not None:
                counted.move(before, ())
                reads = reads.remove(task_id)
            continue
        if tasks.get(task_id) != _told(task):
            put_tasks.append(task)
            tasks = tasks.insert(task_id, _told(task))
        after = tuple(dict.fromkeys(values_of(task, snap)))
        readable.update(after)
        if before != after:
            counted.move(before or (), after)
            reads = reads.insert(task_id, after)
    concerned = counted.moved | readable if changed is not None else {*view.values, *counted.readers}
    values = view.values
    put_values: list[Wanted] = []
    remove_values: list[ValueKey] = []
    for key in sorted(concerned):
        wanted = _wanted(key, snap) if key in counted.readers else None
        if wanted is None:
            if key in values:
                remove_values.append(key)
                values = values.remove(key)
        elif key in readable and (key not in values or _is_renewed(wanted.obj, values[key])):
            put_values.append(wanted)
            values = values.insert(key, wanted.obj.version.index)
    return NodeView(tasks=tasks, values=values, reads=reads, readers=counted.readers), Difference(
        put_tasks=tuple(put_tasks),
        remove_tasks=tuple(remove_tasks),
        put_values=tuple(put_values),
        remove_values=tuple(remove_values),
    )


class _Readers:
    """How many of a node's tasks read each value, while that is counted anew for some of them."""

    def __init__(self, readers: HashTrieMap[ValueKey, int]) -> None:
        self.readers = readers
        self.moved: set[ValueKey] = set()  # Of which that is another number.

    def move(self, before: Collection[ValueKey], after: Collection[ValueKey]) -> None:
        """Count a task for what it reads now, and no longer for what it read before."""
        for keys, others, by in ((after, before, 1), (before, after, -1)):
            for key in keys:
                if key not in others:
                    self.moved.add(key)
                    count = self.readers.get(key, 0) + by
                    self.readers = self.readers.insert(key, count) if count else self.readers.remove(key)


def _all_tasks(view: NodeView, snap: Snapshot, node_id: str) -> Iterator[str]:
    """Yield the tasks that are on a node, and those that were."""
    yield from members(snap.by_node.get(node_id, NO_IDS))
    yield from view.reads


def _as_before(now: HashTrieMap[K, int], before: HashTrieMap[K, int], keys: Collection[K]) -> HashTrieMap[K, int]:
    """Return a map that says of `keys` what it said before."""
    for key in keys:
        told = before.get(key)
        now = now.discard(key) if told is None else now.insert(key, told)
    return now


def answered(
    view: NodeView, after: NodeView, told: Difference, unanswered: frozenset[ValueKey], snap: Snapshot
) -> tuple[NodeView, Difference]:
    """Return what may be told of a difference while some values have yet to come: their tasks wait with them."""
    waiting = {task.id for task in told.put_tasks if unanswered.intersection(values_of(task, snap))}
    now = replace(
        told,
        put_tasks=tuple(task for task in told.put_tasks if task.id not in waiting),
        put_values=tuple(wanted for wanted in told.put_values if wanted.key not in unanswered),
    )
    return after.without(waiting, unanswered, told=view), now


def _is_renewed(obj: Value, told: int) -> bool:
    """Whether a value is another than the node was told: that of an object never changes, that of a service may."""
    return isinstance(obj, RegistryAuth) and obj.version.index != told


def needs_values(task: Task) -> bool:
    """Whether a task may read its secrets: it runs, or is still meant to."""
    rank = task.status.state.rank
    return rank <= _RUNNING and (rank >= _STARTING or task.wanted)


def values_of(task: Task, snap: Snapshot) -> list[ValueKey]:
    """Return the secrets and configs that a task may read now, also those that are not there."""
    if not needs_values(task):
        return []
    container = task.spec.container_spec
    keys: list[ValueKey] = []
    for reference in container.secrets:
        secret = snap.secrets.get(reference.secret_id)
        if secret is None or not secret.driven:
            keys.append((Kind.SECRET, reference.secret_id))
        elif task.status.state.rank < _STARTING:  # Later it has its files, and the driver is not asked in vain.
            keys.append((Kind.SECRET, own_value(reference.secret_id, task.id)))
    keys += [(Kind.CONFIG, claim.config_id) for claim in container.configs]
    if _credentials(task, snap) is not None:
        keys.append((Kind.REGISTRY_AUTH, task.service_id))
    return keys


def allowed(snap: Snapshot, node_id: str) -> Collection[ValueKey]:
    """Return the secrets and configs that a node may hold."""
    return difference(NodeView(), snap, node_id)[0].values


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What of a change between two snapshots could concern nodes."""

    tasks: Mapping[str, Collection[str]] = field(default_factory=dict)  # By node: those it may have to be told of.
    values: frozenset[ValueKey] = frozenset()  # Secrets and configs that came or went.
    members: frozenset[str] = frozenset()  # Nodes that changed themselves.
    cluster: bool = False

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes whose tasks changed in a way that they may have to be told of."""
        return frozenset(self.tasks)


def touched(before: Snapshot, after: Snapshot, keys: Iterable[Key]) -> Touched:
    """Return what changed between two snapshots, at a cost that depends on the change alone.

    keys: the objects that changed; some of them are some of what changed.
    """
    tasks: dict[str, set[str]] = {}
    values: set[ValueKey] = set()
    members: set[str] = set()
    given: set[str] = set()  # Services with other credentials: of concern to the tasks that have yet to pull.
    cluster = False
    for kind, object_id in keys:
        if kind is Kind.TASK:
            old, new = before.tasks.get(object_id), after.tasks.get(object_id)
            if _concern(old, before) != _concern(new, after):
                for node_id in {task.node_id for task in (old, new) if task is not None and task.node_id}:
                    tasks.setdefault(node_id, set()).add(object_id)
        elif kind in (Kind.SECRET, Kind.CONFIG):
            if (before.get(kind, object_id) is None) is not (after.get(kind, object_id) is None):
                values.add((kind, object_id))  # Else its labels changed, and a value never does.
        elif kind is Kind.REGISTRY_AUTH:
            found = (before.get(kind, object_id), after.get(kind, object_id))
            given.update(auth.service_id for auth in found if isinstance(auth, RegistryAuth))
        elif kind is Kind.SERVICE:
            if _given_to(before.services.get(object_id)) != _given_to(after.services.get(object_id)):
                given.add(object_id)
        elif kind is Kind.NODE:
            members.add(object_id)
        elif kind is Kind.CLUSTER:
            cluster = True
    for task in chain.from_iterable(map(after.tasks_of, given)):
        if task.node_id and _ASSIGNED <= task.status.state.rank < _READY:
            tasks.setdefault(task.node_id, set()).add(task.id)
    return Touched(tasks=tasks, values=frozenset(values), members=frozenset(members), cluster=cluster)


def _wanted(key: ValueKey, snap: Snapshot) -> Wanted | None:
    """Return what a value is that a task reads; None when it is not there."""
    kind, known_by = key
    if kind is Kind.CONFIG:
        config = snap.configs.get(known_by)
        return Wanted(obj=config) if config is not None else None
    if kind is Kind.REGISTRY_AUTH:
        auth = _newest_credentials(known_by, snap)
        return Wanted(obj=auth) if auth is not None else None
    secret_id, _, task_id = known_by.partition(".")
    secret = snap.secrets.get(secret_id)
    if secret is None or secret.driven is not bool(task_id):
        return None
    return Wanted(obj=secret, task=snap.tasks[task_id] if task_id else None)


def _credentials(task: Task, snap: Snapshot) -> RegistryAuth | None:
    """Return what the image of a task is yet to be pulled with: the newest that its service was given."""
    if task.status.state.rank >= _READY:
        return None
    return _newest_credentials(task.service_id, snap)


def _newest_credentials(service_id: str, snap: Snapshot) -> RegistryAuth | None:
    given = _given_to(snap.services.get(service_id))
    auth = snap.get(Kind.REGISTRY_AUTH, given) if given else None
    return auth if isinstance(auth, RegistryAuth) else None


def _given_to(service: Service | None) -> str:
    """Return the id of the credentials that a service was given; "" = none."""
    return "" if service is None else service.registry_auth


def _told(task: Task) -> int:
    """What of a task concerns its node, as one number: the spec is frozen, so only the desired state moves."""
    return task.desired_state.rank


def _concern(task: Task | None, snap: Snapshot) -> tuple[str, int, bool, bool, bool] | None:
    """Return all of a task that `difference` looks at; None when its node is to know nothing of it."""
    if task is None or not task.node_id or task.status.state.rank < _ASSIGNED:
        return None
    return task.node_id, _told(task), needs_values(task), _has_own(task, snap), _credentials(task, snap) is not None


def _has_own(task: Task, snap: Snapshot) -> bool:
    """Whether a task has yet to start, with a value that a driver gave for it alone."""
    claims = task.spec.container_spec.secrets
    if not claims or task.status.state.rank >= _STARTING:
        return False
    secrets = (snap.secrets.get(reference.secret_id) for reference in claims)
    return any(secret is not None and secret.driven for secret in secrets)

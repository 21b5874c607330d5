"""Which tasks, secrets, configs and credentials a node should hold, and what changed since it was last told.

Pure: snapshots in, differences out.  Called by `vault.dispatcher.stream` and, for who is concerned at all, by
`vault.dispatcher.service`.  This is the one place that decides which node may see a secret: it goes to nodes with a
live task that refers to it, and leaves with the last such task.  Credentials for registries go to nodes that have yet
to pull the image of a service's task.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from vault.model.ids import Kind
from vault.model.registry_auth import RegistryAuth
from vault.model.secret import Config, Secret
from vault.model.task import State, Task
from vault.rpc.messages import own_value
from vault.store.changes import kind_of
from vault.store.snapshot import Snapshot

ValueKey = tuple[Kind, str]  # And id: that of the object, or of one task's own value; of credentials, the service's.
Value = Secret | Config | RegistryAuth
_ASSIGNED, _READY, _STARTING, _RUNNING = (
    state.rank for state in (State.ASSIGNED, State.READY, State.STARTING, State.RUNNING)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What a node has been told."""

    tasks: dict[str, int] = field(default_factory=dict)  # Task id -> version sent.
    values: dict[ValueKey, int] = field(default_factory=dict)  # Secret or config -> version sent.
    absent: frozenset[ValueKey] = frozenset()  # What its tasks refer to and nobody has.

    @property
    def refers(self) -> frozenset[ValueKey]:
        """Every secret and config whose coming or going would concern the node."""
        return self.absent.union((kind, object_id.partition(".")[0]) for kind, object_id in self.values)

    def without(self, tasks: Collection[str], values: Collection[ValueKey], *, told: "NodeView") -> "NodeView":
        """Return this view as it is when `tasks` and `values` were left out of a message; `told` is the one before."""
        known = {i: version for i, version in self.tasks.items() if i not in tasks}
        return NodeView(
            tasks=known | {i: version for i, version in told.tasks.items() if i in tasks},
            values={key: version for key, version in self.values.items() if key not in values},
            absent=self.absent,
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


def difference(view: NodeView, snap: Snapshot, node_id: str) -> tuple[NodeView, Difference]:
    """Return what `node_id` should hold now, and what it must be told for that.

    A task is sent from ASSIGNED on, and again when what concerns its node changed; a status the node reported itself
    is not sent back.  A removed secret is withdrawn even while a task still refers to it.
    """
    tasks = {task.id: task for task in snap.tasks_on(node_id) if task.status.state.rank >= _ASSIGNED}
    values: dict[ValueKey, tuple[Value, Task | None]] = {}
    absent: set[ValueKey] = set()
    for task in tasks.values():
        for key, obj, owner in _read_by(task, snap):
            if obj is None:
                absent.add(key)
            else:
                values[key] = obj, owner
    after = NodeView(
        tasks={task_id: _told(task) for task_id, task in tasks.items()},
        values={key: obj.version.index for key, (obj, _) in values.items()},
        absent=frozenset(absent),
    )
    return after, Difference(
        put_tasks=tuple(tasks[i] for i, told in after.tasks.items() if view.tasks.get(i) != told),
        remove_tasks=tuple(i for i in view.tasks if i not in tasks),
        put_values=tuple(
            Wanted(obj=obj, task=owner)
            for key, (obj, owner) in values.items()
            if key not in view.values or _is_renewed(obj, view.values[key])
        ),
        remove_values=tuple(key for key in view.values if key not in values),
    )


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
    """Return the secrets and configs that a task may read now."""
    return [key for key, _, _ in _read_by(task, snap)]


def allowed(snap: Snapshot, node_id: str) -> Collection[ValueKey]:
    """Return the secrets and configs that a node may hold."""
    return difference(NodeView(), snap, node_id)[0].values


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What of a change between two snapshots could concern nodes."""

    nodes: frozenset[str] = frozenset()  # Those whose tasks changed in a way that they may have to be told of.
    values: frozenset[ValueKey] = frozenset()  # Secrets and configs that came or went.
    members: frozenset[str] = frozenset()  # Nodes that changed themselves.
    cluster: bool = False


def touched(before: Snapshot, after: Snapshot) -> Touched | None:
    """Return what changed between two snapshots, at a cost that depends on the change alone; None = look at all."""
    keys = after.changed_since(before)
    if keys is None:
        return None
    nodes: set[str] = set()
    values: set[ValueKey] = set()
    members: set[str] = set()
    cluster = False
    for kind, object_id in keys:
        if kind is Kind.TASK:
            old, new = before.tasks.get(object_id), after.tasks.get(object_id)
            if _concern(old, before) != _concern(new, after):
                nodes.update(task.node_id for task in (old, new) if task is not None and task.node_id)
        elif kind in (Kind.SECRET, Kind.CONFIG):
            if (before.get(kind, object_id) is None) is not (after.get(kind, object_id) is None):
                values.add((kind, object_id))  # Else its labels changed, and a value never does.
        elif kind is Kind.REGISTRY_AUTH:
            found = (before.get(kind, object_id), after.get(kind, object_id))
            values.update((kind, auth.service_id) for auth in found if isinstance(auth, RegistryAuth))
        elif kind is Kind.SERVICE:
            old_service, service = before.services.get(object_id), after.services.get(object_id)
            if old_service is not None and service is not None and old_service.registry_auth != service.registry_auth:
                values.add((Kind.REGISTRY_AUTH, object_id))  # Others are in force; these may stay, for a way back.
        elif kind is Kind.NODE:
            members.add(object_id)
        elif kind is Kind.CLUSTER:
            cluster = True
    return Touched(nodes=frozenset(nodes), values=frozenset(values), members=frozenset(members), cluster=cluster)


def _read_by(task: Task, snap: Snapshot) -> Iterator[tuple[ValueKey, Value | None, Task | None]]:
    """Yield what a task may read now: by which key, what that is (None: it is not there), and whose own value it is."""
    if not needs_values(task):
        return
    container = task.spec.container_spec
    for reference in container.secrets:
        secret = snap.secrets.get(reference.secret_id)
        if secret is None or not secret.driven:
            yield (Kind.SECRET, reference.secret_id), secret, None
        elif task.status.state.rank < _STARTING:  # Later it has its files, and the driver is not asked in vain.
            yield (Kind.SECRET, own_value(reference.secret_id, task.id)), secret, task
    for claim in container.configs:
        yield (Kind.CONFIG, claim.config_id), snap.configs.get(claim.config_id), None
    if (auth := _credentials(task, snap)) is not None:
        yield (Kind.REGISTRY_AUTH, auth.service_id), auth, None


def _credentials(task: Task, snap: Snapshot) -> RegistryAuth | None:
    """Return what the image of a task is yet to be pulled with: the newest that its service was given."""
    if task.status.state.rank >= _READY:
        return None
    service = snap.services.get(task.service_id)
    if service is None or not service.registry_auth:
        return None
    auth = snap.get(Kind.REGISTRY_AUTH, service.registry_auth)
    return auth if isinstance(auth, RegistryAuth) else None


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

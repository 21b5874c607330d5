"""Which tasks, secrets, configs and credentials a node should hold, and what changed since it was last told.

Pure: snapshots in, differences out.  Called by `vault.dispatcher.stream` and, for who is concerned at all, by
`vault.dispatcher.service`.  This is the one place that decides which node may see a secret: it goes to nodes with a
live task that refers to it, and leaves with the last such task.  Credentials for registries go to nodes that have yet
to pull the image of a service's task.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from vault.model.ids import Kind
from vault.model.registry_auth import RegistryAuth
from vault.model.secret import Config, Secret
from vault.model.task import State, Task
from vault.rpc.messages import own_value
from vault.store.changes import kind_of
from vault.store.snapshot import Snapshot

ValueKey = tuple[Kind, str]  # And id: that of the object, or of one task's own value; of credentials, the service's.


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

    obj: Secret | Config | RegistryAuth
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
    tasks = {task.id: task for task in snap.tasks_on(node_id) if task.status.state >= State.ASSIGNED}
    values, absent = _values(tasks.values(), snap)
    after = NodeView(
        tasks={task_id: _told(task) for task_id, task in tasks.items()},
        values={key: value.obj.version.index for key, value in values.items()},
        absent=frozenset(absent),
    )
    return after, Difference(
        put_tasks=tuple(tasks[i] for i, told in after.tasks.items() if view.tasks.get(i) != told),
        remove_tasks=tuple(i for i in view.tasks if i not in tasks),
        put_values=tuple(value for key, value in values.items() if key not in view.values or _renewed(view, value)),
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


def _renewed(view: NodeView, value: Wanted) -> bool:
    """Whether a value is another than the node was told: that of an object never changes, that of a service may."""
    return isinstance(value.obj, RegistryAuth) and view.values[value.key] != value.obj.version.index


def needs_values(task: Task) -> bool:
    """Whether a task may read its secrets: it runs, or is still meant to."""
    if task.status.state > State.RUNNING:
        return False
    return task.wanted or task.status.state >= State.STARTING


def values_of(task: Task, snap: Snapshot) -> list[ValueKey]:
    """Return the secrets and configs that a task may read now."""
    return [wanted.key if isinstance(wanted, Wanted) else wanted for wanted in _wanted(task, snap)]


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
        elif kind is Kind.NODE:
            members.add(object_id)
        elif kind is Kind.CLUSTER:
            cluster = True
    return Touched(nodes=frozenset(nodes), values=frozenset(values), members=frozenset(members), cluster=cluster)


def _values(tasks: Iterable[Task], snap: Snapshot) -> tuple[dict[ValueKey, Wanted], set[ValueKey]]:
    """Return what tasks may read: what there is, and what there is not."""
    found: dict[ValueKey, Wanted] = {}
    absent: set[ValueKey] = set()
    for task in tasks:
        for wanted in _wanted(task, snap):
            if isinstance(wanted, Wanted):
                found[wanted.key] = wanted
            else:
                absent.add(wanted)
    return found, absent


def _wanted(task: Task, snap: Snapshot) -> Iterator[Wanted | ValueKey]:
    """Yield what a task may read now, and of what is not there, the key."""
    if not needs_values(task):
        return
    container = task.spec.container_spec
    for secret_id in (reference.secret_id for reference in container.secrets):
        if (secret := snap.secrets.get(secret_id)) is None:
            yield Kind.SECRET, secret_id
        elif not secret.driven:
            yield Wanted(obj=secret)
        elif task.status.state < State.STARTING:  # Later it has its files, and the driver is not asked in vain.
            yield Wanted(obj=secret, task=task)
    for config_id in (reference.config_id for reference in container.configs):
        config = snap.configs.get(config_id)
        yield (Kind.CONFIG, config_id) if config is None else Wanted(obj=config)
    if (auth := _credentials(task, snap)) is not None:
        yield Wanted(obj=auth)


def _credentials(task: Task, snap: Snapshot) -> RegistryAuth | None:
    """Return what the image of a task is yet to be pulled with: the newest that its service was given."""
    if task.status.state >= State.READY:
        return None
    service = snap.services.get(task.service_id)
    auth = snap.get(Kind.REGISTRY_AUTH, service.registry_auth) if service is not None else None
    return auth if isinstance(auth, RegistryAuth) else None


def _told(task: Task) -> int:
    """What of a task concerns its node, as one number: the spec is frozen, so only the desired state moves."""
    return task.desired_state.rank


def _concern(task: Task | None, snap: Snapshot) -> tuple[str, int, bool, bool, bool] | None:
    """Return all of a task that `difference` looks at; None when its node is to know nothing of it."""
    if task is None or not task.node_id or task.status.state < State.ASSIGNED:
        return None
    return task.node_id, _told(task), needs_values(task), _has_own(task, snap), _credentials(task, snap) is not None


def _has_own(task: Task, snap: Snapshot) -> bool:
    """Whether a task has yet to start, with a value that a driver gave for it alone."""
    if task.status.state >= State.STARTING:
        return False
    secrets = (snap.secrets.get(reference.secret_id) for reference in task.spec.container_spec.secrets)
    return any(secret is not None and secret.driven for secret in secrets)

"""Which tasks, secrets and configs a node should hold, and what changed since it was last told.

Pure: snapshots in, differences out.  Called by `vault.dispatcher.session`; this is the one place that decides which
node may see a secret: it goes to nodes with a live task that refers to it, and leaves with the last such task.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from vault.model.ids import Kind
from vault.model.secret import Config, Secret
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

ValueKey = tuple[Kind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What a node has been told."""

    tasks: dict[str, int] = field(default_factory=dict)  # Task id -> version sent.
    values: dict[ValueKey, int] = field(default_factory=dict)  # Secret or config -> version sent.


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a node has to be told."""

    put_tasks: tuple[Task, ...] = ()
    remove_tasks: tuple[str, ...] = ()
    put_values: tuple[Secret | Config, ...] = ()
    remove_values: tuple[ValueKey, ...] = ()


def difference(view: NodeView, snap: Snapshot, node_id: str) -> tuple[NodeView, Difference]:
    """Return what `node_id` should hold now, and what it must be told for that.

    A task is sent from ASSIGNED on, and again when what concerns its node changed; a status the node reported itself
    is not sent back.  A removed secret is withdrawn even while a task still refers to it.
    """
    tasks = {task.id: task for task in snap.tasks_on(node_id) if task.status.state >= State.ASSIGNED}
    values: dict[ValueKey, Secret | Config] = {}
    for task in tasks.values():
        if needs_values(task):
            values.update(_values(task, snap))
    after = NodeView(
        tasks={task_id: _told(task) for task_id, task in tasks.items()},
        values={key: value.version.index for key, value in values.items()},
    )
    return after, Difference(
        put_tasks=tuple(tasks[i] for i, told in after.tasks.items() if view.tasks.get(i) != told),
        remove_tasks=tuple(i for i in view.tasks if i not in tasks),
        # A value never changes under its id, so a new version (of labels, say) needs no new copy.
        put_values=tuple(value for key, value in values.items() if key not in view.values),
        remove_values=tuple(key for key in view.values if key not in values),
    )


def needs_values(task: Task) -> bool:
    """Whether a task may read its secrets: it runs, or is still meant to."""
    if task.status.state > State.RUNNING:
        return False
    return task.desired_state <= State.RUNNING or task.status.state >= State.STARTING


def concerns(node_id: str, before: Snapshot, after: Snapshot) -> bool:
    """Whether anything between two snapshots could change what the node should hold."""
    touched = after.changed_since(before)
    if touched is None:
        return True
    for kind, object_id in touched:
        if kind in (Kind.SECRET, Kind.CONFIG):
            return True
        if kind is Kind.TASK:
            for snap in (before, after):
                task = snap.tasks.get(object_id)
                if task is not None and task.node_id == node_id:
                    return True
    return False


def _values(task: Task, snap: Snapshot) -> Iterable[tuple[ValueKey, Secret | Config]]:
    container = task.spec.container_spec
    for secret_ref in container.secrets:
        if (secret := snap.secrets.get(secret_ref.secret_id)) is not None:
            yield (Kind.SECRET, secret.id), secret
    for config_ref in container.configs:
        if (config := snap.configs.get(config_ref.config_id)) is not None:
            yield (Kind.CONFIG, config.id), config


def _told(task: Task) -> int:
    """What of a task concerns its node, as one number: the spec is frozen, so only the desired state moves."""
    return list(State).index(task.desired_state)

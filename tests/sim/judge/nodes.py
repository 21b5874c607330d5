"""What is reserved on a node is there, and each of its ports is opened once: counted from its tasks."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World


def check_nodes(world: World, after: Snapshot, changes: Written) -> None:
    """Check the nodes that were given tasks."""
    given: defaultdict[str, list[Task]] = defaultdict(list)
    for (kind, _), old, new in changes:
        if kind is not Kind.TASK or not isinstance(new, Task) or new.state is not State.ASSIGNED:
            continue
        if not isinstance(old, Task) or old.state is not State.ASSIGNED:
            given[new.node_id].append(new)
    for node_id, placed in given.items():
        # As it was decided about: one that has less meanwhile gives up what is too much in the next decision.
        node = world.judge.restarts.basis.nodes.get(node_id)
        if node is None or node_id not in after.nodes:
            continue
        tasks = oracle.holding(after.tasks_on(node_id))
        asked = {kind for task in placed for kind, number in oracle.needs(task).items() if number}
        if less := {kind: -number for kind, number in oracle.left(node, tasks).items() if number < 0 and kind in asked}:
            raise world.story.fail(f"{node_id} is overcommitted: {less} too much", node_id)
        check_given(world, node, tasks)
        twice = [port for port, times in Counter(p for task in tasks for p in oracle.opens(task)).items() if times > 1]
        if twice:
            raise world.story.fail(f"{node_id} opens port {twice[0][1]} twice", node_id)


class Carried:
    """What runs on nodes that changed, or where something began to run: the leader has looked at it when it rests."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._touched: set[str] = set()
        self._respecified: set[str] = set()  # Services.
        self._rejected: set[str] = set()  # Tasks that the leader has given up, which run until they are asked to stop.

    def committed(self, who: str, changes: Written) -> None:
        """Follow a commit."""
        for (_, object_id), old, new in changes:
            if isinstance(new, Task):
                if new.state is State.RUNNING and (not isinstance(old, Task) or old.state is not State.RUNNING):
                    self._touched.add(new.node_id)
                elif who == "leader" and new.state is State.REJECTED and oracle.is_wanted(new):
                    self._rejected.add(object_id)
            elif isinstance(new, Service) and isinstance(old, Service) and old.spec != new.spec:
                self._respecified.add(object_id)
            elif isinstance(new, Node) and (not isinstance(old, Node) or is_another(old, new)):
                self._touched.add(object_id)

    def at_rest(self, snap: Snapshot) -> None:
        """The leader has nothing to do: what runs fits its node, and all of it together does."""
        self._touched.update(task.node_id for service_id in self._respecified for task in snap.tasks_of(service_id))
        for node_id in sorted(self._touched):
            node = snap.nodes.get(node_id)
            if node is None or node.spec.availability != "active" or node.status.state == "down":
                continue
            there = oracle.running(snap.tasks_on(node_id))
            for task in there:
                service = snap.services.get(task.service_id)
                if oracle.is_wanted(task) and service is not None and not oracle.may_stay(service, task, node):
                    raise self._world.story.fail(
                        f"{slot_of(task)} stays on {node_id}, which does not satisfy it", task.id
                    )
            if min(oracle.left(node, filter(oracle.is_wanted, there)).values()) < 0:
                raise self._world.story.fail(f"{node_id} is left with more than it has", node_id)
        for task_id in sorted(self._rejected):
            rejected = snap.tasks.get(task_id)
            if rejected is not None and oracle.is_wanted(rejected):
                raise self._world.story.fail(f"{slot_of(rejected)} is rejected, and nobody asks it to stop", task_id)
        self._touched.clear()
        self._respecified.clear()
        self._rejected.clear()


def is_another(old: Node, new: Node) -> bool:
    """Whether a node has other labels or another size, or takes tasks again."""
    return old.spec != new.spec or old.description != new.description


def check_given(world: World, node: Node, tasks: list[Task]) -> None:
    """Each task was given what it reserves of generic resources, and nothing with a name was given twice."""
    names: Counter[str] = Counter()
    for task in tasks:
        given = Counter[str]()
        for one in task.generic_resources:
            if one.named_resource_spec is not None:
                names[one.named_resource_spec.value] += 1
                given[one.kind] += 1
            elif one.discrete_resource_spec is not None:
                given[one.kind] += one.discrete_resource_spec.value
        asked = {kind: number for kind, number in oracle.needs(task).items() if kind not in ("cpu", "memory")}
        if given != asked:
            raise world.story.fail(f"{slot_of(task)} was given {dict(given)}, not {asked}", task.id, node.id)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise world.story.fail(f"{twice[0]} of {node.id} was given twice", node.id)

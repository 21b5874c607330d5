"""What is reserved on a node is there, and each of its ports is opened once: counted from its tasks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.sim.judge import oracle
from vault.model.ids import Kind
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World


def check_nodes(world: World, after: Snapshot, changes: Written) -> None:
    """Check the nodes that were given tasks."""
    given = {
        new.node_id
        for (kind, _), old, new in changes
        if kind is Kind.TASK
        and isinstance(new, Task)
        and new.state is State.ASSIGNED
        and not (isinstance(old, Task) and old.state is State.ASSIGNED)
    }
    for node_id in sorted(given):
        node = after.nodes.get(node_id)
        if node is None:
            continue
        tasks = oracle.holding(after.tasks_on(node_id))
        cpus, memory = (sum(column) for column in zip(*map(oracle.needs, tasks), strict=True))
        has = node.description.resources
        if cpus > has.nano_cpus or memory > has.memory_bytes:
            raise world.story.fail(f"{node_id} is overcommitted: {cpus / 1e9:g} CPUs, {memory >> 20} MiB", node_id)
        twice = [port for port, times in Counter(p for task in tasks for p in oracle.opens(task)).items() if times > 1]
        if twice:
            raise world.story.fail(f"{node_id} opens port {twice[0][1]} twice", node_id)

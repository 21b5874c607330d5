"""Worlds for property tests: nodes, tasks that were placed before the nodes changed, and tasks that wait."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st
from msgspec.structs import replace

from tests.scheduler.world import node, pending, reserve, settle, snapshot, spread
from vault.model.generic import discrete, named
from vault.model.node import Node, NodeSpec, NodeStatus
from vault.model.service import PortConfig
from vault.model.task import Task
from vault.store.snapshot import Snapshot

LABELS = st.dictionaries(st.sampled_from(["zone", "rack"]), st.sampled_from(["", "a", "b"]), max_size=2)
PREFERENCES = [(), ("node.labels.zone",), ("node.labels.zone", "node.labels.rack"), ("node.labels.rack",)]
GENERIC = [(), (discrete("gpu", 2),), (named("gpu", "x"), named("gpu", "y"), named("gpu", "z"))]


@st.composite
def nodes(draw: st.DrawFn, node_id: str) -> Node:
    """Return a node with some labels, some room, and perhaps a reason to take nothing."""
    labels = draw(LABELS)
    made = node(node_id, cpus=draw(st.integers(0, 4)), generic=draw(st.sampled_from(GENERIC)), **labels)
    if draw(st.integers(0, 5)) == 0:
        made = replace(made, status=NodeStatus(state="down"))
    elif draw(st.integers(0, 5)) == 0:
        made = replace(made, spec=NodeSpec(labels=labels, availability=draw(st.sampled_from(["pause", "drain"]))))
    return made


@st.composite
def templates(draw: st.DrawFn, service_id: str) -> Task:
    """Return a task of a service that waits; those of one service are alike."""
    ports = (PortConfig(published_port=80, publish_mode="host"),) if draw(st.integers(0, 4)) == 0 else ()
    made = pending(
        "",
        service_id,
        resources=reserve(cpus=draw(st.integers(0, 2)), gpu=draw(st.integers(0, 2))),
        placement=spread(
            *draw(st.sampled_from(PREFERENCES)),
            constraints=draw(st.sampled_from([(), ("node.labels.zone == a",), ("node.labels.rack != b",)])),
            most=draw(st.sampled_from([0, 0, 1, 3])),
        ),
    )
    return replace(made, host_ports=ports)


@dataclass(frozen=True, slots=True)
class World:
    """What the scheduler finds."""

    nodes: Sequence[Node]
    tasks: Sequence[Task]

    def snapshot(self) -> Snapshot:
        """Return all of it."""
        return snapshot(*self.nodes, *self.tasks)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Return nodes, tasks that were placed by a scheduler before nodes changed, and tasks that wait."""
    ids = [f"n{number}" for number in range(draw(st.integers(0, 6)))]
    kinds = [draw(templates(service_id)) for service_id in ("s1", "s2", "s3")]
    before = [draw(nodes(node_id)) for node_id in ids]
    first = [replace(draw(st.sampled_from(kinds)), id=f"a{number:02}") for number in range(draw(st.integers(0, 8)))]
    there = settle(snapshot(*before, *first)).tasks.values()
    after = [draw(nodes(node_id)) if draw(st.booleans()) else known for node_id, known in zip(ids, before, strict=True)]
    second = [replace(draw(st.sampled_from(kinds)), id=f"b{number:02}") for number in range(draw(st.integers(0, 12)))]
    second += [replace(draw(templates("all")), id=f"c{node_id}", slot=0, node_id=node_id) for node_id in ids[:3]]
    moved = [replace(task, version=replace(task.version, index=0)) for task in there]
    return World(after, [*moved, *second])

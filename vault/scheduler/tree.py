"""Nodes by the labels that tasks are to be spread over, level by level.  Pure.

Kept by `fleet` while no label changes; `spread` fills it.  Source: SwarmKit's decision tree; a node without a label is
in the group of those whose label is "".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vault.model.node import Node
from vault.scheduler.constraint import ENGINE_LABELS, NODE_LABELS


@dataclass(slots=True)
class Tree:
    """A branch: its own branches by the value of the next label, and all of its nodes."""

    nodes: list[str] = field(default_factory=list)
    below: dict[str, "Tree"] = field(default_factory=dict)


def tree_of(nodes: Iterable[Node], preferences: Sequence[str]) -> Tree:
    """Return nodes by labels; a preference that names no label is no level."""
    root = Tree()
    levels = [preference for preference in preferences if label_of(preference) is not None]
    for node in sorted(nodes, key=lambda node: node.id):
        branch = root
        branch.nodes.append(node.id)
        for level in levels:
            branch = branch.below.setdefault(value_on(node, level), Tree())
            branch.nodes.append(node.id)
    return root


def label_of(preference: str) -> tuple[str, str] | None:
    """Return which labels a preference speaks of, and the name of the label; None when it is none."""
    for prefix in (NODE_LABELS, ENGINE_LABELS):
        if len(preference) > len(prefix) and preference[: len(prefix)].lower() == prefix:
            return prefix, preference[len(prefix) :]
    return None


def value_on(node: Node, preference: str) -> str:
    """Return a node's value of the label that a preference names; "" when it has no such label."""
    label = label_of(preference)
    assert label is not None
    prefix, name = label
    labels = node.spec.labels if prefix == NODE_LABELS else node.description.engine.labels
    return labels.get(name, "")

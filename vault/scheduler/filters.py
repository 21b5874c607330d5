"""Which nodes may take a task, and why others may not.  Pure.

SwarmKit's order and texts: a node is counted only against the first filter it fails.  Most filters depend only on what
a node is: their outcome, `fixed_place`, is kept by `fleet` until the node changes.
"""

from collections.abc import Callable, Sequence
from typing import Final

from vault.model.node import Node
from vault.scheduler.constraint import node_matches, parse_stored
from vault.scheduler.load import Load
from vault.scheduler.needs import Fixed, Needs

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Places in the pipeline.
READY, RESOURCES, PLUGINS, CONSTRAINTS, PLATFORM, ENCRYPTION, PORTS, MAX_REPLICAS, PASSES = range(9)
TEXTS: Final[Sequence[Callable[[str], str]]] = (
    lambda nodes: f"{nodes} not available for new tasks",
    lambda nodes: f"insufficient resources on {nodes}",
    lambda nodes: f"missing plugin on {nodes}",
    lambda nodes: f"scheduling constraints not satisfied on {nodes}",
    lambda nodes: f"unsupported platform on {nodes}",
    lambda nodes: f"no WireGuard for encrypted networks on {nodes}",
    lambda nodes: f"host-mode port already in use on {nodes}",
    lambda _: "max replicas per node limit exceed",
)


def fixed_place(fixed: Fixed, node: Node | None) -> int:
    """Return the first filter that a node fails by what it is, whatever it carries; PASSES if there is none."""
    if node is None or not node.ready:
        return READY
    if fixed.plugins and not has_plugins(fixed, node):
        return PLUGINS
    if fixed.constraints and not node_matches(parse_stored(fixed.constraints), node):
        return CONSTRAINTS
    if fixed.platforms and not fits_platform(fixed, node):
        return PLATFORM
    if fixed.encrypts and node.description.encryption is None:
        return ENCRYPTION
    return PASSES


def has_plugins(fixed: Fixed, node: Node) -> bool:
    """Whether the node has every driver; one that says nothing of a type of driver is believed to have any."""
    plugins = node.description.engine.plugins
    types, has = {one.type for one in plugins}, {(one.type, one.name) for one in plugins}
    return all(wanted in has or wanted[0] not in types for wanted in fixed.plugins)


def fits_platform(fixed: Fixed, node: Node) -> bool:
    """Whether the image exists for the node's system and architecture; what is not given fits all."""
    has = node.description.platform
    return any(_same(os, has.os) and _same(architecture, has.architecture) for os, architecture in fixed.platforms)


def first_failed(needs: Needs, load: Load, *, fixed: int, same: int) -> int:
    """Return the first filter that a node fails; PASSES if it may take another task.

    fixed: `fixed_place` of the node.  same: how many tasks of the service are wanted there already.
    """
    if fixed > RESOURCES and not load.has_room(needs):
        return RESOURCES
    if fixed < PORTS:
        return fixed
    if needs.ports and not needs.ports.isdisjoint(load.ports):
        return PORTS
    if needs.max_replicas and same >= needs.max_replicas:
        return MAX_REPLICAS
    return PASSES


def explain(counts: Sequence[int]) -> str:
    """Return `no suitable node (…)`, the most frequent reason first.  counts: nodes by the filter they fail."""
    places = sorted((place for place in range(PASSES) if counts[place]), key=lambda place: (-counts[place], place))
    reasons = "; ".join(TEXTS[place](_nodes(counts[place])) for place in places)
    return f"no suitable node ({reasons})" if reasons else "no suitable node"


def _same(wanted: str, has: str) -> bool:
    wanted, has = wanted.lower(), has.lower()
    return not wanted or ARCHITECTURES.get(wanted, wanted) == ARCHITECTURES.get(has, has)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"

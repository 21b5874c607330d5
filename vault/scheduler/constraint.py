"""Placement constraints: whether a node meets them, as SwarmKit judges it.  Pure.

Used by the scheduler and by the orchestrator (which nodes a global service is for).
`vault.model.constraint` reads them.  Source: swarmkit, manager/constraint/constraint.go.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from vault.model.constraint import Constraint, parse
from vault.model.errors import InvalidArgument
from vault.model.node import Node

NODE_LABELS, ENGINE_LABELS = "node.labels.", "engine.labels."


@lru_cache(maxsize=4096)
def parse_stored(expressions: tuple[str, ...]) -> tuple[Constraint, ...]:
    """Return the constraints of a stored spec, which the API has checked; one that is malformed fits no node."""
    try:
        return parse(expressions)
    except InvalidArgument:
        return (Constraint(key="", equal=True, value=""),)


def node_matches(constraints: Iterable[Constraint], node: Node) -> bool:
    """Return whether a node meets every constraint."""
    return all(_meets(constraint, node) for constraint in constraints)


def _meets(constraint: Constraint, node: Node) -> bool:
    key = constraint.key.lower()
    description = node.description
    match key:
        case "node.id":
            return constraint.accepts(node.id)
        case "node.hostname":
            return constraint.accepts(description.hostname)
        case "node.ip":
            return _meets_address(constraint, node.status.addr)
        case "node.role":
            return constraint.accepts(node.spec.role)
        case "node.platform.os":
            return constraint.accepts(description.platform.os)
        case "node.platform.arch":
            return constraint.accepts(description.platform.architecture)
    # The name of a label keeps its case; a label that is not there counts as "".
    if key.startswith(NODE_LABELS) and len(key) > len(NODE_LABELS):
        return constraint.accepts(node.spec.labels.get(constraint.key[len(NODE_LABELS) :], ""))
    if key.startswith(ENGINE_LABELS) and len(key) > len(ENGINE_LABELS):
        return constraint.accepts(description.engine.labels.get(constraint.key[len(ENGINE_LABELS) :], ""))
    return False


def _meets_address(constraint: Constraint, addr: str) -> bool:
    """Compare with an address or a CIDR range; a malformed one fits no node."""
    try:
        wanted = ipaddress.ip_network(constraint.value, strict=False)
    except ValueError:
        return False
    try:
        within = ipaddress.ip_address(addr) in wanted
    except ValueError:
        within = False
    return within == constraint.equal

"""Placement constraints that no node could ever meet.  Pure.

Called by `vault.store.rules_spec`.  SwarmKit takes them, and the tasks wait for ever; the sentences are ours.
"""

import ipaddress
from collections.abc import Sequence
from itertools import combinations

from vault.model.constraint import Constraint, parse
from vault.model.errors import InvalidArgument

KEYS = ("node.id", "node.hostname", "node.ip", "node.role", "node.platform.os", "node.platform.arch")
LABELS = ("node.labels.", "engine.labels.")
ROLES = ("manager", "worker")


def check_constraints(expressions: Sequence[str]) -> None:
    """Raise `InvalidArgument` for what is no constraint, can never be met, or never together with another."""
    constraints = dict(zip(expressions, parse(expressions), strict=True))
    for expression, constraint in constraints.items():
        reason = _never(constraint)
        if reason:
            raise InvalidArgument(f"constraint '{expression}' can never be met: {reason}")
    for (first, one), (second, other) in combinations(constraints.items(), 2):
        if _key_of(one) == _key_of(other) and _exclude(one, other):
            raise InvalidArgument(f"constraints '{first}' and '{second}' can never both be met: leave one of them out")


def _never(constraint: Constraint) -> str:
    """Return why no node meets it; "" when one might."""
    key = _key_of(constraint)
    if key not in KEYS and key not in LABELS and not key.startswith(LABELS):
        return f"its key must be {', '.join(KEYS)}, node.labels.NAME or engine.labels.NAME"
    if key in LABELS:
        return f"name a label, as {key}NAME"
    if key == "node.role" and not any(map(constraint.accepts, ROLES)):
        return "a role is manager or worker"
    if key == "node.ip" and not _is_range(constraint.value):
        return "node.ip is an address, or a range such as 10.0.0.0/8"
    return ""


def _exclude(one: Constraint, other: Constraint) -> bool:
    """Whether no value meets both of two constraints on the same thing."""
    same = one.value.casefold() == other.value.casefold()
    if one.equal != other.equal:
        return same
    match _key_of(one):
        case "node.ip":  # A range may lie in another.
            return False
        case "node.role":
            return not any(one.accepts(role) and other.accepts(role) for role in ROLES)
        case _:
            return one.equal and not same


def _key_of(constraint: Constraint) -> str:
    """Return what a constraint is on; only names of labels keep their case."""
    lowered = constraint.key.lower()
    for prefix in LABELS:
        if lowered.startswith(prefix):
            return prefix + constraint.key[len(prefix) :]
    return lowered


def _is_range(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True

"""Placement constraints as texts: `key == value` or `key != value`, as SwarmKit reads them.  Pure.

Called by `vault.store.rules_constraints` (is a constraint well formed, can it be met at all) and
`vault.scheduler.constraint` (does a node meet it).
Source: swarmkit, manager/constraint/constraint.go.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from vault.model.errors import InvalidArgument

OPERATORS = ("==", "!=")
_KEY = re.compile(r"[a-z_][a-z0-9\-_.]+", re.IGNORECASE | re.ASCII)
_VALUE = re.compile(r"[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """One condition on a node."""

    key: str
    equal: bool  # Whether the node's value must be, or must not be, `value`.
    value: str

    def accepts(self, found: str) -> bool:
        """Whether a node whose value is `found` meets it; case does not count."""
        return (found.casefold() == self.value.casefold()) == self.equal


def parse(expressions: Iterable[str]) -> tuple[Constraint, ...]:
    """Return the constraints that `expressions` state.  Raises `InvalidArgument` with SwarmKit's text."""
    return tuple(_parse_one(expression) for expression in expressions)


def _parse_one(expression: str) -> Constraint:
    for operator in OPERATORS:
        key, found, value = (part.strip() for part in expression.partition(operator))
        if not found:
            continue
        if _KEY.fullmatch(key) is None:
            raise InvalidArgument(f"key '{key}' is invalid")
        if _VALUE.fullmatch(value) is None:
            raise InvalidArgument(f"value '{value}' is invalid")
        return Constraint(key=key, equal=operator == "==", value=value)
    raise InvalidArgument(f"constraint expected one operator from {', '.join(OPERATORS)}")

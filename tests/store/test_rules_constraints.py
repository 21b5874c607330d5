"""Constraints that no node could ever meet are refused, and those that one might are taken."""

import pytest

from vault.model.errors import InvalidArgument
from vault.store.rules_constraints import check_constraints

KEYS = (
    "its key must be node.id, node.hostname, node.ip, node.role, node.platform.os, node.platform.arch, "
    "node.labels.NAME or engine.labels.NAME"
)
ROLES = "a role is manager or worker"
ADDRESS = "node.ip is an address, or a range such as 10.0.0.0/8"


@pytest.mark.parametrize(
    "expressions",
    [
        (),
        ("node.role==manager", "node.role == MANAGER"),
        ("node.role!=manager", "node.role!=king"),
        ("NODE.ROLE==worker",),
        ("node.labels.a==b", "node.labels.A==c", "engine.labels.a==d", "Node.Labels.a==B"),
        ("node.labels.a!=b", "node.labels.a!=c", "node.labels.a==d"),
        ("node.ip==10.0.0.0/8", "node.ip==10.1.0.0/16", "node.ip!=10.1.2.3"),
        ("node.hostname!=a", "node.hostname!=b", "node.id==x", "node.platform.os==linux", "node.platform.arch==arm"),
    ],
)
def test_what_some_node_might_meet_is_taken(expressions: tuple[str, ...]) -> None:
    check_constraints(expressions)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("node.foo==x", KEYS),
        ("node.foo!=x", KEYS),
        ("node.label.zone==a", KEYS),
        ("nodeid==x", KEYS),
        ("node.labels.==x", "name a label, as node.labels.NAME"),
        ("engine.labels.!=x", "name a label, as engine.labels.NAME"),
        ("node.role == king", ROLES),
        ("node.ip==manager1", ADDRESS),
        ("node.ip!=10.0.0.256", ADDRESS),
    ],
)
def test_what_no_node_can_meet_is_refused(expression: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_constraints(["node.role==worker", expression])
    assert raised.value.args[0].endswith(f"constraint '{expression}' can never be met: {reason}")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("node.role==manager", "node.role==worker"),
        ("node.role==manager", "node.role!=Manager"),
        ("node.role!=manager", "node.role!=worker"),
        ("node.labels.disk == ssd", "node.labels.disk == hdd"),
        ("node.labels.disk == ssd", "NODE.LABELS.disk != SSD"),
        ("node.hostname==a", "node.hostname==b"),
        ("node.ip==10.0.0.0/8", "node.ip!=10.0.0.0/8"),
    ],
)
def test_two_that_exclude_each_other_are_both_named(first: str, second: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_constraints([first, "node.platform.os==linux", second])
    assert raised.value.args[0].endswith(
        f"constraints '{first}' and '{second}' can never both be met: leave one of them out"
    )

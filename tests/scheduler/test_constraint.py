"""Placement constraints, as SwarmKit reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.model.constraint import parse
from vault.model.errors import InvalidArgument
from vault.model.node import Engine, Node, NodeDescription, NodeSpec, NodeStatus, Platform
from vault.scheduler.constraint import node_matches

NODE = Node(
    id="7fc8lzkfa6wkzj4fpikb07cfp",
    spec=NodeSpec(role="manager", labels={"zone": "Paris East", "Disk": "ssd"}),
    description=NodeDescription(
        hostname="db-1", platform=Platform(architecture="x86_64", os="linux"), engine=Engine(labels={"gpu": "none"})
    ),
    status=NodeStatus(addr="10.1.2.3"),
)


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("node.id == 7fc8lzkfa6wkzj4fpikb07cfp", True),
        ("node.id==7FC8LZKFA6WKZJ4FPIKB07CFP", True),
        ("node.hostname != db-1", False),
        ("node.role == manager", True),
        ("NODE.ROLE == Manager", True),
        ("node.platform.os == linux", True),
        ("node.platform.arch == x86_64", True),
        ("node.labels.zone == paris east", True),
        ("node.labels.zone == paris", False),
        ("node.labels.zone != paris", True),
        ("node.labels.disk == ssd", False),  # The key of a label keeps its case.
        ("node.labels.Disk == SSD", True),
        ("node.labels.missing != x", True),  # No label counts as "".
        ("node.labels.missing == x", False),
        ("engine.labels.gpu == none", True),
        ("engine.labels.Gpu == none", False),
        ("node.ip == 10.1.2.3", True),
        ("node.ip != 10.1.2.3", False),
        ("node.ip == 10.1.0.0/16", True),
        ("node.ip == 10.1.2.9/16", True),
        ("node.ip != 10.1.0.0/16", False),
        ("node.ip == 10.2.0.0/16", False),
        ("node.ip != 10.2.0.0/16", True),
        ("node.ip == nowhere", False),
        ("node.ip != nowhere", False),  # What is malformed fits no node.
        ("node.labels. == x", False),
        ("node.colour != red", False),  # Nor does an unknown key.
    ],
)
def test_a_node_meets_a_constraint_or_not(expression: str, met: bool) -> None:
    assert node_matches(parse([expression]), NODE) == met


def test_every_constraint_must_be_met() -> None:
    assert node_matches(parse(["node.role == manager", "node.hostname == db-1"]), NODE)
    assert not node_matches(parse(["node.role == manager", "node.hostname == db-2"]), NODE)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("node.role", "constraint expected one operator from ==, !="),
        ("node.role=manager", "constraint expected one operator from ==, !="),
        ("node.role > manager", "constraint expected one operator from ==, !="),
        ("=== x", "key '' is invalid"),
        ("n == x", "key 'n' is invalid"),
        ("no de == x", "key 'no de' is invalid"),
        ("node.role ==", "value '' is invalid"),
        ("node.role == a,b", "value 'a,b' is invalid"),
        ("node.role == a == b", "value 'a == b' is invalid"),
    ],
)
def test_a_malformed_constraint_is_refused_in_swarmkits_words(expression: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse([expression])
    assert error.value.description == text


@given(st.text())
def test_any_text_is_read_or_refused(expression: str) -> None:
    try:
        (constraint,) = parse([expression])
    except InvalidArgument:
        return
    assert constraint.value == constraint.value.strip()
    assert node_matches([constraint], NODE) in (True, False)

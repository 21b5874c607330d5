"""A difference names the field, says old and new, and holds no value of a secret."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.stack.builders import service, stack
from tests.stack.cluster import Cluster
from tests.stack.test_fuzz import NAMES, SECTIONS, SERVICES
from vault.model.errors import VaultError
from vault.model.service import ServiceSpec
from vault.stack.convert import convert
from vault.stack.differences import differences

FILES = {"/stack/s": b"canary"}


def spec(keys: str, rest: str = "") -> ServiceSpec:
    return convert(stack(service(keys, rest=rest), contents=FILES), "demo").services[0]


def told(old: str, new: str, rest: str = "") -> list[tuple[str, str | None, str | None]]:
    return [(one.field, one.old, one.new) for one in differences(spec(old, rest), spec(new, rest), {})]


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("deploy: {replicas: 2}", "deploy: {replicas: 3}", ("Mode.Replicated.Replicas", "2", "3")),
        ("environment: {A: b}", "environment: {A: c}", ("Env.A", "b", "c")),
        ("environment: {A: b}", "", ("Env.A", "b", None)),
        ("", "labels: {x: y}", ("Labels.x", None, "y")),
        ("ports: ['80:80']", "ports: ['80:80', '53:53/udp']", ("EndpointSpec.Ports.53:53/udp", None, "ingress")),
        ("volumes: [/a]", "volumes: [{type: volume, target: /a, read_only: true}]", ("Mounts./a", None, None)),
        ("command: a b", "command: a c", ("Args", '["a", "b"]', '["a", "c"]')),
        ("user: a", "user: b", ("User", "a", "b")),
        (
            "deploy: {resources: {limits: {memory: 50M}}}",
            "deploy: {resources: {limits: {memory: 60M}}}",
            ("Resources.Limits.MemoryBytes", "52428800", "62914560"),
        ),
    ],
)
def test_a_change_is_said_field_by_field(old: str, new: str, change: tuple[str, str | None, str | None]) -> None:
    ((field, before, after),) = told(old, new)
    assert field == change[0]
    assert (before, after) == change[1:] or change[1:] == (None, None)


def test_a_secret_is_said_by_its_name_owner_and_mode() -> None:
    rest = "secrets: {s: {file: s}, t: {file: s}}"
    old, new = "secrets: [{source: s, target: pw}]", "secrets: [{source: t, target: pw, uid: '5', mode: 0400}]"
    assert told(old, new, rest) == [("Secrets.pw", "demo_s (0:0, mode 0444)", "demo_t (5:0, mode 0400)")]


def test_a_network_is_said_by_its_name() -> None:
    cluster = Cluster()
    text = "services: {a: {image: b, networks: [x]}}\nnetworks: {x: , y: }"
    cluster.deploy(text)
    proposal = cluster.propose(text.replace("[x]", "[x, y]"))
    assert [(one.field, one.old) for one in proposal.done[-1].fields] == [("Networks.demo_y", None)]


def test_a_list_in_another_order_is_a_difference() -> None:
    assert told("volumes: [/a, /b]", "volumes: [/b, /a]") == [("(the order of a list)", None, None)]


def test_long_values_are_cut_after_they_were_compared() -> None:
    ((_, old, new),) = told(f"environment: {{A: {'x' * 500}1}}", f"environment: {{A: {'x' * 500}2}}")
    assert old == new == "x" * 199 + "…"


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(NAMES, SERVICES, min_size=1, max_size=2))
def test_there_is_a_difference_exactly_when_specs_are_different(documents: dict[str, dict[str, object]]) -> None:
    try:
        text = f"services: {json.dumps(documents)}{SECTIONS}"
        specs = convert(stack(text, contents={"/s1": b"canary", "/a": b""}), "demo").services
    except VaultError:
        return
    first, last = specs[0], replace(specs[-1], name=specs[0].name)
    found = differences(first, last, {})
    assert bool(found) == (first != last)
    assert "canary" not in repr(found)

"""Fields are found in whatever case they were posted; names that somebody chose are left alone."""

import json
from typing import Any

import pytest

from tests.api.client import Daemon
from tests.api.mutated import SPEC
from vault.api.bodies import decode
from vault.model.node import NodeSpec
from vault.model.service import ServiceSpec

CHOSEN = ("Labels", "Options", "Sysctls", "DriverOpts", "Platforms")  # What is kept as it is posted.


def recased(value: Any, change: Any) -> Any:
    """Return a document with its field names changed."""
    if isinstance(value, dict):
        return {change(key): part if key in CHOSEN else recased(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [recased(part, change) for part in value]
    return value


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_a_service_is_the_same_in_any_case(change: Any) -> None:
    posted = recased(SPEC, change)
    assert posted != SPEC
    assert decode(json.dumps(posted).encode(), ServiceSpec) == decode(json.dumps(SPEC).encode(), ServiceSpec)


def test_names_that_somebody_chose_stay_as_they_are() -> None:
    spec = decode(b'{"labels": {"Name": "a", "name": "b", "LABELS": "c"}, "ROLE": "manager"}', NodeSpec)
    assert (spec.labels, spec.role, spec.name) == ({"Name": "a", "name": "b", "LABELS": "c"}, "manager", "")


def test_of_two_spellings_the_fields_own_counts() -> None:
    for text in (b'{"Name": "a", "name": "b"}', b'{"name": "b", "Name": "a"}'):
        assert decode(text, NodeSpec).name == "a"


def test_what_was_posted_in_lower_case_is_made() -> None:
    daemon = Daemon().with_swarm()
    assert daemon.post("/secrets/create", {"name": "s", "data": "eA==", "labels": {"a": "b"}}).status == 201
    assert daemon.get("/secrets/s").json()["Spec"] == {"Name": "s", "Labels": {"a": "b"}}


@pytest.mark.parametrize("body", [b"[]", b"5", b'{"labels": []}', b'{"labels": {"a": {}}}', b'{"NAME": {"name": 1}}'])
def test_what_has_another_shape_is_refused_as_ever(body: bytes) -> None:
    assert Daemon().with_swarm().request("POST", "/secrets/create", body).status == 400

"""What our loader makes of a stack file is what Docker's client makes of it.

Origin of the vectors: `record_vectors.py`, run against Docker's client 28.2.2; some of the files are those of
the sessions recorded with Docker Swarm.
"""

import base64
import json
import pathlib
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.stack.record_vectors import ENVIRONMENT, VECTORS
from vault.api.network_shapes import PostedNetwork, spec_of
from vault.model.depends import DEPENDS_LABEL
from vault.model.service import ServiceSpec
from vault.stack.convert import Deployment, convert
from vault.stack.errors import StackError
from vault.stack.load import Source, Stack, load
from vault.stack.references import with_ids
from vault.stack.render import render

NAMES = sorted(path.stem for path in VECTORS.glob("*.json") if path.stem != "refused")
# What Docker refuses in other words, since we know `depends_on` in its long form.
OURS = {
    "services:\n  a:\n    image: b\n    depends_on: {b: {condition: x}}": (
        "services.a.depends_on.b.condition services.a.depends_on.b.condition must be one of the following: "
        '"service_started", "service_healthy", "service_completed_successfully"'
    )
}
RECORDED: list[tuple[str, str | None]] = json.loads((VECTORS / "refused.json").read_text())
REFUSED = [(text, OURS.get(text, error)) for text, error in RECORDED]


def without_nulls(value: Any) -> Any:
    match value:
        case dict():
            return {key: without_nulls(item) for key, item in value.items() if item is not None}
        case list():
            return [without_nulls(item) for item in value]
        case _:
            return value


def recorded(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text().replace("DIR", str(VECTORS)))
    return document


def loaded(name: str) -> Stack:
    files = sorted(VECTORS.glob(f"{name}.*yml"))
    sources = [Source(name=file.name, text=file.read_bytes(), directory=str(VECTORS)) for file in files]
    return load(sources, ENVIRONMENT, lambda path: pathlib.Path(path).read_bytes())


def deployment(name: str) -> Deployment:
    return convert(loaded(name), "demo")


def without_waiting(spec: ServiceSpec) -> ServiceSpec:
    """Return a spec without the label that our own `depends_on` leaves; Docker's client passes it over."""
    return replace(spec, labels={key: value for key, value in spec.labels.items() if key != DEPENDS_LABEL})


class Ids(dict[str, str]):
    """Gives everything named the id that the fake engine gave it."""

    def __missing__(self, name: str) -> str:
        return f"id of {name}"


@pytest.mark.parametrize("name", NAMES)
def test_services_are_those_that_docker_posts(name: str) -> None:
    theirs = [msgspec.convert(without_nulls(body), ServiceSpec) for body in recorded(name)["posts"]["services"]]
    ours = [without_waiting(with_ids(spec, Ids(), Ids())) for spec in deployment(name).services]
    assert sorted(ours, key=lambda spec: spec.name) == theirs


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_those_that_docker_posts(name: str) -> None:
    posted = [without_nulls(body) for body in recorded(name)["posts"].get("networks", [])]
    theirs = [spec_of(msgspec.convert(body, PostedNetwork)) for body in posted]
    ours = [network.spec() for network in deployment(name).networks]
    assert sorted(ours, key=lambda spec: spec.name) == theirs


@pytest.mark.parametrize("name", NAMES)
def test_secrets_and_configs_are_those_that_docker_posts(name: str) -> None:
    posts = recorded(name)["posts"]
    made = deployment(name)
    secrets = [
        {**msgspec.to_builtins(new.spec), "Data": base64.b64encode(new.value.reveal()).decode()} for new in made.secrets
    ]
    configs = [
        {**msgspec.to_builtins(new.spec), "Data": base64.b64encode(new.value.reveal()).decode()} for new in made.configs
    ]
    assert sorted(secrets, key=lambda body: body["Name"]) == posts.get("secrets", [])
    assert sorted(configs, key=lambda body: body["Name"]) == posts.get("configs", [])


@pytest.mark.parametrize("name", NAMES)
def test_stack_config_prints_what_docker_prints(name: str) -> None:
    assert render(loaded(name).document) == recorded(name)["config"]


@pytest.mark.parametrize(("text", "error"), REFUSED)
def test_a_wrong_file_is_refused_in_dockers_words(text: str, error: str | None) -> None:
    source = Source(name="-", text=text.encode(), directory="/")
    if error is None:
        load([source], {}, lambda path: b"")
        return
    with pytest.raises(StackError) as raised:
        load([source], {}, lambda path: b"")
    assert str(raised.value) == error

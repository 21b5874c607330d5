"""Whatever a stack file holds, it is deployed or refused with one sentence; nothing else comes out."""

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stack.builders import Files
from vault.model.errors import VaultError
from vault.stack.convert import convert
from vault.stack.existing import Existing
from vault.stack.keys import DOCUMENT
from vault.stack.load import Source, load
from vault.stack.plan import plan
from vault.stack.render import render
from vault.stack.schema import Items, Json, Keys, OneOf, Plain, Type

WORDS = st.sampled_from(
    [
        "a",
        "a=b",
        "80:80",
        "1-3:1-3/udp",
        "5s",
        "50M",
        "0.5",
        "./x:/y:ro",
        "vol:/z",
        "/w",
        "global",
        "replicated",
        "host",
        "ingress",
        "vip",
        "tcp",
        "bind",
        "volume",
        "tmpfs",
        "$A",
        "${B:-5}",
        "$$",
        "on-failure:3",
        "always",
        "any",
        "x y",
        "node.role == manager",
        "json-file",
        "h:1.2.3.4",
        "'open",
        "",
        "\u2028",
        "default",
        "front",
        "s1",
    ]
)
NAMES = st.sampled_from(["web", "front", "vol", "s1", "default", "x-y"])
JUNK = st.one_of(st.none(), st.booleans(), st.integers(-5, 2**70), st.floats(), WORDS, st.just([]), st.just({}))


def values(wanted: Type) -> st.SearchStrategy[Any]:
    """Return values that are mostly what the schema wants."""
    match wanted:
        case OneOf():
            return st.one_of(*map(values, wanted.alternatives))
        case Items():
            return st.lists(values(wanted.item), max_size=3)
        case Keys():
            known = st.fixed_dictionaries({}, optional={key.name: below(key.type) for key in wanted.keys})
            if wanted.others is None:
                return known
            return st.dictionaries(NAMES, below(wanted.others), max_size=3)
        case Plain():
            kinds = {
                Json.STRING: WORDS,
                Json.INTEGER: st.integers(-1, 10**6),
                Json.NUMBER: st.integers(-1, 100) | st.floats(-1, 2),
                Json.BOOLEAN: st.booleans(),
                Json.NULL: st.none(),
            }
            chosen = st.one_of(*(kinds[kind] for kind in wanted.types))
            return st.sampled_from(wanted.choices) if wanted.choices else chosen


def below(wanted: Type) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: st.integers(0, 15).flatmap(lambda roll: JUNK if roll == 0 else values(wanted)))


SECTIONS = """
networks: {front: {external: true, name: host}}
volumes: {vol: }
secrets: {s1: {file: /s1}}
configs: {s1: {file: /s1}}
"""
assert isinstance(DOCUMENT.keys[1].type, Keys)
SERVICE = DOCUMENT.keys[1].type.others
assert isinstance(SERVICE, Keys)
SERVICES = st.lists(st.sampled_from(SERVICE.keys), max_size=3).flatmap(
    lambda keys: st.fixed_dictionaries({"image": st.just("busybox"), **{key.name: values(key.type) for key in keys}})
)
READ = Files({"/a": b"A=1\n", "/s1": b"secret"})


@settings(max_examples=20, deadline=None)
@given(st.lists(values(DOCUMENT), min_size=1, max_size=2))
def test_any_document_is_deployed_or_refused(documents: list[dict[str, Any]]) -> None:
    texts = [json.dumps({**document, "version": "3.13"}) for document in documents]
    with contextlib.suppress(VaultError):
        deploy(*texts)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(NAMES, SERVICES, max_size=2), min_size=1, max_size=2))
def test_any_services_are_deployed_or_refused(documents: list[dict[str, Any]]) -> None:
    with contextlib.suppress(VaultError):
        deploy(*(f"services: {json.dumps(services)}{SECTIONS}" for services in documents))


def deploy(*texts: str) -> None:
    files = [Source(name="-", text=text.encode(), directory="/") for text in texts]
    stack = load(files, {"A": "1"}, READ)
    render(stack.document)
    plan(convert(stack, "demo"), Existing())

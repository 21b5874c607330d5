"""`stack config` prints what can be loaded again, as the same."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.stack.builders import service, stack
from tests.stack.test_vectors import NAMES, loaded
from vault.stack.document import Document
from vault.stack.render import render
from vault.stack.yaml import read_yaml


@pytest.mark.parametrize("name", NAMES)
def test_what_was_printed_loads_as_the_same_document(name: str) -> None:
    document = without_env_files(loaded(name).document)
    assert stack(render(document).replace("$", "$$")).document == document


def without_env_files(document: Document) -> Document:
    """Return the document without the names of its env files, which are printed though they were read."""
    services = {name: replace(service, env_file=()) for name, service in sorted(document.services.items())}
    return replace(document, services=services)


TEXTS = st.text(max_size=20) | st.text(" -:#'\"\n\t[]{},&*!|>%@`~ayn01.\\", max_size=20)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_any_extension_is_read_as_it_was_printed(tree: Any) -> None:
    text = render(Document(version="3.8", extensions={"x-any": tree}))
    assert same(read_yaml(text.encode())["x-any"], tree), text


def same(read: Any, given: Any) -> bool:
    """Compare; a whole float is printed as an integer, as Go does."""
    match given:
        case dict():
            return (
                isinstance(read, dict) and read.keys() == given.keys() and all(same(read[k], given[k]) for k in given)
            )
        case list():
            return isinstance(read, list) and len(read) == len(given) and all(map(same, read, given))
        case str() | bool() | None:
            return type(read) is type(given) and read == given
        case _:
            return bool(read == given)


def test_what_was_given_as_zero_is_printed_and_what_was_not_given_is_not() -> None:
    keys = "init: false\nread_only: false\nstop_grace_period: 0s\ndeploy: {replicas: 0, restart_policy: {delay: 0s}}"
    assert render(stack(service(keys)).document) == (
        'version: "3.13"\nservices:\n  web:\n    deploy:\n      replicas: 0\n      restart_policy:\n'
        "        delay: 0s\n    image: busybox\n    init: false\n    stop_grace_period: 0s\n"
    )

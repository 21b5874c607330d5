"""What the command line posts is, at the other end, the document that it read; nothing posted gets past the rules."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.stack.builders import DIRECTORY, service, stack
from tests.stack.test_fuzz import NAMES, READ, SECTIONS, SERVICES
from tests.stack.test_vectors import NAMES as VECTORS
from tests.stack.test_vectors import loaded
from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.stack.convert import convert
from vault.stack.document import Document
from vault.stack.errors import StackError
from vault.stack.load import Source, Stack, load
from vault.stack.posted import body_of, files_of, load_posted


def over_wire(document: Document) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(body_of(document)))
    return body


def posted(one: Stack) -> Document:
    files = {path: Plaintext(b"") for path in files_of(one.document)}
    return load_posted(over_wire(one.document), files).document


def plain(document: Document) -> Document:
    """Return a document as it is to arrive: env files were read, extensions mean nothing."""
    services = {name: replace(one, env_file=(), extensions={}) for name, one in document.services.items()}
    return replace(document, version="3.13", services=services, extensions={})


@pytest.mark.parametrize("name", VECTORS)
def test_a_document_arrives_as_it_was_read(name: str) -> None:
    document = loaded(name).document
    arrived = posted(loaded(name))
    assert arrived == plain(document)
    assert list(arrived.services) == list(document.services), "in the order of the file"


def test_hosts_arrive_as_they_were_read() -> None:
    hosts = ["a=1.2.3.4", "b:1.2.3.4", "c=::1", "d=[::1]", "e=x=y", "a:5.6.7.8", "f = g"]
    one = stack(json.dumps({"services": {"web": {"image": "x", "extra_hosts": hosts}}}))
    assert posted(one).services["web"].extra_hosts == one.document.services["web"].extra_hosts


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(NAMES, SERVICES, max_size=2), min_size=1, max_size=2))
def test_any_services_that_load_are_the_same_services_once_posted(documents: list[dict[str, Any]]) -> None:
    texts = [f"services: {json.dumps(services)}{SECTIONS}" for services in documents]
    try:
        one = load([Source(name="-", text=text.encode(), directory="/") for text in texts], {"A": "1"}, READ)
        expected = convert(one, "demo").services
    except VaultError:
        return
    files = {path: one.read_value(path) for path in files_of(one.document)}
    assert convert(load_posted(over_wire(one.document), files), "demo").services == expected


def test_a_seccomp_profile_is_posted_with_the_document() -> None:
    profile = b'{"defaultAction":"SCMP_ACT_ALLOW"}'
    keys = "security_opt: ['no-new-privileges', 'seccomp:p.json', 'seccomp=builtin']"
    one = stack(service(keys), contents={f"{DIRECTORY}/p.json": profile})
    assert files_of(one.document) == (f"{DIRECTORY}/p.json",)
    files = {path: one.read_value(path) for path in files_of(one.document)}
    arrived = load_posted(over_wire(one.document), files)
    assert convert(arrived, "demo").services == convert(one, "demo").services
    with pytest.raises(StackError, match=r"p\.json is named in the document, and its bytes are not in `files`$"):
        convert(load_posted(over_wire(one.document), {}), "demo")


def test_a_dollar_that_is_left_is_a_dollar() -> None:
    one = stack(service("environment: {A: 'a$$B', C: $D}"), env={"D": "${E}"})
    assert posted(one).services["web"].environment == {"A": "a$B", "C": "${E}"}


def test_what_two_files_say_twice_is_no_fault_of_the_posted_document() -> None:
    one = stack(service("dns: 8.8.8.8"), service("dns: 8.8.8.8"))
    assert posted(one).services["web"].dns == ("8.8.8.8", "8.8.8.8")


def test_an_old_file_may_say_what_only_newer_ones_write_in_full() -> None:
    one = stack(service("ports: ['80:80']\nvolumes: [/a]", version="3.0"))
    assert posted(one) == plain(one.document)


def test_extensions_stay_at_home() -> None:
    one = stack("x-top: {token: abc}\nservices: {web: {image: b, x-note: abc}}\nvolumes: {v: {x-v: abc}}")
    assert "abc" not in json.dumps(body_of(one.document))


def test_the_bytes_of_a_file_are_found_by_the_text_of_its_key() -> None:
    document = {"services": {}, "secrets": {"s": {"file": "./here/../s.txt"}}}
    one = load_posted(document, {"s.txt": Plaintext(b"value")})
    (new,) = convert(one, "demo").secrets
    assert new.value == Plaintext(b"value")


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"services": {"a": {"image": "b", "bogus": 1}}}, "services.a Additional property bogus is not allowed"),
        ({"services": []}, "services must be a mapping"),
        ({"version": "2"}, "unsupported Compose file version: 2"),
        ({"version": 3.9, "services": {}}, "version must be a string"),
        (
            {"services": {"a": {"image": "b", "env_file": "/etc/shadow"}}},
            "env_file /etc/shadow: a posted document has the variables themselves, under `environment`",
        ),
        (
            {"services": {"a": {"image": "b", "volumes": ["./data:/x"]}}},
            "services.a.volumes: data is relative: a posted document names the host's paths in full",
        ),
        (
            {"services": {"a": {"image": "b", "volumes": ["~/data:/x"]}}},
            "services.a.volumes: cannot expand ~/data: HOME is not set",
        ),
        (
            {"services": {}, "secrets": {"s": {"file": "/etc/shadow"}}},
            "/etc/shadow is named in the document, and its bytes are not in `files`",
        ),
        ({"services": {"a": {"image": "b", "deploy": {"replicas": 2**70}}}}, None),
        ({"services": {"a": {"image": "b", "extends": "c"}}}, None),
    ],
)
def test_a_document_that_cannot_be_is_refused_with_one_sentence(document: dict[str, Any], error: str | None) -> None:
    with pytest.raises(StackError) as raised:
        convert(load_posted(document, {}), "demo")
    assert error is None or str(raised.value) == error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | NAMES, inner, max_size=3),
    max_leaves=12,
)
SECTION = st.sampled_from(["version", "services", "networks", "volumes", "secrets", "configs", "x-a", "bogus"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(SECTION, JSON, max_size=4), st.dictionaries(st.text(max_size=8), st.just(Plaintext(b"x"))))
def test_anything_posted_is_deployed_or_refused(document: dict[str, Any], files: dict[str, Plaintext]) -> None:
    with contextlib.suppress(StackError):  # Which is a 400, always.
        convert(load_posted(document, files), "demo")


def test_the_directory_of_the_files_is_in_the_document_already() -> None:
    one = stack(service("volumes: ['./data:/x']"))
    assert posted(one).services["web"].volumes[0].source == f"{DIRECTORY}/data"

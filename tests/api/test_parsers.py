"""Parsers of what comes from outside: properties, and texts that a Go engine gives."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.client import Daemon
from vault.api.filters import matches_labels, matches_prefix, parse_filters
from vault.api.gojson import base64_bytes, base64_fault, json_fault
from vault.api.times import nanoseconds, seconds
from vault.api.version import split_version
from vault.model.errors import BadRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


# Given by Go 1.19, encoding/json.
@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("", "unexpected end of JSON input"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("[1 2]", "invalid character '2' after array element"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ("{a}", "invalid character 'a' looking for beginning of object key string"),
        ("tru", "unexpected end of JSON input"),
        ("trux", "invalid character 'x' in literal true (expecting 'e')"),
        ("nul ", "invalid character ' ' in literal null (expecting 'l')"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("01", "invalid character '1' after top-level value"),
        ('"\\x"', "invalid character 'x' in string escape code"),
        ('"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        ('"a\nb"', "invalid character '\\n' in string literal"),
        ("'a'", "invalid character '\\'' looking for beginning of value"),
    ],
)
def test_syntax_errors_are_told_in_gos_words(body: str, fault: str) -> None:
    assert json_fault(body.encode()) == fault


@given(JSON)
def test_right_json_has_no_fault(value: object) -> None:
    assert json_fault(json.dumps(value).encode()) is None


@given(st.text(alphabet='{}[]":,0123456789.eE+-truefalsn \\u\n', max_size=40))
def test_json_has_a_fault_exactly_when_pythons_parser_refuses_it(text: str) -> None:
    try:
        json.loads(text)
        right = True
    except ValueError:
        right = False
    assert (json_fault(text.encode()) is None) is right


@given(st.binary(max_size=200), st.integers(0, 40))
def test_base64_with_newlines_anywhere_is_read_as_go_reads_it(value: bytes, every: int) -> None:
    text = base64.b64encode(value)
    broken = b"\r\n".join(text[n : n + every] for n in range(0, len(text), every)) if every else text
    assert base64_bytes(broken) == value


# Given by Go 1.19, encoding/base64.
@pytest.mark.parametrize(
    ("text", "offset"), [(b"a", 0), (b"ab", 0), (b"abc", 0), (b"abcd=", 4), (b"ab==x", 4), (b"ab=x", 2), (b"a=bc", 1)]
)
def test_bad_base64_is_placed_where_go_places_it(text: bytes, offset: int) -> None:
    assert base64_fault(text) == offset


@given(st.text(max_size=60))
def test_filters_are_refused_or_read_and_never_crash(text: str) -> None:
    try:
        filters = parse_filters(text, ("name", "label"))
    except BadRequest:
        return
    assert set(filters) <= {"name", "label"}


@given(st.lists(st.text(max_size=8), unique=True, max_size=4))
def test_both_forms_of_a_filter_mean_the_same(values: list[str]) -> None:
    as_list = parse_filters(json.dumps({"name": values}), ("name",))
    as_map = parse_filters(json.dumps({"name": dict.fromkeys(values, True)}), ("name",))
    assert as_list == as_map == {"name": tuple(values)}


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4))
def test_labels_match_themselves(labels: dict[str, str]) -> None:
    keys = [key for key in labels if "=" not in key]
    assert matches_labels(labels, [f"{key}={labels[key]}" for key in keys])
    assert matches_labels(labels, keys)


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_text_matches_its_own_beginning(start: str, rest: str) -> None:
    assert matches_prefix(start + rest, [start]) or start.lower() != (start + rest).lower()[: len(start.lower())]


@given(st.text(max_size=12))
def test_a_path_names_a_version_or_none_or_is_refused(text: str) -> None:
    try:
        version = split_version(text)
    except BadRequest:
        return
    assert version is None or (1, 40) <= version <= (1, 50)


@given(st.text(max_size=30))
def test_a_time_is_read_or_refused(text: str) -> None:
    try:
        found = seconds(text)
    except BadRequest:
        return
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("text", "found"), [("", None), ("0", None), ("1.5", 1.5), ("1970-01-01T00:01:00Z", 60.0), ("12", 12.0)]
)
def test_times_come_in_seconds_and_in_rfc_3339(text: str, found: float | None) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize(
    ("text", "found_ns"),
    [
        ("", None),
        ("0", 0),
        ("1795379143.241123457", 1795379143_241123457),
        ("1795379143.5", 1795379143_500000000),
        ("2026-11-22T20:18:20.25Z", 1795378700_250000000),
        ("2026-11-22T21:18:20+01:00", 1795378700_000000000),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, found_ns: int | None) -> None:
    assert nanoseconds(text) == found_ns


WORDS = (
    "Name Labels Data TaskTemplate ContainerSpec Image Mode Replicated Replicas Secrets File Mounts EndpointSpec Ports "
    "Driver IPAM Config Subnet Spec Role Cmd Env"
)
FIELDS = st.sampled_from(WORDS.split())
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=10) | st.just("eA=="),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=20,
)
POSTS = [
    *("/secrets/create", "/configs/create", "/services/create", "/networks/create", "/volumes/create"),
    *("/swarm/update?version=1", "/nodes/vm/update?version=1", "/swarm/init", "/swarm/join", "/exec/x/start"),
    *("/containers/x/exec", "/services/x/update?version=1", "/secrets/x/update?version=1"),
]
GETS = [
    *("/secrets", "/configs", "/services", "/tasks", "/nodes", "/networks", "/images/json", "/volumes"),
    *("/containers/json", "/services/x/logs", "/containers/x/logs"),
]
DAEMON = Daemon().with_swarm()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(POSTS), BODIES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
def test_no_body_makes_an_internal_error(path: str, body: bytes) -> None:
    answer = DAEMON.request("POST", path, body)
    assert "internal error" not in answer.text
    assert answer.status < 500 or answer.status in (501, 503) or "out of sequence" in answer.text


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(GETS),
    st.dictionaries(
        st.sampled_from(["filters", "since", "until", "tail", "limit", "stdout", "follow", "status", "all", "version"]),
        st.text(max_size=20) | JSON.map(json.dumps),
        max_size=4,
    ),
)
def test_no_query_makes_an_internal_error(path: str, query: dict[str, Any]) -> None:
    text = "&".join(f"{key}={quote(value)}" for key, value in query.items())
    answer = DAEMON.get(f"{path}?{text}")
    assert answer.status < 500, answer.text


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["GET", "POST", "DELETE", "HEAD", "PUT", "X"]), st.text(max_size=30))
def test_no_path_makes_an_internal_error(method: str, path: str) -> None:
    answer = DAEMON.request(method, "/" + quote(path), b"{}")
    assert answer.status < 500, answer.text

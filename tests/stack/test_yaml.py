"""YAML is read as Go's yaml reads it, not as PyYAML does."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.stack import yaml
from vault.stack.errors import NotYAML, StackError
from vault.stack.scalars import BooleanWord
from vault.stack.yaml import MAX_DEPTH, read_yaml

TRAPS = [
    # text, value; where PyYAML would read something else, the comment says what
    ("22:22", "22:22"),  # 1342, base 60
    ("1:30", "1:30"),  # 90
    ("22:22.5", "22:22.5"),  # 1342.5
    ("yes", "yes"),  # True
    ("on", "on"),  # True
    ("No", "No"),  # False
    ("off", "off"),  # False
    ("y", "y"),
    ("true", True),
    ("False", False),
    ("tRue", "tRue"),
    ("0440", 0o440),
    ("-0440", -0o440),
    ("0o440", 0o440),  # "0o440"
    ("0x1F", 31),
    ("0b101", 5),
    ("0999", 999.0),  # "0999"; a float in Go
    ("08", 8.0),  # "08"
    ("1_000", 1000),
    ("0_7", 7),
    ("_1", "_1"),
    ("+5", 5),
    ("1e3", 1000.0),  # "1e3"
    ("1.", 1.0),
    (".5", 0.5),
    ("1e400", "1e400"),
    ("18446744073709551615", 2**64 - 1),
    ("18446744073709551616", float(2**64)),  # an int
    ("~", None),
    ("null", None),
    ("NULL", None),
    ("2001-01-01", "2001-01-01"),  # a date
    ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),  # a datetime
    ("=", "="),  # an error
    ('"22"', "22"),
    ("'yes'", "yes"),
    ('"~"', "~"),
    ("!!str 5", "5"),
    ("! 5", "5"),
    ("!!float 5", 5.0),
    ("!!bool yes", True),
    ("!custom 5", "5"),  # an error
    ("!!binary aGk=", "hi"),  # bytes
    ("!!python/name:os.system x", "x"),
    ("!!set {}", {}),
    ("|\n  a\n  b", "a\nb\n"),
    (">-\n  a\n  b", "a b"),
    ("[1, [a, {b: c}]]", [1, ["a", {"b": "c"}]]),
    ("", None),
]


@pytest.mark.parametrize(("text", "value"), TRAPS)
def test_a_scalar_means_what_it_means_in_go(text: str, value: object) -> None:
    read = read_yaml(f"key: {text}\n".encode())["key"]
    assert read == value
    assert isinstance(read, type(value))


@pytest.mark.parametrize(("text", "truth"), [("yes", True), ("ON", True), ("n", False), ("Off", False)])
def test_an_unquoted_yes_can_serve_as_a_boolean_and_a_quoted_one_cannot(text: str, truth: bool) -> None:
    plain, quoted = read_yaml(f'a: {text}\nb: "{text}"\n'.encode()).values()
    assert isinstance(plain, BooleanWord)
    assert plain.truth is truth
    assert not isinstance(quoted, BooleanWord)


def test_keys_are_strings_even_when_they_look_like_booleans() -> None:
    assert read_yaml(b"on: 1\ny: 2\n'5': 3\n") == {"on": 1, "y": 2, "5": 3}
    assert all(type(key) is str for key in read_yaml(b"on: 1\ny: 2\n"))


def test_merge_keys_fill_in_what_a_mapping_does_not_say_itself() -> None:
    text = b"a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\none: {<<: *a, x: 0}\ntwo: {z: 0, <<: [*a, *b]}\n'<<': plain\n"
    read = read_yaml(text)
    assert read["one"] == {"x": 0, "y": 1}
    assert read["two"] == {"x": 1, "y": 1, "z": 0}
    assert read["<<"] == "plain"


def test_only_the_first_document_counts() -> None:
    assert read_yaml(b"---\na: 1\n---\nb: [\n") == {"a": 1}


ERRORS = [
    ("a: [", "yaml: line 1: did not find expected node content"),
    ("a: b: c", "yaml: line 1: mapping values are not allowed in this context"),
    ("{a: b", "yaml: line 1: did not find expected ',' or '}'"),
    ("key: [a, b", "yaml: line 1: did not find expected ',' or ']'"),
    ("a:\n\t- b", "yaml: line 2: found character that cannot start any token"),
    ("a: @b", "yaml: line 1: found character that cannot start any token"),
    ('a: "abc', "yaml: line 1: found unexpected end of stream"),
    ('a: "\\q"', "yaml: line 1: found unknown escape character"),
    ("a: |\n b\nc", "yaml: line 3: could not find expected ':'"),
    ("a:\n  b: 1\n c: 2", "yaml: line 3: did not find expected key"),
    ("a: &x [*x]", "yaml: line 1: anchor 'x' value contains itself"),
    ("a: *nope", "yaml: line 1: unknown anchor 'nope' referenced"),
    ("a: !!int foo", "yaml: line 1: cannot decode !!str `foo` as a !!int"),
    ("a: !!binary '%'", "yaml: line 1: !!binary value contains invalid base64 data"),
    ("a: \x01b", "yaml: control characters are not allowed"),
    ("<<: 5", "yaml: line 1: map merge requires map or sequence of maps as the value"),
    ("a: 1\nb: 2\na: 3", 'yaml: line 3: mapping key "a" already defined at line 1'),
    ("a: {b: 1, 'b': 2}", 'yaml: line 1: mapping key "b" already defined at line 1'),
    ("a: {5: b}", "yaml: line 1: mapping key 5 is not a string: put it in quotes"),
    ("true: b", "yaml: line 1: mapping key true is not a string: put it in quotes"),
    ("? [a]\n: b", "yaml: line 1: a mapping or a list cannot be a key"),
    ("- a", "top-level object must be a mapping"),
    ("foo", "top-level object must be a mapping"),
    ("", "top-level object must be a mapping"),
]


@pytest.mark.parametrize(("text", "error"), ERRORS)
def test_what_is_wrong_is_said_with_its_line(text: str, error: str) -> None:
    with pytest.raises(StackError) as raised:
        read_yaml(text.encode())
    assert str(raised.value) == error


@pytest.mark.parametrize(("text", "error"), [row for row in ERRORS if "escape" not in row[0]])
def test_without_libyaml_the_texts_are_the_same(text: str, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml as pyyaml

    monkeypatch.delattr(pyyaml, "CLoader")
    with pytest.raises(StackError) as raised:
        read_yaml(text.encode())
    assert str(raised.value).split(": ")[-1] == error.split(": ")[-1]


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(NotYAML, match="invalid UTF-8, or not text at all"):
        read_yaml(b"a: \xff\xfe")


def bomb(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def test_aliases_may_be_used_but_not_unfold_without_bound() -> None:
    assert len(read_yaml(bomb(4))) == 4
    with pytest.raises(NotYAML, match="excessive aliasing"):
        read_yaml(bomb(9))


def test_depth_and_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotYAML, match="exceeded max depth"):
        read_yaml(b"a: " + b"[" * (MAX_DEPTH + 1))
    with pytest.raises(NotYAML, match="exceeded max depth"):
        read_yaml(b"a: " + b"{a: " * 100_000)
    with pytest.raises(NotYAML, match="more than"):
        read_yaml(b"a" * (yaml.MAX_BYTES + 1))
    monkeypatch.setattr(yaml, "MAX_NODES", 100)
    with pytest.raises(NotYAML, match="too many values"):
        read_yaml(b"a: [" + b"1, " * 200 + b"1]")


PIECES = st.sampled_from(
    [
        *"abc:-?[]{},&*!|>'\"%@`#\n\t \\",
        "<<",
        "&a ",
        "*a",
        "!!int",
        "!!binary",
        ": ",
        "\n  ",
        "---\n",
        "...\n",
        "0x",
        "\x00",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=60).map(lambda parts: "".join(parts).encode())))
def test_any_bytes_are_read_or_refused(source: bytes) -> None:
    with contextlib.suppress(StackError):
        assert all(isinstance(key, str) for key in read_yaml(source))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text("abc: -#'\"\n01", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc: -#'\"\n01", max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text("abcxyz", max_size=8), VALUES, max_size=5))
def test_what_json_writes_is_read_as_json_reads_it(value: dict[str, object]) -> None:
    assert read_yaml(json.dumps(value).encode()) == value

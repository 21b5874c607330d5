"""YAML as a stack file may be written in it: bytes in; dicts, lists and scalars out.

Pure; called by `vault.stack.load`.  PyYAML's scanner and parser give events (libyaml's own where PyYAML was built with
it, so that the error texts are those of Go's yaml, a port of libyaml); composing and resolving are ours: duplicate keys
are refused, keys are strings, `<<` merges, and depth, size and what aliases unfold to are bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from vault.stack.errors import NotYAML, StackError
from vault.stack.scalars import BOOL, FLOAT, INT, NULL, STR, resolve, resolve_as

MAX_BYTES: Final = 4 << 20
MAX_DEPTH: Final = 200  # A stack file needs 8.
MAX_NODES: Final = 200_000  # With every alias counted as often as it is used.
_BINARY = "tag:yaml.org,2002:binary"
_SCALAR_TAGS = frozenset((STR, INT, FLOAT, BOOL, NULL))

# PyYAML's own parser, used where libyaml is missing, words these differently.
_WORDING = (
    ("expected the node content", "did not find expected node content"),
    ("expected <block end>", "did not find expected key"),
    ("expected ',' or ']'", "did not find expected ',' or ']'"),
    ("expected ',' or '}'", "did not find expected ',' or '}'"),
    ("expected '<document start>'", "did not find expected <document start>"),
    ("mapping values are not allowed", "mapping values are not allowed in this context"),
    ("that cannot start any token", "found character that cannot start any token"),
    ("found unknown escape character", "found unknown escape character"),
)


@dataclass(slots=True, kw_only=True)
class _Open:
    """A collection whose end has not come yet."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    before: int  # Nodes counted before it.
    key: str | None = None  # A mapping's key that waits for its value.
    merge: bool = False  # The key that waits is `<<`.
    merges: list[dict[str, Any]] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)  # Where each key was given.


def read_yaml(source: bytes) -> dict[str, Any]:
    """Return the mapping that a YAML document is; later documents of the stream are not looked at.

    Raises `NotYAML` for what is not YAML or beyond the bounds, `StackError` if the document is no mapping.
    """
    if len(source) > MAX_BYTES:
        raise NotYAML(f"the file has more than {MAX_BYTES} bytes")
    value = _Composer().compose(source)
    if not isinstance(value, dict):
        raise StackError("top-level object must be a mapping")
    return value


def _events(source: bytes) -> Iterator[Any]:
    """Yield PyYAML's events.  Raises `NotYAML` in libyaml's words."""
    import yaml  # Here, for `vault` must start fast when no stack file is read.

    try:
        loader: Any = getattr(yaml, "CLoader", yaml.Loader)
        yield from yaml.parse(source, Loader=loader)
    except yaml.MarkedYAMLError as error:
        problem = error.problem or "cannot be parsed"
        wording = next((ours for theirs, ours in _WORDING if theirs in problem), problem)
        raise NotYAML(wording, _line(source, error.problem_mark)) from None
    except yaml.YAMLError as error:
        reason = str(getattr(error, "reason", "") or "")
        control = "not allowed" in reason
        problem = "control characters are not allowed" if control else "invalid UTF-8, or not text at all"
        raise NotYAML(problem) from None
    except (UnicodeError, ValueError):  # Surrogates, and escapes for code points that do not exist.
        raise NotYAML("found invalid Unicode character") from None


def _line(source: bytes, mark: Any) -> int | None:
    """Return the line, from 1, of a mark; the end of the file counts as its last line."""
    if mark is None:
        return None
    last = source.rstrip(b"\r\n\t ").count(b"\n") + 1
    return min(int(mark.line) + 1, last)


class _Composer:
    """Builds values from events without recursion, so that depth is a number and not a crash."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}  # Value, and the nodes it unfolds to.
        self._nodes = 0

    def compose(self, source: bytes) -> Any:
        """Return the value of the first document, None if there is none."""
        import yaml

        for event in _events(source):
            match event:
                case yaml.ScalarEvent():
                    done, value = self._scalar(event)
                case yaml.AliasEvent():
                    done, value = self._alias(event)
                case yaml.MappingStartEvent():
                    done, value = self._begin(event, {})
                case yaml.SequenceStartEvent():
                    done, value = self._begin(event, [])
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    done, value = self._end(event)
                case _:
                    continue
            if done:
                return value
        return None

    def _count(self, nodes: int, line: int, *, aliased: bool) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise NotYAML("document contains excessive aliasing" if aliased else "document has too many values", line)

    def _scalar(self, event: Any) -> tuple[bool, Any]:
        line = event.start_mark.line + 1
        self._count(1, line, aliased=False)
        plain = event.style is None or event.style == ""
        merge = plain and event.value == "<<" and event.tag is None and self._wants_key()
        value = event.value if merge else _scalar_value(event, plain, line)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        return self._add(value, line, merge=merge)

    def _alias(self, event: Any) -> tuple[bool, Any]:
        line = event.start_mark.line + 1
        if any(collection.anchor == event.anchor for collection in self._open):
            raise NotYAML(f"anchor '{event.anchor}' value contains itself", line)
        if event.anchor not in self._anchors:
            raise NotYAML(f"unknown anchor '{event.anchor}' referenced", line)
        value, nodes = self._anchors[event.anchor]
        self._count(nodes, line, aliased=True)
        return self._add(value, line)

    def _begin(self, event: Any, value: dict[str, Any] | list[Any]) -> tuple[bool, Any]:
        line = event.start_mark.line + 1
        if len(self._open) >= MAX_DEPTH:
            raise NotYAML(f"exceeded max depth of {MAX_DEPTH}", line)
        if self._wants_key():
            raise NotYAML("a mapping or a list cannot be a key", line)
        self._count(1, line, aliased=False)
        self._open.append(_Open(value=value, anchor=event.anchor, before=self._nodes - 1))
        return False, None

    def _end(self, event: Any) -> tuple[bool, Any]:
        ended = self._open.pop()
        value = ended.value
        if isinstance(value, dict):
            for merged in ended.merges:  # The mapping's own keys win, then the first mapping that has one.
                for key, item in merged.items():
                    value.setdefault(key, item)
        if ended.anchor is not None:
            self._anchors[ended.anchor] = (value, self._nodes - ended.before)
        return self._add(value, event.start_mark.line + 1)

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def _add(self, value: Any, line: int, *, merge: bool = False) -> tuple[bool, Any]:
        """Put a finished value where it belongs.  Returns whether the document is finished, and with what."""
        if not self._open:
            return True, value
        parent = self._open[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is None:
            _add_key(parent, value, line, merge=merge)
        elif parent.merge:
            parent.merges.extend(_mappings_to_merge(value, line))
            parent.key, parent.merge = None, False
        else:
            parent.value[parent.key] = value
            parent.key = None
        return False, None


def _add_key(parent: _Open, key: Any, line: int, *, merge: bool) -> None:
    """Remember a mapping's next key.  Raises `NotYAML` for one that is no string, or was given before."""
    if not isinstance(key, str):
        shown = "null" if key is None else str(key).lower()
        raise NotYAML(f"mapping key {shown} is not a string: put it in quotes", line)
    key = str(key)  # A key is never a boolean, not even `on`.
    if key in parent.lines:
        raise NotYAML(f'mapping key "{key}" already defined at line {parent.lines[key]}', line)
    parent.lines[key] = line
    parent.key, parent.merge = key, merge


def _mappings_to_merge(value: Any, line: int) -> list[dict[str, Any]]:
    candidates = value if isinstance(value, list) else [value]
    if not all(isinstance(candidate, dict) for candidate in candidates):
        raise NotYAML("map merge requires map or sequence of maps as the value", line)
    return candidates


def _scalar_value(event: Any, plain: bool, line: int) -> Any:
    """Return the value of a scalar, by its tag or by its looks."""
    tag = event.tag
    if tag is None or tag == "!":
        return resolve(event.value) if plain and tag is None else event.value
    if tag == _BINARY:
        return _decoded(event.value, line)
    if tag not in _SCALAR_TAGS:  # An unknown tag says nothing to us; Go's yaml takes the text, too.
        return event.value
    try:
        return resolve_as(tag, event.value)
    except NotYAML as error:
        raise NotYAML(error.problem, line) from None


def _decoded(text: str, line: int) -> str:
    import base64

    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except ValueError:
        raise NotYAML("!!binary value contains invalid base64 data", line) from None

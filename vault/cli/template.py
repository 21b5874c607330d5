"""The part of Go's templates that `--format` understands.  Pure.

Text, `{{.Field.Sub}}`, `{{json .Field}}`, `{{.Label "name"}}`, `{{index .Field "key"}}`, `upper`, `lower`, `title`,
`len`, `println` and `join .Field ","`, with `{{-` and `-}}` trimming blanks.  Everything else is refused with a
sentence.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from vault.cli.errors import CommandError

Piece = str | Callable[[Any], str]
_ACTION = r"(?s)\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}"
_WORD = r'"(?:[^"\\]|\\.)*"|`[^`]*`|\S+'
_PATH = r"\.|(?:\.[A-Za-z_][A-Za-z0-9_]*)+"
_SUPPORTED = 'use {{.Field}}, {{json .Field}}, {{.Label "name"}} or {{index .Field "key"}}'


class BadTemplate(CommandError):
    """A `--format` template is not one we can follow."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"template parsing error: {reason}")


def compile_template(text: str) -> Callable[[Any], str]:
    """Return a function from an object (maps, lists, texts, numbers) to its text.  Raises `BadTemplate`."""
    pieces: list[Piece] = []
    position = 0
    trim = False
    for action in re.finditer(_ACTION, text):
        before = text[position : action.start()]
        before = before.lstrip() if trim else before
        pieces.append(before.rstrip() if action[1] else before)
        pieces.append(_action(action[2]))
        trim = bool(action[3])
        position = action.end()
    last = text[position:].lstrip() if trim else text[position:]
    if "{{" in last:
        raise BadTemplate("template: :1: unclosed action")
    pieces.append(last)

    def render(item: Any) -> str:
        return "".join(piece if isinstance(piece, str) else piece(item) for piece in pieces)

    return render


def compact_json(value: Any) -> str:
    """Return JSON as Go writes it: no blanks, maps in the order given, `<`, `>` and `&` escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _action(source: str) -> Callable[[Any], str]:
    words = re.findall(_WORD, source)
    if not words:
        raise BadTemplate("template: :1: missing value for command")
    if "|" in words:
        raise BadTemplate(f"pipelines such as {{{{{source}}}}} are not supported: {_SUPPORTED}")
    first, rest = words[0], [_operand(word, source) for word in words[1:]]
    if re.fullmatch(_PATH, first) and not rest:
        value = _operand(first, source)
        return lambda item: shown(value(item))
    if first == ".Label" and len(rest) == 1:
        return lambda item: _label(item, str(rest[0](item)))
    if first in _FUNCTIONS:
        function, least, most = _FUNCTIONS[first]
        if not least <= len(rest) <= most:
            raise BadTemplate(f"wrong number of args for {first}: want {least} got {len(rest)}")
        return lambda item: function(*(operand(item) for operand in rest))
    if re.fullmatch(r"[A-Za-z]+", first) and first not in _KEYWORDS:
        raise BadTemplate(f'template: :1: function "{first}" not defined')
    raise BadTemplate(f"{{{{{source}}}}} is not supported: {_SUPPORTED}")


def _operand(word: str, source: str) -> Callable[[Any], Any]:
    if word[0] == '"':
        try:
            literal = json.loads(word)
        except ValueError:
            raise BadTemplate(f"template: :1: bad text {word}") from None
        return lambda item: literal
    if word[0] == "`":
        return lambda item: word[1:-1]
    if not re.fullmatch(_PATH, word):
        raise BadTemplate(f"{{{{{source}}}}} is not supported: {_SUPPORTED}")
    names = [name for name in word.split(".") if name]

    def value(item: Any) -> Any:
        for name in names:
            if item is None:
                return None
            if not isinstance(item, Mapping):
                raise BadTemplate(f"can't evaluate field {name} in {word}")
            if name not in item:
                return _missing(item, name, word)
            item = item[name]
        return item() if callable(item) else item

    return value


def _missing(item: Mapping[str, Any], name: str, word: str) -> Any:
    # Objects of the API leave empty fields out, so a field that starts with a capital may just be empty.
    if isinstance(item, Named):
        return None
    if isinstance(item, Shaped) and name not in item.fields:
        raise BadTemplate(f'template: :1: executing "" at <{word}>: map has no entry for key "{name}"')
    if isinstance(item, Row) or not name[:1].isupper():
        raise BadTemplate(f"template: :1: can't evaluate field {name} in {word}")
    return None


class Row(dict[str, Any]):
    """One row of a listing: its fields are all there are, so another name is a mistake."""


class Shaped(dict[str, Any]):
    """An object with the names of all fields that one of its type may have: another name is a mistake."""

    fields: frozenset[str] = frozenset()


class Named(dict[str, Any]):
    """A map whose names somebody chose, such as labels: any may be missing."""


def shown(value: Any) -> str:
    """Return a value as Go's templates print it."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "map[" + " ".join(f"{name}:{shown(value[name])}" for name in sorted(value)) + "]"
        case list() | tuple():
            return "[" + " ".join(shown(item) for item in value) + "]"
        case _:
            return str(value)


def _label(item: Any, name: str) -> str:
    labels = item.get("_labels") or {} if isinstance(item, Mapping) else {}
    return str(labels.get(name, ""))


def _json(value: Any) -> str:
    if isinstance(value, Row):
        value = {name: value[name] for name in sorted(value) if not name.startswith("_")}
    return compact_json(value)


def _index(value: Any, key: Any) -> str:
    if isinstance(value, Mapping):
        return shown(value.get(key, ""))
    raise BadTemplate("index: only maps are supported")


def _join(value: Any, between: Any) -> str:
    return str(between).join(shown(item) for item in value or ())


_FUNCTIONS: dict[str, tuple[Callable[..., str], int, int]] = {
    "json": (_json, 1, 1),
    "index": (_index, 2, 2),
    "join": (_join, 2, 2),
    "upper": (lambda value: shown(value).upper(), 1, 1),
    "lower": (lambda value: shown(value).lower(), 1, 1),
    "title": (lambda value: shown(value)[:1].upper() + shown(value)[1:], 1, 1),
    "len": (lambda value: str(len(value or ())), 1, 1),
    "println": (lambda *values: " ".join(shown(value) for value in values) + "\n", 0, 9),
}
_KEYWORDS = (
    "if",
    "else",
    "end",
    "range",
    "with",
    "define",
    "template",
    "block",
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "printf",
)

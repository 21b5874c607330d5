"""Does a document have only keys and types that its compose version knows?

Pure; called by `vault.stack.load` on the interpolated document, with the definition in `vault.stack.keys`.  Of several
mistakes one is reported, chosen as Docker chooses: the deepest, a wrong type before others, the first in the document.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, assert_never

from vault.stack.errors import NotInSchema, StackError
from vault.stack.scalars import BooleanWord


class Json(Enum):
    """The types of JSON; the value is Docker's word for it in an error."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    NULL = "null"
    OBJECT = "mapping"
    ARRAY = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A rule for the text of a string (or the digits of a number); `accepts` must not raise."""

    name: str
    accepts: Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A scalar of one of some types."""

    types: tuple[Json, ...]
    format: Format | None = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A list whose items are all of one type."""

    item: "Type"
    unique: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that a mapping may have in versions 3.`since` up to but without 3.`until`."""

    name: str
    type: "Type"
    since: int = 0
    until: int = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A mapping with known keys, or with any key of a pattern, or both."""

    keys: tuple[Key, ...] = ()
    others: "Type | None" = None  # What a key that matches `pattern` holds.
    pattern: str = r"[a-zA-Z0-9._-]+"
    required: tuple[str, ...] = ()
    extensions_since: int = 99  # From 3.this on, keys that begin with x- hold anything.
    open_since: int = 99  # From 3.this on, unknown keys hold anything.
    types: tuple[Json, ...] = (Json.OBJECT,)  # What else it may be.


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """A value of one of some types."""

    alternatives: "tuple[Type, ...]"


Type = Plain | Items | Keys | OneOf


class _Fault(Enum):
    TYPE = "type"
    ALTERNATIVES = "alternatives"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    path: str
    fault: _Fault
    text: str


def check(document: Mapping[str, Any], definition: Type, minor: int) -> None:
    """Raise `NotInSchema` unless `document` is what `definition` allows in version 3.`minor`."""
    problems = list(_problems(document, definition, "", minor))
    if not problems:
        return
    worst = 0
    for index, problem in enumerate(problems):
        chosen = problems[worst]
        depth, deepest = problem.path.count("."), chosen.path.count(".")
        if depth > deepest or (depth == deepest and problem.fault is _Fault.TYPE and chosen.fault is not _Fault.TYPE):
            worst = index
    chosen = problems[worst]
    if chosen.fault is _Fault.ALTERNATIVES and worst + 1 < len(problems):
        chosen = _Problem(path=chosen.path, fault=chosen.fault, text=problems[worst + 1].text)
    raise NotInSchema(chosen.path or "(root)", chosen.text)


def _problems(value: Any, wanted: Type, path: str, minor: int) -> Iterator[_Problem]:
    match wanted:
        case OneOf():
            yield from _no_alternative(value, wanted, path, minor)
        case Plain() | Items() | Keys() if not any(_is_a(value, type_) for type_ in _types(wanted)):
            names = [type_.value for type_ in _types(wanted)]
            text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
            yield _Problem(path=path, fault=_Fault.TYPE, text=f"must be a {text}")
        case Plain():
            yield from _wrong_scalar(value, wanted, path)
        case Items():
            yield from _wrong_items(value, wanted, path, minor)
        case Keys():
            if isinstance(value, dict):
                yield from _wrong_keys(value, wanted, path, minor)
        case _ as never:
            assert_never(never)


def _types(wanted: Plain | Items | Keys) -> tuple[Json, ...]:
    match wanted:
        case Plain():
            return wanted.types
        case Items():
            return (Json.ARRAY,)
        case Keys():
            return wanted.types


def _is_a(value: Any, type_: Json) -> bool:
    match type_:
        case Json.STRING:
            return isinstance(value, str)
        case Json.INTEGER:
            return (isinstance(value, int) and not isinstance(value, bool)) or (
                isinstance(value, float) and value.is_integer()
            )
        case Json.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Json.BOOLEAN:
            return isinstance(value, bool | BooleanWord)
        case Json.NULL:
            return value is None
        case Json.OBJECT:
            return isinstance(value, dict)
        case Json.ARRAY:
            return isinstance(value, list)


def _no_alternative(value: Any, wanted: OneOf, path: str, minor: int) -> Iterator[_Problem]:
    """Yield why no alternative fits: the reasons of the one whose type does, else of the first."""
    best: list[_Problem] | None = None
    for alternative in wanted.alternatives:
        problems = list(_problems(value, alternative, path, minor))
        if not problems:
            return
        mistyped = problems[0].fault is _Fault.TYPE and problems[0].path == path
        if best is None or (not mistyped and best[0].fault is _Fault.TYPE and best[0].path == path):
            best = problems
    yield _Problem(path=path, fault=_Fault.ALTERNATIVES, text="Must validate one and only one schema (oneOf)")
    yield from best or ()


def _wrong_scalar(value: Any, wanted: Plain, path: str) -> Iterator[_Problem]:
    if isinstance(value, float) and not math.isfinite(value):
        raise StackError(f"json: unsupported value: {'NaN' if math.isnan(value) else f'{value:+}'.title()}")
    if wanted.choices and value not in wanted.choices:
        allowed = ", ".join(f'"{choice}"' for choice in wanted.choices)
        yield _Problem(path=path, fault=_Fault.OTHER, text=f"{path} must be one of the following: {allowed}")
    if wanted.minimum is not None and value < wanted.minimum:
        text = f"Must be greater than or equal to {wanted.minimum}"
        yield _Problem(path=path, fault=_Fault.OTHER, text=text)
    if wanted.format is not None and not wanted.format.accepts(value if isinstance(value, str) else str(int(value))):
        yield _Problem(path=path, fault=_Fault.OTHER, text=f"Does not match format '{wanted.format.name}'")


def _wrong_items(values: list[Any], wanted: Items, path: str, minor: int) -> Iterator[_Problem]:
    for index, value in enumerate(values):
        yield from _problems(value, wanted.item, f"{path}.{index}", minor)
    if not wanted.unique:
        return
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        first = seen.setdefault(json.dumps(value, sort_keys=True), index)
        if first != index:
            text = f"array items[{first},{index}] must be unique"
            yield _Problem(path=path, fault=_Fault.OTHER, text=text)


def _wrong_keys(value: dict[str, Any], wanted: Keys, path: str, minor: int) -> Iterator[_Problem]:
    known = {key.name: key.type for key in wanted.keys if key.since <= minor < key.until}
    for name in wanted.required:
        if name not in value:
            yield _Problem(path=path, fault=_Fault.OTHER, text=f"{name} is required")
    for name, item in value.items():
        below = f"{path}.{name}" if path else name
        if name in known:
            yield from _problems(item, known[name], below, minor)
        elif name.startswith("x-") and minor >= wanted.extensions_since:
            continue
        elif wanted.others is not None and re.fullmatch(wanted.pattern, name):
            yield from _problems(item, wanted.others, below, minor)
        elif minor < wanted.open_since:
            yield _Problem(path=path, fault=_Fault.OTHER, text=f"Additional property {name} is not allowed")

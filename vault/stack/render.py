"""A stack as YAML, as `docker stack config` prints it.

Pure; called by the command line.  A document is first a tree of plain values, keys in the order of the compose file's
own definition, mappings sorted; then text, written as Go's yaml writes it: two blanks deep, strings quoted only where
they would read as something else.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vault.stack import document as doc
from vault.stack.forms import format_duration, number_text
from vault.stack.scalars import BooleanWord, resolve

_ALWAYS = frozenset(("version", "services"))
_TEXTS = frozenset(("memory",))  # Printed as strings.
_DURATIONS = frozenset(
    ("delay", "monitor", "window", "timeout", "interval", "start_period", "start_interval", "stop_grace_period")
)
_PRINTABLE = re.compile("[\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]*")
_NOT_FIRST = frozenset("-?:,[]{}#&*!|>'\"%@`")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?")
_ESCAPES = {
    "\0": "\\0",
    "\a": "\\a",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\v": "\\v",
    "\f": "\\f",
    "\r": "\\r",
    "\x1b": "\\e",
    '"': '\\"',
    "\\": "\\\\",
    "\x85": "\\N",
    "\u2028": "\\L",
    "\u2029": "\\P",
}


def render(document: doc.Document) -> str:
    """Return the YAML text of a loaded document."""
    return "".join(f"{line}\n" for line in _lines(_tree(document)))


def _tree(value: Any) -> Any:
    """Return a part of a document as plain values; what was not given is left out."""
    if isinstance(value, doc.Ulimit):
        return value.single if value.single else {"soft": value.soft, "hard": value.hard}
    if isinstance(value, doc.GenericResource):
        return {"discrete_resource_spec": {"kind": value.kind, "value": value.value}}
    if isinstance(value, doc.Part):
        return _fields(value)
    if isinstance(value, Mapping):
        return {key: _tree(item) for key, item in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [_tree(item) for item in value]
    return value


def _fields(value: doc.Part) -> dict[str, Any]:
    """Return the fields that say something, extensions last."""
    defaults = dict(zip(reversed(value.__struct_fields__), reversed(value.__struct_defaults__), strict=False))
    tree: dict[str, Any] = {}
    for name in value.__struct_fields__:
        given = getattr(value, name)
        elsewhere = name == "extensions" or (name == "name" and isinstance(value, doc.Service))
        if elsewhere or not (name in _ALWAYS or _says_something(given, defaults.get(name))):
            continue
        if name in _DURATIONS:
            tree[name] = format_duration(given)
        else:
            tree[name] = str(given) if name in _TEXTS else _tree(given)
    tree.update(_tree(getattr(value, "extensions", {})))
    return tree


def _says_something(value: Any, default: Any) -> bool:
    """Return whether a field was given; 0 and False say something only where the default is None."""
    if value is None or (isinstance(value, doc.Part) and default is not None):
        return value is not None and bool(_fields(value))
    return default is None or bool(value)


def _lines(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the lines of a mapping or a list that is not empty."""
    indent = "  " * depth
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _entry(f"{indent}{_scalar(key)}:", item, depth)
        return
    for item in value:
        if isinstance(item, dict | list) and item:
            first, *rest = _lines(item, depth + 1)
            yield f"{indent}- {first.lstrip(' ')}"
            yield from rest
        else:
            yield from _entry(f"{indent}-", item, depth)


def _entry(start: str, value: Any, depth: int) -> Iterator[str]:
    match value:
        case dict() if not value:
            yield f"{start} {{}}"
        case list() if not value:
            yield f"{start} []"
        case dict() | list():
            yield start
            yield from _lines(value, depth + 1)
        case str() if "\n" in value and _literal(value):
            yield f"{start} {_block_header(value)}"
            lines = value.rstrip("\n").split("\n") + [""] * max(0, len(value) - len(value.rstrip("\n")) - 1)
            yield from (f"{'  ' * (depth + 1)}{line}" if line else "" for line in lines)
        case _:
            yield f"{start} {_scalar(value)}"


def _literal(text: str) -> bool:
    """Return whether a text of several lines can stand as it is, below a `|`."""
    return text[0] not in "\n\t" and all(
        _PRINTABLE.fullmatch(line.replace("\t", " ")) and not line.endswith(" ") for line in text.split("\n")
    )


def _block_header(text: str) -> str:
    ends = len(text) - len(text.rstrip("\n"))
    return f"|{'2' if text[0] == ' ' else ''}{('-', '', '+')[min(ends, 2)]}"


def _scalar(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _float(value)
        case _:
            return _string(str(value))


def _float(value: float) -> str:
    if value != value:
        return ".nan"
    if value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    return number_text(value)


def _string(text: str) -> str:
    """Return a string on one line: plain where it reads as itself, else in quotes."""
    if not _PRINTABLE.fullmatch(text):
        return '"' + "".join(_escaped(character) for character in text) + '"'
    if not text or not isinstance(resolve(text), str) or isinstance(resolve(text), BooleanWord):
        return f'"{text}"'
    if _BASE_60.fullmatch(text) or _DATE.fullmatch(text):
        return f'"{text}"'
    indicator = text[0] in _NOT_FIRST and not (text[0] in "-?:" and len(text) > 1 and text[1] not in " ,[]{}")
    if (
        indicator
        or text[0] == " "
        or text[-1] == " "
        or ": " in text
        or " #" in text
        or text[-1] == ":"
        or text.startswith(("---", "..."))
    ):
        return "'" + text.replace("'", "''") + "'"
    return text


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if code > 0xFFFF:
        return f"\\U{code:08X}"
    if _PRINTABLE.fullmatch(character):
        return character
    return f"\\x{code:02X}" if code <= 0xFF else f"\\u{code:04X}"

"""A stack as YAML, as `docker stack config` prints it.

Pure; called by the command line.  A document is first a tree of plain values, mappings sorted; then text, written as
Go's yaml writes it: two blanks deep, strings quoted only where they would read as something else.
"""

import re
from collections.abc import Iterator
from typing import Any

from vault.stack import document as doc
from vault.stack.forms import number_text
from vault.stack.scalars import BooleanWord, resolve
from vault.stack.tree import tree

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
    return "".join(f"{line}\n" for line in _lines(tree(document, ordered=True)))


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

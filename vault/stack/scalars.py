"""What an unquoted YAML scalar means, as Go's yaml reads it into an untyped value.

Pure; called by `vault.stack.yaml`.  The differences from PyYAML: no base 60 (`22:22` is a string), `yes`, `no`, `on`,
`off` are strings that may still serve as booleans (`BooleanWord`), `0440`, `0o440`, `0x1f`, `0b11` are integers,
`1_000` too, and a date stays a string.
"""

import re

from vault.stack.errors import NotYAML

Scalar = str | int | float | bool | None

STR = "tag:yaml.org,2002:str"
INT = "tag:yaml.org,2002:int"
FLOAT = "tag:yaml.org,2002:float"
BOOL = "tag:yaml.org,2002:bool"
NULL = "tag:yaml.org,2002:null"

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_TRUE = frozenset(["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"])
_FALSE = frozenset(["n", "N", "no", "No", "NO", "off", "Off", "OFF"])
_INTEGERS = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+"), 16),
    (re.compile(r"[-+]?0[bB][01]+"), 2),
    (re.compile(r"[-+]?0[oO][0-7]+"), 8),
    (re.compile(r"[-+]?0[0-7]+"), 8),
    (re.compile(r"[-+]?(?:0|[1-9][0-9]*)"), 10),
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_STARTS_NUMBER = frozenset("+-.0123456789")
_MAX_DIGITS = 400  # Longer than any number that fits a float; beyond it a scalar stays a string.


class BooleanWord(str):
    """An unquoted `yes`, `no`, `on`, `off`, …: a string, and a boolean where one is asked for."""

    __slots__ = ()

    @property
    def truth(self) -> bool:
        """The boolean it stands for."""
        return str(self) in _TRUE


def resolve(text: str) -> Scalar:
    """Return what the unquoted scalar `text` means."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _TRUE or text in _FALSE:
        return BooleanWord(text)
    if text[0] not in _STARTS_NUMBER or len(text) > _MAX_DIGITS:
        return text
    return _number(text)


def resolve_as(tag: str, text: str) -> Scalar:
    """Return what `text` means under an explicit tag.  Raises `NotYAML` when it cannot mean that."""
    if tag == STR:
        return text
    value = resolve(text)
    match value:
        case None:
            given = NULL
        case bool():
            given = BOOL
        case int():
            given = INT
        case float():
            given = FLOAT
        case _:
            given = STR
    if given == tag:
        return value
    if tag == FLOAT and isinstance(value, int):
        return float(value)
    if tag == BOOL and isinstance(value, BooleanWord):
        return value.truth
    raise NotYAML(f"cannot decode {_short(given)} `{text[:32]}` as a {_short(tag)}")


def _number(text: str) -> Scalar:
    """Return the integer or float that `text` is, else `text`."""
    plain = text.replace("_", "")
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(plain):
            number = int(re.sub(r"0[xXoObB]", "", plain, count=1) if base != 10 else plain, base)
            if -(2**63) <= number < 2**64:
                return number
    # Octal digits past 7 (0999) and integers past 64 bits are floats in Go, too.
    if _FLOAT.fullmatch(plain) and (text[0] != "." or "_" not in text):
        number_f = float(plain)
        if number_f not in (float("inf"), float("-inf")):
            return number_f
    return text


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")

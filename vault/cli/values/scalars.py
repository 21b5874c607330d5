"""Readers of plain option values: durations, sizes, CPUs, numbers, labels, filters.  Pure.

What only some need is loaded by those: most commands need none of it, and every one loads this.
"""

import re

# A text, not a compiled pattern: compiling would cost every command's start.
_DECIMAL = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?(/\d+)?"
MAX_INT64 = (1 << 63) - 1


def no_credential_spec(text: str) -> str:
    """Return "", which asks for none; raise `ValueError` for any other."""
    if text:
        raise ValueError("it needs Windows nodes, and all nodes here run Linux: leave it out")
    return text


def duration(text: str) -> int:
    """Return nanoseconds of a Go duration such as `1m30s`, `500ms`, `0`."""
    from vault.model.durations import parse_duration

    return parse_duration(text)


def positive_duration(text: str) -> int:
    """Return nanoseconds of a Go duration that is not negative."""
    found = duration(text)
    if found < 0:
        raise ValueError("duration cannot be negative")
    return found


def byte_size(text: str) -> int:
    """Return bytes of a size such as `64m` or `1GiB`; units are powers of 1024, in any case."""
    from vault.model.sizes import parse_size

    return parse_size(text)


def swap_size(text: str) -> int:
    """Return bytes of swap; -1 is without limit."""
    return -1 if text == "-1" else byte_size(text)


def nano_cpus(text: str) -> int:
    """Return CPUs in units of 1e-9; `.5`, `2`, `1/2`."""
    from fractions import Fraction

    if not re.fullmatch(_DECIMAL, text) or text.endswith("/0"):
        raise ValueError(f"failed to parse {text} as a rational number")
    top, _, bottom = text.partition("/")
    nano = Fraction(top) / int(bottom or 1) * 1_000_000_000
    if nano.denominator != 1:
        raise ValueError("value is too precise")
    return int(nano)


def _go_int(text: str, function: str, base: int, low: int, high: int) -> int:
    body = text[1:] if text[:1] in "+-" and function == "ParseInt" else text
    try:
        if not body or body[0] in "+- " or "_" in body or not body.isascii():
            raise ValueError
        octal = base == 0 and len(body) > 1 and body[0] == "0" and body[1].isdigit()
        value = int(body, 8 if octal else base)
    except ValueError:
        raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax') from None
    value = -value if text[:1] == "-" else value
    if not low <= value <= high:
        raise ValueError(f'strconv.{function}: parsing "{text}": value out of range')
    return value


def unsigned(text: str) -> int:
    """Return a whole number, 0 or more; `0x10` and `010` mean what they mean in Go."""
    return _go_int(text, "ParseUint", 0, 0, (1 << 64) - 1)


def decimal_unsigned(text: str, limit: int = (1 << 64) - 1) -> int:
    """Return a whole number in base 10, 0 or more."""
    return _go_int(text, "ParseUint", 10, 0, limit)


def integer(text: str) -> int:
    """Return a whole number."""
    return _go_int(text, "ParseInt", 0, -MAX_INT64 - 1, MAX_INT64)


def ratio(text: str) -> float:
    """Return a fraction such as 0.25."""
    if not re.fullmatch(_DECIMAL, text) or "/" in text:
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax')
    return float(text)


def command_words(text: str) -> list[str]:
    """Return the words of a command, split as those of a stack file are."""
    from vault.stack.forms import split_command

    return list(split_command(text))


def label(text: str) -> str:
    """Return `key=value` or `key` unchanged; the key is not empty and has no blanks."""
    key = text.partition("=")[0].lstrip(" \t")
    if not key:
        raise ValueError(f"invalid label '{text}': empty name")
    if " " in key or "\t" in key:
        raise ValueError(f"label '{key}' contains whitespaces")
    return text


def pairs(texts: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Return `key=value` texts as a map; a later key wins, a missing value is empty."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def filter_pair(text: str) -> tuple[str, str]:
    """Return name and value of `--filter name=value`."""
    if "=" not in text:
        raise ValueError("bad format of filter (expected name=value)")
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip()

"""Durations in words: nanoseconds as Go, and so Docker, reads and prints them.  Pure."""

import re

# Texts, not compiled patterns: the commands that only print durations need not wait for them.
_NUMBER = r"[0-9]+\.?[0-9]*|\.[0-9]+"
_PART = rf"({_NUMBER})(ns|us|µs|μs|ms|s|m|h)"
_WRONG_UNIT = rf"[-+]?(?:{_PART})*(?:{_NUMBER})([^0-9.]*).*"
_DURATION = rf"[-+]?(?:{_PART})+"
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MAX_INT64 = 2**63 - 1
_MAX_TEXT = 256  # No duration is longer.


def parse_duration(text: str) -> int:
    """Return a duration such as `1m30s` or `500ms` in nanoseconds.  Raises `ValueError` with Go's text."""
    if text in ("0", "+0", "-0"):
        return 0
    if len(text) > _MAX_TEXT or re.fullmatch(_DURATION, text) is None:
        raise ValueError(f'time: {_problem(text[:_MAX_TEXT])} duration "{text[:_MAX_TEXT]}"')
    total = sum(_times(number, _UNITS_NS[unit]) for number, unit in re.findall(_PART, text))
    if total > _MAX_INT64:
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text[0] == "-" else total


def _problem(text: str) -> str:
    wrong = re.fullmatch(_WRONG_UNIT, text, re.DOTALL)
    if wrong is None:
        return "invalid"
    return f'unknown unit "{wrong[3]}" in' if wrong[3] else "missing unit in"


def _times(number: str, unit_ns: int) -> int:
    """Return how many nanoseconds `1.5` of a unit are; what is less than one is cut off."""
    whole, _, fraction = number.partition(".")
    parts: int = 10 ** len(fraction)
    return int(whole or "0") * unit_ns + int(fraction or "0") * unit_ns // parts


def go_duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it: `5s`, `1m0s`, `500ms`, `2160h0m0s`."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 1_000_000_000:
        for unit, factor in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
            if rest < factor * 1000:
                return f"{sign}{_trimmed(rest, factor)}{unit}"
    hours, rest = divmod(rest, 3600 * 1_000_000_000)
    minutes, rest = divmod(rest, 60 * 1_000_000_000)
    text = f"{_trimmed(rest, 1_000_000_000)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _trimmed(count: int, factor: int) -> str:
    whole, rest = divmod(count, factor)
    fraction = str(rest).rjust(len(str(factor)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)

"""Generic resources as people write them: `KIND=NUMBER`, or `KIND=NAME` once for each name.  Pure.

Read by `vaultd --node-generic-resource` and by `vault service create --generic-resource`; the texts are SwarmKit's.
"""

import re
from collections.abc import Iterable

MAX_VALUE = (1 << 63) - 1
_NUMBER = r"[+-]?\d+"


def read(words: Iterable[str]) -> dict[str, int | tuple[str, ...]]:
    """Return kind -> how many, or which.  Raises `ValueError`."""
    found: dict[str, list[str]] = {}
    for word in words:
        kind, equals, value = (part.strip() for part in word.partition("="))
        if not kind or not equals or not value or "=" in value:
            raise _refused(f"incorrect term {word}, missing '=' or malformed expression")
        found.setdefault(kind, []).append(value)
    return {kind: _amount(kind, values) for kind, values in found.items()}


def _amount(kind: str, values: list[str]) -> int | tuple[str, ...]:
    numbers = [int(value) for value in values if re.fullmatch(_NUMBER, value, re.ASCII) and len(value) <= 20]
    if len(values) == 1 and numbers:
        if numbers[0] < 0:
            raise _refused(f"cannot ask for negative resource {kind}")
        if numbers[0] > MAX_VALUE:
            raise _refused(f"more of {kind} than {MAX_VALUE}")
        return numbers[0]
    if numbers or len(set(values)) < len(values):
        raise _refused(f"malformed expression '{kind}=[{' '.join(values)}]': give one number, or names that differ")
    return tuple(values)


def _refused(why: str) -> ValueError:
    return ValueError(f"could not parse GenericResource: {why}")

"""Sizes in words, as Docker reads them (go-units): `50M`, `1.5GiB`.  Pure."""

import re
from fractions import Fraction
from typing import Final

_SIZE: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+) ?([a-zA-Z]*)")
_SUFFIX: Final = re.compile(r"b|([kmgtp])(?:b|ib)?", re.IGNORECASE | re.ASCII)
_MAX_TEXT: Final = 256  # No size is longer.


def parse_size(text: str, *, unit: int = 1024, most_bytes: int = 2**63 - 1) -> int:
    """Return a size in bytes; `k`, `m`, `g`, `t` and `p` are powers of the unit, and `b` or `ib` may follow.

    unit: 1024, or 1000 as for the files of logs.  Raises `ValueError` for what is no size, or is more than most_bytes.
    """
    found = _SIZE.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if found is None:
        raise ValueError(f"invalid size: '{text[:_MAX_TEXT]}'")
    number, suffix = found.groups()
    power = 0
    if suffix:
        known = _SUFFIX.fullmatch(suffix)
        if known is None:
            raise ValueError(f"invalid suffix: '{suffix.lower()}'")
        power = "kmgtp".index(known[1].lower()) + 1 if known[1] else 0
    size_bytes = int(Fraction(number) * unit**power)
    if size_bytes > most_bytes:
        raise ValueError(f"invalid size: '{text}'")
    return size_bytes

"""The shapes of a value: as it is, and as encodings on our paths would carry it.  Pure.

Base64 depends on where in a longer text the value begins, so there is one shape for each of three places, without the
characters at its edges that it shares with its neighbours.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

BLANK_BYTES = 4096
SHORTEST_BYTES = 12  # Of a value: shapes of a shorter one could be found by chance.


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Hit:
    """A value that was found."""

    where: str
    name: str
    form: str

    def __str__(self) -> str:
        return f"{self.name} as {self.form} in {self.where}"


def forms(value: bytes) -> dict[str, bytes]:
    """Return the shapes of a value by name."""
    assert len(value) >= SHORTEST_BYTES, "too short to be told from chance"
    text = value.decode("latin-1")
    found = {
        "bytes": value,
        "hex": value.hex().encode(),
        "HEX": value.hex().upper().encode(),
        "UTF-16": text.encode("utf-16-le"),
        "UTF-32": text.encode("utf-32-le"),
    }
    for before in range(3):
        inner = slice((before * 8 + 5) // 6, (before + len(value)) * 8 // 6)
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            found[f"{name}+{before}"] = encode(bytes(before) + value)[inner]
    # Where two encodings agree, one name is enough.
    return {name: shape for shape, name in {shape: name for name, shape in reversed(found.items())}.items()}


class Needles:
    """All shapes of several values, looked for in one pass."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._shapes = [(name, form, shape) for name, value in values.items() for form, shape in forms(value).items()]
        self.longest = max((len(shape) for *_, shape in self._shapes), default=1)

    def within(self, where: str, pieces: Iterable[bytes]) -> list[Hit]:
        """Return what is in a run of bytes that comes in pieces; each shape once."""
        left, found, tail = list(self._shapes), [], b""
        for piece in pieces:
            # The end of one piece and the start of the next may share a shape.  Of zeros the start is enough.
            joined = tail + (piece[: self.longest] if _blank(piece) else piece)
            here = [one for one in left if one[2] in joined]
            if here:
                found += [Hit(where=where, name=name, form=form) for name, form, _ in here]
                left = [one for one in left if one not in here]
            tail = joined[-self.longest :]
        return found


def _blank(piece: bytes) -> bool:
    """Whether there are only zeros, as in logs and disks that are not written yet."""
    return len(piece) >= BLANK_BYTES and piece == bytes(len(piece))

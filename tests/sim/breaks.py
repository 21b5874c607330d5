"""Deciders broken on purpose: what `breaks.txt` says, in its own words."""

from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("breaks.txt")


class DoesNotFit(Exception):
    """The text of a break is not, or not only once, in the code: mend the list."""


@dataclass(frozen=True, slots=True)
class Break:
    """One edit, and what it does in words."""

    name: str
    path: str  # Below `vault/`.
    old: str
    new: str

    def applied(self, code: str) -> str:
        """Return a file's code, broken.  Raises `DoesNotFit`."""
        if (times := code.count(self.old)) != 1:
            raise DoesNotFit(f"{self.name}: the text to change is {times} times in {self.path}")
        return code.replace(self.old, self.new)


def listed() -> list[Break]:
    """Return every break, in the order of the list; what comes before the first file is for readers."""
    breaks, path = [], ""
    for part in LIST.read_text().split("\n\n"):
        lines = part.splitlines()
        mark = lines[0][0]
        if mark == "@" and len(lines) == 1:
            path = lines[0][2:]
        elif mark == "#":
            old, new = ("\n".join(line[2:] for line in lines if line[0] == one) for one in "-+")
            breaks.append(Break(lines[0][2:], path, old, new))
    return breaks

"""How a command line splits into flags and arguments.  Pure; follows Go's pflag, which Docker's users know.

`--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, clusters of switches (`-it`), `--switch=false`, and
`--` to end them.  `command` calls it for each command.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vault.cli.errors import UsageProblem


class Flag(NamedTuple):
    """One flag a command knows."""

    name: str  # Long name without dashes.
    short: str = ""  # One letter, or "".
    switch: bool = False  # Whether it may stand without a value, and then means true.

    @property
    def shown(self) -> str:
        """How messages name it: `-l, --label`, or `--label`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Split(NamedTuple):
    """The flags given, in order, and the arguments."""

    given: list[tuple[Flag, str]]
    arguments: list[str]


def split(words: Sequence[str], flags: Iterable[Flag], *, interspersed: bool = True) -> Split:
    """Split a command line.  Without `interspersed`, everything from the first argument on is an argument.

    Raises `UsageProblem` with Docker's text for unknown flags and missing values.
    """
    known = list(flags)
    by_name = {flag.name: flag for flag in known}
    by_short = {flag.short: flag for flag in known if flag.short}
    given: list[tuple[Flag, str]] = []
    arguments: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            break
        if len(word) < 2 or word[0] != "-":
            arguments.append(word)
            if not interspersed:
                arguments += rest
                break
        elif word.startswith("--"):
            given.append(_long(word, rest, by_name))
        else:
            given += _cluster(word[1:], rest, by_short)
    return Split(given, arguments)


def _long(word: str, rest: list[str], known: Mapping[str, Flag]) -> tuple[Flag, str]:
    name, equals, value = word[2:].partition("=")
    if not name or name[0] == "-":
        raise UsageProblem(f"bad flag syntax: {word}")
    flag = known.get(name)
    if flag is None:
        raise UsageProblem(f"unknown flag: --{name}")
    if equals:
        return flag, value
    if flag.switch:
        return flag, "true"
    if not rest:
        raise UsageProblem(f"flag needs an argument: --{name}")
    return flag, rest.pop(0)


def _cluster(letters: str, rest: list[str], known: Mapping[str, Flag]) -> list[tuple[Flag, str]]:
    found: list[tuple[Flag, str]] = []
    left = letters
    while left:
        letter, left = left[0], left[1:]
        flag = known.get(letter)
        if flag is None:
            raise UsageProblem(f"unknown shorthand flag: {letter!r} in -{letters}")
        if left.startswith("=") and len(left) > 1:
            found.append((flag, left[1:]))
            return found
        if flag.switch:
            found.append((flag, "true"))
        elif left:
            found.append((flag, left))
            return found
        elif rest:
            found.append((flag, rest.pop(0)))
        else:
            raise UsageProblem(f"flag needs an argument: {letter!r} in -{letters}")
    return found

"""What can go wrong with a lab, named for the condition."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from vault.model.errors import VaultError


class LabError(VaultError):
    """Something about a lab that a person can be told in one sentence."""


class BadPlan(LabError):
    """A lab of that form cannot be made."""


class LabExists(LabError):
    """There is a lab of that name, whole or in parts."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a lab named {name!r} is there already: use it, end it with `{command('down', name)}`")
        self.name = name


class NoSuchLab(LabError):
    """There is no lab of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no lab named {name!r}: start it with `{command('up', name)}`")
        self.name = name


class Broken(LabError):
    """A restart of the machine has taken the lab's network away, or it was never finished."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the lab {name!r} has no network, since the machine was restarted or `up` was killed: "
            f"end it with `{command('down', name)}`"
        )
        self.name = name


class LabBusy(LabError):
    """Another command has been changing the lab all the time that was waited for."""

    def __init__(self, name: str) -> None:
        super().__init__(f"another command is changing the lab {name!r}: wait until it has ended, then try again")
        self.name = name


class NoSuchNode(LabError):
    """The lab has no node of that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no node {name!r} in the lab: use one of {', '.join(known)}")
        self.name = name


class ProgramFailed(LabError):
    """A program that the lab needs is missing or has refused."""

    def __init__(self, program: str, why: str) -> None:
        super().__init__(f"{program}: {why}")
        self.program = program
        self.why = why


class NotAnswering(LabError):
    """A vaultd has ended or does not answer."""

    def __init__(self, node: str, why: str, log: Path) -> None:
        super().__init__(f"vaultd on {node} {why}: see {log}")
        self.node = node
        self.log = log


class CommandFailed(LabError):
    """A `vault` command that had to succeed has not."""

    def __init__(self, node: str, words: Sequence[str], said: str) -> None:
        # The words that name the command, and no others: there may be a token among them.
        super().__init__(f"`vault {' '.join(words[:2])}` failed on {node}: {said}")
        self.node = node
        self.said = said


def command(verb: str, name: str) -> str:
    """Return the command line of a verb for the lab of that name."""
    return f"vault lab {verb}" if name == "lab" else f"vault lab {verb} --name {name}"

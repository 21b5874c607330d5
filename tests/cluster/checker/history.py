"""What clients did and saw, one operation a line of JSON: the only thing that passes from a run to the checker."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec


class Kind(StrEnum):
    """What a client asked for."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"  # Of labels, under the version that was read before.
    REMOVE = "remove"


class Outcome(StrEnum):
    """What the client knows afterwards."""

    DONE = "done"
    EXISTS = "exists"  # A create: the name was taken.
    ABSENT = "absent"  # There was no such secret.
    STALE = "stale"  # An update: the version was no longer the newest.
    REFUSED = "refused"  # The server said that it did nothing, or was never reached.
    UNKNOWN = "unknown"  # No answer, or one that says so: it may have happened, may still happen, or never.


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of one client for one secret."""

    client: int
    node: str  # The manager that was asked.
    kind: Kind
    key: str  # Name of the secret.
    called_ns: int  # By the monotonic clock of the one machine on which all clients run.
    returned_ns: int  # Of an operation whose outcome is unknown: when the client gave up.
    outcome: Outcome
    by: str = ""  # The id by which it was asked for; "" by name.
    version: int = 0  # Update: the version that it must replace.
    label: str = ""  # Create and update: what it writes, never the same twice.
    id: str = ""  # What was answered: id,
    index: int = 0  # version,
    seen: str = ""  # and label.
    said: str = ""  # The first words of a refusal.

    @property
    def decided(self) -> bool:
        """Whether it took effect, or was answered, within its interval."""
        return self.outcome is not Outcome.UNKNOWN

    @property
    def counts(self) -> bool:
        """Whether it says anything about the store; a refused one, and a read without an answer, do not."""
        return self.outcome is not Outcome.REFUSED and (self.decided or self.kind is not Kind.READ)

    def __str__(self) -> str:
        asked = f"{self.kind} {self.key}" + (f" by {self.by}" if self.by else "")
        if self.kind is Kind.UPDATE:
            asked += f" at {self.version}"
        if self.label:
            asked += f" to {self.label}"
        answer = f"{self.outcome}" + "".join(f" {part}" for part in (self.id, self.index or "", self.seen) if part)
        times = f"{self.called_ns / 1e9:.4f}..{self.returned_ns / 1e9:.4f}" if self.decided else (
            f"{self.called_ns / 1e9:.4f}..")  # fmt: skip
        return f"[{times}] client {self.client} at {self.node}: {asked} -> {answer}"


def write(path: Path, operations: Iterable[Operation]) -> None:
    """Write a history."""
    with path.open("wb") as file:
        for one in operations:
            file.write(msgspec.json.encode(one) + b"\n")


def read(path: Path) -> Iterator[Operation]:
    """Read a history."""
    decoder = msgspec.json.Decoder(Operation)
    with path.open("rb") as file:
        for line in file:
            yield decoder.decode(line)

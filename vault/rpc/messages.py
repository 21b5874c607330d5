"""What managers and nodes say to each other: assignments one way, reports the other.

Frozen structs, sent as MessagePack on a stream and as they are within one process.  A node's stream starts with a full
set; differences follow, each naming the one it builds on, so that a gap is noticed.
"""

import msgspec

from vault.model.ids import Kind
from vault.model.task import Task, TaskStatus


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message on a node's stream."""


class SealedValue(Message, frozen=True, kw_only=True):
    """The value of one secret or config, sealed to one node (HPKE); prints no bytes of it."""

    kind: Kind  # SECRET or CONFIG
    id: str
    name: str
    version: int
    templating: str = ""  # "golang": the value is a template.
    payload: bytes = b""

    def __repr__(self) -> str:
        return f"SealedValue({self.kind} {self.id}, {len(self.payload)} bytes)"


class Assignments(Message, frozen=True, kw_only=True):
    """What a node has to do: everything (`full`), or what changed since message `applies_to`."""

    full: bool
    generation: int  # Epoch of the sender, first part.
    counter: int  # Epoch of the sender, second part.
    applies_to: int  # Sequence of the message before; 0 for a full set.
    sequence: int  # 1, 2, … within one session.
    put_tasks: tuple[Task, ...] = ()
    remove_tasks: tuple[str, ...] = ()
    put_values: tuple[SealedValue, ...] = ()
    remove_values: tuple[tuple[Kind, str], ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return not (self.full or self.put_tasks or self.remove_tasks or self.put_values or self.remove_values)


class Report(Message, frozen=True, kw_only=True):
    """What a node observed of its tasks; the newest status of each."""

    statuses: tuple[tuple[str, TaskStatus], ...]

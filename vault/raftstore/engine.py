"""The port between the store and the engine that makes its records durable.

An engine holds byte strings under keys, and one more: head.  It knows nothing of what they mean.  Every commit is one
transaction with one condition, that head still is what the committer last saw; so a commit of a deposed leader fails
however late it arrives.  Implemented in `vault.raftstore.engines`; used by `vault.raftstore.store` and `load`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from vault.model.errors import Unavailable


class Write(NamedTuple):
    """What a key shall hold after the commit; None = nothing."""

    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One transaction: if head is `expected` (None = there is none yet), apply `writes` and make head `head`."""

    expected: bytes | None
    head: bytes
    writes: Sequence[Write]


@dataclass(frozen=True, slots=True)
class Member:
    """A manager that takes part in the engine."""

    name: str
    leads: bool


class HeadMoved(Unavailable):
    """Another leader has committed; nothing of this commit was applied."""

    def __init__(self) -> None:
        super().__init__("another manager leads the swarm now: try again")


class EngineStopped(Unavailable):
    """The engine can promise nothing more: it was closed, or the disk failed it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the store has stopped ({why}): see the log, and start vaultd again")
        self.why = why


class Engine(Protocol):
    """Keeps records.  Keys are ASCII, at most 255 bytes; values at most 16 MiB."""

    async def head(self) -> bytes | None:
        """Return head; None = nothing was ever committed."""
        ...

    def load(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """Yield all records at one head, in no order, page by page (about 1 MiB each).

        Raises `HeadMoved` when a commit came between the pages, and `StoreDamaged`.
        """
        ...

    async def get(self, key: str) -> bytes | None:
        """Return one record as of every commit that was asked for before."""
        ...

    def commit(self, make: Callable[[], Commit]) -> Awaitable[Commit]:
        """Commit durably what `make` returns, and return it.  Commits are applied in the order they are asked for.

        `make` is called once, off the event loop; what it raises is raised here and nothing is written.
        Raises `HeadMoved` (condition not met, nothing written), `DiskFull` (nothing written, the engine serves on),
        `OutcomeUnknown` (the engine has stopped, reading after a restart tells) and `EngineStopped`.
        """
        ...

    async def members(self) -> Sequence[Member]:
        """Return who takes part."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, and let go of everything.  A second call does nothing."""
        ...

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


class Seen(NamedTuple):
    """A commit as `watch` shows it, whoever made it."""

    head: bytes  # After it.
    writes: Sequence[Write]


class Beat(NamedTuple):
    """What whoever leads last said of itself; see `Engine.beat`."""

    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A manager that takes part in the engine."""

    id: int  # The engine's own number of it.
    name: str  # The node's id; "" = added, and never started.
    peer_url: str = ""  # "https://10.77.0.1:2380"
    learner: bool = False  # It receives everything, and does not count for quorum.
    leads: bool = False  # In the engine's own consensus.


class HeadMoved(Unavailable):
    """Another leader has committed; nothing of this commit was applied."""

    def __init__(self) -> None:
        super().__init__("another manager leads the swarm now: try again")


class EngineStopped(Unavailable):
    """The engine can promise nothing more: it was closed, or the disk failed it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the store has stopped ({why}): see the log, and start vaultd again")
        self.why = why


class MemberRemoved(EngineStopped):
    """The others have ended this manager's part in the engine: what it holds of the store is of no more use to them."""

    def __init__(self) -> None:
        super().__init__("this manager was removed from the swarm's managers")


def cause_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one of several errors at one time that tells most of why a store stopped."""

    def vagueness(error: BaseException) -> int:
        return 1 + (not isinstance(error, MemberRemoved)) if isinstance(error, EngineStopped) else 0

    return min(errors.exceptions, key=vagueness)


class WatchLost(Unavailable):
    """What came between is not kept any more, or cannot be told: read everything again."""

    def __init__(self) -> None:
        super().__init__("this manager fell behind the others: it reads the store again")


class NotSupported(Unavailable):
    """This engine has one member, and always will have."""

    def __init__(self) -> None:
        super().__init__("the store of this swarm has one manager: promote or join another manager first")


class Reading(Protocol):
    """All records as of one head."""

    @property
    def head(self) -> bytes | None:
        """That head; None = nothing was ever committed."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return one record, or None.  Raises `HeadMoved` if the engine cannot go back to that head any more."""
        ...

    def pages(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """Yield all records but head, in no order, page by page (about 1 MiB each).

        Raises `HeadMoved` as `get` does, and `StoreDamaged`.
        """
        ...


class Engine(Protocol):
    """Keeps records.  Keys are ASCII, at most 255 bytes; values at most 16 MiB.

    Whatever waits for other members has a limit, after which it raises `Unavailable`.
    """

    async def head(self) -> bytes | None:
        """Return head as of some moment after the call (linearizable); None = nothing was ever committed."""
        ...

    async def read(self) -> Reading:
        """Return all records at a head no older than the call."""
        ...

    def watch(self, after: Reading) -> AsyncIterator[Sequence[Seen | Beat]]:
        """Yield what came after a reading, in order and without gaps, in bunches as it arrives; never ends.

        Raises `WatchLost`, or `EngineStopped`.  An engine of one member yields nothing that others did.
        """
        ...

    async def beat(self, payload: bytes) -> None:
        """Tell all members' watches who leads; unconditional, and no commit.  payload: at most 64 bytes."""
        ...

    async def raft_leads(self) -> bool:
        """Return whether the member beside this process leads the engine's own consensus, by what it knows itself."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return one record as of every commit that was asked for before."""
        ...

    def commit(self, make: Callable[[], Commit], *, brief: bool = False) -> Awaitable[Commit]:
        """Commit durably what `make` returns, and return it.  Commits are applied in the order they are asked for.

        `make` is called once, in a thread unless it is `brief`; what it raises is raised here and nothing is written.
        Raises `HeadMoved` (condition not met, nothing written), `DiskFull` (nothing written, the engine serves on),
        `OutcomeUnknown` (the engine has stopped, reading after a restart tells) and `EngineStopped`.
        """
        ...

    async def members(self) -> Sequence[Member]:
        """Return who takes part."""
        ...

    async def add_member(self, peer_url: str) -> Member:
        """Let a member that is yet to be started take part, as a learner.  Raises `Unavailable` or `NotSupported`."""
        ...

    async def promote_member(self, member_id: int) -> None:
        """Let a learner that has caught up vote.  Raises `Unavailable` (not yet: try again) or `NotSupported`."""
        ...

    async def remove_member(self, member_id: int) -> None:
        """End a member's part; one that is gone already is no error.  Raises `Unavailable` or `NotSupported`."""
        ...

    async def transfer(self, member_id: int) -> None:
        """Hand the lead of the engine's own consensus to a member.  Raises `Unavailable` or `NotSupported`."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, and let go of everything.  A second call does nothing."""
        ...

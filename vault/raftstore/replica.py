"""The replica: ledger and newest committed snapshot of this manager, whoever leads, and who waits for newer ones.

While this manager leads, its writer moves it on, one commit at a time; otherwise what the engine's watch shows.
Values of secrets and configs are not in it.  Lives on one event loop.  Called by `vault.raftstore.leadership`,
`writer` and `store`.
"""

import asyncio
from collections.abc import Sequence

from vault.raftstore.applying import applied, bunches
from vault.raftstore.clock import Clock
from vault.raftstore.engine import Seen, WatchLost
from vault.raftstore.head import peek
from vault.raftstore.keys import KEYRING_KEY
from vault.raftstore.ledger import Ledger, Sealed
from vault.raftstore.load import Loaded
from vault.store.snapshot import Snapshot


class Replica:
    """What is committed, as far as this manager knows."""

    def __init__(self, ledger: Ledger, committed: Snapshot, clock: Clock) -> None:
        self.ledger = ledger
        self.committed = committed
        self.clock = clock
        self.moving = asyncio.Lock()  # Held by whoever moves the replica on, unless it leads.
        self._readers: list[asyncio.Future[None]] = []  # Done at the next commit, or the end.

    async def changed(self) -> None:
        """Wait for the next commit, or for another reason to look again."""
        reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers.append(reader)
        await reader

    def wake(self) -> None:
        """Let everybody who waits look again."""
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)

    def accept(self, sealed: Sealed, after: Snapshot) -> None:
        """Take over a commit of our own that has become durable; the caller wakes who waits."""
        self.ledger.accept(sealed)
        self.committed = after

    async def take(self, news: Sequence[Seen]) -> None:
        """Take over what others have committed; what is known already is passed over.

        Raises `WatchLost` when a commit is missing, or `StoreDamaged` naming a record.
        """
        place = self.ledger.head.index
        fresh = [seen for seen in news if peek(seen.head)[1] > place]
        for expected, seen in enumerate(fresh, start=place + 1):
            if peek(seen.head)[1] != expected:
                raise WatchLost
        for bunch in bunches(fresh):
            for write in bunch[0].writes:
                if write.key == KEYRING_KEY:
                    self.ledger.take_keyring(write.value)
            after = await applied(self.ledger, self.committed, bunch)
            self.ledger.take(after.head, after.head_bytes, after.parts, after.older)
            self.clock.saw(after.newest.timestamp())
            self.committed = after.snapshot
            self.wake()

    def begin_again(self, loaded: Loaded) -> None:
        """Put what was loaded anew in place of everything known."""
        self.ledger, self.committed = loaded.ledger, loaded.snapshot
        self.clock.saw(loaded.newest.timestamp())
        self.wake()

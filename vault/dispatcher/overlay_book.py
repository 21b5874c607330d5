"""One network's endpoints and services in the order in which they changed, so that telling can go on from any number.

Pure.  Used by `vault.dispatcher.overlays`.  Adding costs the same however much there is, and reading on costs what was
added since.  What is gone is remembered for a while, so that those who knew it hear of it; who is too far behind for
that (`floor`) begins again.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from vault.model.overlay import EncryptionPeer, OverlayEndpoint, OverlayService

GONE_KEPT: Final = 1024  # At least so many that are gone are remembered; or as many as there are entries.
SLACK: Final = 64  # Notes in the log that no longer count, beyond as many as those that do.

EndpointKey = tuple[str, str]  # Task ("" for a node's own place) and node.
Key = str | EndpointKey  # A service, or the node of an encryption peer; an endpoint.
Value = OverlayEndpoint | OverlayService | EncryptionPeer

_encode = msgspec.msgpack.Encoder().encode


class Entry(NamedTuple):
    """What is known under a key, and how large it is in a message."""

    value: Value
    size_bytes: int


class Book:
    """Entries by key, and a log of which changed when."""

    def __init__(self, sequence: int) -> None:
        """sequence: the number of its beginning; what was told at smaller ones is not of this book."""
        self.floor = self.last = sequence  # Who was told less than `floor` begins again.
        self.entries: dict[Key, Entry] = {}
        self._changed: dict[Key, int] = {}  # When it changed last; those that are gone, too.
        self._log: list[tuple[int, Key]] = []  # Ascending; notes that a later one made void are skipped.

    def put(self, key: Key, value: Value | None, sequence: int) -> bool:
        """Note what is known under a key from now on, None for nothing; return whether that is a change."""
        before = self.entries.get(key)
        if (None if before is None else before.value) == value:
            return False
        if value is None:
            del self.entries[key]
        else:
            self.entries[key] = Entry(value, len(_encode(value)))
        self._changed[key] = self.last = sequence
        self._log.append((sequence, key))
        if len(self._log) > 2 * len(self._changed) + SLACK or len(self._changed) > self._kept_at_most():
            self._tidy()
        return True

    def since(self, sequence: int) -> Iterator[tuple[int, Key, Entry | None]]:
        """Yield what changed after a number, in that order: when, which, and what it is now, None when it is gone."""
        for number in range(bisect_right(self._log, sequence, key=lambda note: note[0]), len(self._log)):
            at, key = self._log[number]
            if self._changed.get(key) == at:
                yield at, key, self.entries.get(key)

    def _kept_at_most(self) -> int:
        """Return how many keys are remembered before the oldest of those that are gone are forgotten."""
        return len(self.entries) + 2 * max(GONE_KEPT, len(self.entries))

    def _tidy(self) -> None:
        """Drop void notes; and the older of those that are gone, once there are too many."""
        self._log = [(at, key) for at, key in self._log if self._changed.get(key) == at]
        if len(self._changed) <= self._kept_at_most():
            return
        gone = [(at, key) for at, key in self._log if key not in self.entries]
        forgotten = gone[: len(gone) - max(GONE_KEPT, len(self.entries))]
        for self.floor, key in forgotten:
            del self._changed[key]
        self._log = [(at, key) for at, key in self._log if key in self._changed]

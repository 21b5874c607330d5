"""Applying what another manager has committed: opened, counted, and believed only if the sum in head agrees.

A bunch of commits is applied as one: of a record that several of them wrote only the last version is opened, because
the sum in the last head is that of the records then live, however they came to be.  A new keyring ends a bunch, and is
taken over before anything behind it is opened.  Changes nothing; gives way to others on the event loop as it goes.
Called by `vault.raftstore.replica`.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vault.model.base import EPOCH
from vault.raftstore.codec import unframe, unseal
from vault.raftstore.engine import Seen
from vault.raftstore.head import Head, Part, Tally, decode_head, peek
from vault.raftstore.keys import KEYRING_KEY, OBJECT_KINDS, is_value, split
from vault.raftstore.ledger import Ledger
from vault.raftstore.load import difference
from vault.store.snapshot import Draft, Snapshot

BUNCH_WRITES: Final = 512  # After which what was applied is shown to readers.
TURN_RECORDS: Final = 64  # Opened in one turn of the event loop: some 3 ms.
TURN_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The state after a bunch."""

    head: Head
    head_bytes: bytes
    parts: Mapping[str, Part | None]
    older: Set[str]  # Keys in `parts` of records under an older term.
    snapshot: Snapshot
    newest: datetime  # The last time that one of the objects was written.


def bunches(news: Sequence[Seen]) -> Iterator[Sequence[Seen]]:
    """Yield commits in order, in bunches of one at least; one with a keyring is alone."""
    bunch: list[Seen] = []
    writes = 0
    for seen in news:
        alone = any(write.key == KEYRING_KEY for write in seen.writes)
        if bunch and (alone or writes + len(seen.writes) > BUNCH_WRITES):
            yield bunch
            bunch, writes = [], 0
        bunch.append(seen)
        writes += len(seen.writes)
        if alone:
            yield bunch
            bunch, writes = [], 0
    if bunch:
        yield bunch


async def applied(ledger: Ledger, before: Snapshot, bunch: Sequence[Seen]) -> Applied:
    """Return the state after a bunch that follows on the ledger's; raises `StoreDamaged` naming what is wrong."""
    head = decode_head(ledger.integrity, bunch[-1].head)
    values: dict[str, bytes | None] = {}
    for seen in bunch:
        values.update(seen.writes)
    draft, tally, newest = Draft(before), ledger.head.tally, EPOCH
    parts: dict[str, Part | None] = {}
    older: set[str] = set()
    turn = _Turn()
    for key, framed in values.items():
        if turn.is_over(0 if framed is None else len(framed)):
            tally = _counted(ledger, tally, parts, turn.keys)
            await turn.give_way()
        turn.keys.append(key)
        kind = OBJECT_KINDS.get(split(key)[0])
        if framed is None:
            parts[key] = None
            if kind is not None:
                draft.take(kind, split(key)[1], None)
            continue
        part, obj, is_older = ledger.record(key, framed)
        known, parts[key] = ledger.live.get(key), part
        if is_older:
            older.add(key)
        if obj is not None and kind is not None and (known is None or known.at != part.at):
            draft.take(kind, obj.id, obj)
            newest = max(newest, obj.updated_at)
    tally = _counted(ledger, tally, parts, turn.keys)
    if tally != head.tally:
        _name_damaged_value(ledger, values)
        raise difference(ledger.live.keys() | parts.keys(), head.tally, tally)
    for seen in bunch[:-1]:  # No reader ever saw the snapshots between.
        before.log.note(peek(seen.head)[1], {})
    snapshot = draft.finish(head.index)
    return Applied(head=head, head_bytes=bunch[-1].head, parts=parts, older=older, snapshot=snapshot, newest=newest)


def _name_damaged_value(ledger: Ledger, values: Mapping[str, bytes | None]) -> None:
    """Raise `StoreDamaged` for the first value that does not open."""
    for key, framed in values.items():
        if framed is not None and is_value(key):
            unseal(ledger.keyring, ledger.cluster_id, key, *unframe(key, framed))


def _counted(ledger: Ledger, tally: Tally, parts: Mapping[str, Part | None], keys: Sequence[str]) -> Tally:
    """Return the tally with what became of `keys`."""
    gone = [(key, part) for key in keys if (part := ledger.live.get(key)) is not None]
    come = [(key, part) for key in keys if (part := parts[key]) is not None]
    return tally.changed(gone, come)


class _Turn:
    """How much was done since others had their turn; counted in work, not time, so that a test run repeats."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._size_bytes = 0

    def is_over(self, more_bytes: int) -> bool:
        self._size_bytes += more_bytes
        return len(self.keys) >= TURN_RECORDS or self._size_bytes > TURN_BYTES

    async def give_way(self) -> None:
        self.keys, self._size_bytes = [], 0
        await asyncio.sleep(0)

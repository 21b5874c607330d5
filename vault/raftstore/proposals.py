"""What was asked for and is not committed yet: the proposed snapshot, and batches that wait for the engine.

A caller's changes are applied to the proposed snapshot at once, so that the next caller sees them.  A batch is one
commit: it writes no key twice and holds at most 512 writes and 1 MiB, or one caller's alone of up to 8 MiB.
Not pure (it keeps the queue), but synchronous and without I/O.  Called by `vault.raftstore.store`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from vault.crypto.keyring import Keyring
from vault.model.errors import VaultError
from vault.model.ids import Kind
from vault.raftstore import codec
from vault.raftstore.keys import VALUE_KINDS, Place, object_place, value_place
from vault.raftstore.ledger import Content, Sealed
from vault.store.changes import Atomic, Change, Delete, Put, PutValue, kind_of
from vault.store.snapshot import Snapshot, Stale

BATCH_WRITES: Final = 512
BATCH_BYTES: Final = 1024 * 1024
CALLER_WRITES: Final = 8192
CALLER_BYTES: Final = 8 * 1024 * 1024


class TooLarge(VaultError):
    """One caller's changes do not fit one commit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self) -> None:
        super().__init__("the change is larger than the store takes at once (8 MiB): make it in parts")


@dataclass(slots=True, kw_only=True)
class Batch:
    """One commit to be."""

    index: int
    after: Snapshot  # As proposed by its last caller.
    contents: dict[Place, Content] = field(default_factory=dict)
    size_bytes: int = 0
    waiters: list["asyncio.Future[int]"] = field(default_factory=list)
    keyring: Keyring | None = None  # A new one, to be committed with it.
    sealed: Sealed | None = None

    def accepts(self, places: Sequence[Place], size_bytes: int) -> bool:
        """Return whether another caller's writes fit in."""
        return not (self.contents or self.keyring) or (
            len(self.contents) + len(places) <= BATCH_WRITES
            and self.size_bytes + size_bytes <= BATCH_BYTES
            and self.contents.keys().isdisjoint(places)
        )


class Proposals:
    """The proposed snapshot and the queue of batches behind it."""

    def __init__(self, committed: Snapshot, now: Callable[[], float]) -> None:
        self.proposed = committed
        self.queue: deque[Batch] = deque()
        self._now = now
        self._last_index = committed.index

    def add(self, changes: Sequence[Change | Atomic]) -> Batch:
        """Apply one caller's changes to the proposed snapshot and put them in a batch.

        Raises `Stale` or `TooLarge`; nothing is proposed then.
        """
        singles = list(flat(changes))
        places = [place for change in singles for place in places_of(change)]
        _check_once(places)
        batch = self.queue[-1] if self.queue and self.queue[-1].accepts(places, 0) else self._fresh()
        after, contents, size_bytes = self._applied(singles, batch.index)
        if not batch.accepts(places, size_bytes):
            batch = self._fresh()
            after, contents, size_bytes = self._applied(singles, batch.index)
        if len(contents) > CALLER_WRITES or size_bytes > CALLER_BYTES:
            raise TooLarge
        if not self.queue or self.queue[-1] is not batch:
            self.queue.append(batch)
            self._last_index = batch.index
        batch.contents.update(contents)
        batch.size_bytes += size_bytes
        batch.after = self.proposed = after
        return batch

    def add_keyring(self, keyring: Keyring) -> Batch:
        """Put a new keyring in a batch of its own."""
        batch = self._fresh()
        batch.keyring = keyring
        batch.after = self.proposed = self.proposed.apply((), index=batch.index, now_s=self._now())
        self.queue.append(batch)
        self._last_index = batch.index
        return batch

    def reset(self, committed: Snapshot) -> list[Batch]:
        """Forget everything that is not committed; return the batches that waited."""
        waiting = list(self.queue)
        self.queue.clear()
        self.proposed, self._last_index = committed, committed.index
        return waiting

    def _fresh(self) -> Batch:
        return Batch(index=self._last_index + 1, after=self.proposed)

    def _applied(self, changes: list[Change], index: int) -> tuple[Snapshot, dict[Place, Content], int]:
        after = self.proposed.apply(changes, index=index, now_s=self._now())
        contents: dict[Place, Content] = {}
        for change in changes:
            match change:
                case Put(obj=obj):
                    kind = kind_of(obj)
                    stored = after.objects[kind][obj.id]
                    contents[object_place(kind, obj.id)] = codec.encode(stored)
                case PutValue(kind=kind, id=object_id, value=value):
                    assert object_id in after.objects[kind], "a value goes with its object"
                    contents[value_place(kind, object_id)] = value
                case Delete():
                    contents.update(dict.fromkeys(places_of(change)))
        return after, contents, sum(len(content) for content in contents.values() if content is not None)


def flat(changes: Iterable[Change | Atomic]) -> Iterable[Change]:
    """Return single changes, in order."""
    for change in changes:
        if isinstance(change, Atomic):
            yield from change.changes
        else:
            yield change


def places_of(change: Change) -> tuple[Place, ...]:
    """Return the records a change writes; a secret or config takes its value along when it is deleted."""
    match change:
        case Put(obj=obj):
            return (object_place(kind_of(obj), obj.id),)
        case PutValue(kind=kind, id=object_id):
            return (value_place(kind, object_id),)
        case Delete(kind=kind, id=object_id):
            return (object_place(kind, object_id), *_values(kind, object_id))


def _check_once(places: Sequence[Place]) -> None:
    """Raise `Stale` for the first place that is written a second time."""
    seen: set[Place] = set()
    for place in places:
        if place in seen:
            raise Stale(place.object_kind, place.id)
        seen.add(place)


def _values(kind: Kind, object_id: str) -> tuple[Place, ...]:
    return (value_place(kind, object_id),) if kind in VALUE_KINDS else ()

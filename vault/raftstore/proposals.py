"""What was asked for and is not committed yet: the proposed snapshot, and batches that wait for the engine.

A caller's changes are applied to the proposed snapshot at once, so that the next caller sees them.  A batch is one
commit: it writes no key twice and holds at most 512 writes and 1 MiB, or one caller's alone of up to 8 MiB.
Not pure (it keeps the queue), but synchronous and without I/O.  Called by `vault.raftstore.store`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from vault.crypto.keyring import Keyring
from vault.model.errors import Unavailable, VaultError
from vault.raftstore import codec
from vault.raftstore.keys import VALUE_KINDS, kind_in, object_key, split, value_key
from vault.raftstore.ledger import Content, Sealed
from vault.store.changes import Atomic, Change, Delete, Put, PutValue, kind_of
from vault.store.snapshot import Snapshot, Stale

BATCH_WRITES: Final = 512
BATCH_BYTES: Final = 1024 * 1024
QUEUE_BATCHES: Final = 256
CALLER_WRITES: Final = 8192
CALLER_BYTES: Final = 8 * 1024 * 1024


class TooLarge(VaultError):
    """One caller's changes do not fit one commit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self) -> None:
        super().__init__("the change is larger than the store takes at once (8 MiB): make it in parts")


class Busy(Unavailable):
    """More is asked for than the disk takes."""

    def __init__(self) -> None:
        super().__init__("the store is behind with writing: try again in a moment")


@dataclass(slots=True, kw_only=True)
class Batch:
    """One commit to be."""

    index: int
    after: Snapshot  # As proposed by its last caller.
    contents: dict[str, Content] = field(default_factory=dict)
    size_bytes: int = 0
    waiters: list["asyncio.Future[int]"] = field(default_factory=list)
    keyring: Keyring | None = None  # A new one, to be committed with it.
    sealed: Sealed | None = None

    def accepts(self, contents: Mapping[str, Content], size_bytes: int) -> bool:
        """Return whether another caller's writes fit in."""
        return not (self.contents or self.size_bytes) or (  # Removals have no size.
            len(self.contents) + len(contents) <= BATCH_WRITES
            and self.size_bytes + size_bytes <= BATCH_BYTES
            and self.contents.keys().isdisjoint(contents)
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

        Raises `Stale`, `TooLarge` or `Busy`; nothing is proposed then.
        """
        batch = self.queue[-1] if self.queue else self._fresh()
        after, contents, size_bytes = self._applied(changes, batch.index)
        if not batch.accepts(contents, size_bytes):
            batch = self._fresh()
            after, contents, size_bytes = self._applied(changes, batch.index)
        if len(contents) > CALLER_WRITES or size_bytes > CALLER_BYTES:
            raise TooLarge
        if batch.index > self._last_index:
            self.queue.append(batch)
            self._last_index = batch.index
        batch.contents.update(contents)
        batch.size_bytes += size_bytes
        batch.after = self.proposed = after
        return batch

    def add_records(self, contents: Mapping[str, Content], keyring: Keyring | None) -> Batch:
        """Put records that no snapshot shows in a batch of its own: some sealed anew, or a new keyring."""
        batch = self._fresh()
        batch.contents, batch.keyring = dict(contents), keyring
        batch.size_bytes = BATCH_BYTES  # Nobody else gets in.
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
        if len(self.queue) >= QUEUE_BATCHES:
            raise Busy
        return Batch(index=self._last_index + 1, after=self.proposed)

    def _applied(self, changes: Sequence[Change | Atomic], index: int) -> tuple[Snapshot, dict[str, Content], int]:
        """Return the snapshot after `changes`, the records that they write, and the size of those."""
        after = self.proposed.apply(changes, index=index, now_s=self._now())
        contents: dict[str, Content] = {}
        size_bytes = 0
        for change in flat(changes):
            for key, content in _records(change, after):
                if key in contents:  # One caller writes a key once.
                    raise Stale(kind_in(key), split(key)[1])
                contents[key] = content
                size_bytes += 0 if content is None else len(content)
        return after, contents, size_bytes


def _records(change: Change, after: Snapshot) -> Sequence[tuple[str, Content]]:
    """Return the records that a change writes; a secret or config takes its value along when it goes."""
    match change:
        case Put(obj=obj):
            kind = kind_of(obj)
            stored = after.objects[kind].get(obj.id)
            if stored is None:  # The same caller removes it again.
                raise Stale(kind, obj.id)
            return ((object_key(kind, obj.id), codec.encode(stored)),)
        case PutValue(kind=kind, id=object_id, value=value):
            if object_id not in after.objects[kind]:  # A value goes with its object.
                raise Stale(kind, object_id)
            return ((value_key(kind, object_id), value),)
        case Delete(kind=kind, id=object_id):
            gone = (object_key(kind, object_id), None)
            return (gone, (value_key(kind, object_id), None)) if kind in VALUE_KINDS else (gone,)


def flat(changes: Iterable[Change | Atomic]) -> Iterable[Change]:
    """Return single changes, in order."""
    for change in changes:
        if isinstance(change, Atomic):
            yield from change.changes
        else:
            yield change

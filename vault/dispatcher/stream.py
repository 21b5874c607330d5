"""The assignments of one session: the full set in parts, then differences, each of a bounded size.

Not pure: reads the store, seals.  Called by `vault.dispatcher.session`.  Each message is decided on the newest
snapshot, also in the middle of a full set: nothing is told that is no longer true, and no value leaves that no live
task of the node refers to any more.  Networks come before the tasks that are on them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol

import msgspec

from vault.crypto import Plaintext
from vault.dispatcher.assignments import (
    Difference,
    NodeView,
    ValueKey,
    Wanted,
    allowed,
    answered,
    difference,
    values_of,
)
from vault.dispatcher.driven import Driven
from vault.dispatcher.overlay_parts import OverlayView
from vault.dispatcher.overlays import Overlays
from vault.dispatcher.sealing import Seal, refused, sealed, sealed_size
from vault.model.ids import Kind
from vault.model.task import Task
from vault.rpc.messages import Assignments, SealedValue
from vault.store.changes import Atomic, Change, kind_of
from vault.store.snapshot import Snapshot

# A node's heartbeats are answered between two messages, so even a slow link must carry one in little time.  One value
# may be larger than this; it then travels alone.
MESSAGE_BYTES: Final = 512 * 1024
SENTENCE_BYTES: Final = 1024  # At most, of why there is no value.

_encode = msgspec.msgpack.Encoder().encode


class Store(Protocol):
    """What a dispatcher needs of the store."""

    @property
    def committed(self) -> Snapshot:
        """The newest committed snapshot."""
        ...

    @property
    def epoch(self) -> tuple[int, int]:
        """Generation and counter of this leadership."""
        ...

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield the newest committed snapshot, again whenever it changed."""
        ...

    async def submit(self, build: Callable[[Snapshot], Sequence[Change | Atomic]], /) -> int:
        """Commit what `build` makes of the proposed snapshot, all or nothing."""
        ...

    async def value(self, kind: Kind, object_id: str, /) -> Plaintext:
        """Return the value of a secret or config; raises a `LookupError`."""
        ...


class _Draft:
    """One message in the making."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.tasks: list[Task] = []
        self.values: dict[ValueKey, SealedValue] = {}
        self.gone: set[ValueKey] = set()  # Removed from the store since the snapshot.

    def fits(self, size_bytes: int) -> bool:
        """Whether so much more may go in; anything fits an empty message."""
        return not self.size_bytes or self.size_bytes + size_bytes <= MESSAGE_BYTES


class Stream:
    """What one node was told in one session, and the next message."""

    def __init__(
        self,
        store: Store,
        node_id: str,
        seal: Seal,
        epoch: tuple[int, int],
        overlays: Overlays,
        newest: Callable[[], Awaitable[Snapshot]],
        driven: Driven,
        refers: Callable[[frozenset[ValueKey]], None] = lambda _: None,
    ) -> None:
        """newest: returns the newest committed snapshot, and has `overlays` at it."""
        self.view = NodeView()
        self.settled = False  # Whether the last message, or its absence, left nothing to tell until something changes.
        self._overlay_view = OverlayView()
        self._overlays = overlays
        self._newest = newest
        self._driven = driven
        self._waiting = False  # Whether at the last look tasks waited for what drivers say.
        self._changed: set[str] | None = None  # Tasks that may be others than it was told; None = anything may be.
        self._left = False  # Whether the last message told not everything.
        self._refers = refers  # Told which secrets and configs concern the node, before the first wait of a message.
        self._store = store
        self._node_id = node_id
        self._seal = seal
        self._epoch = epoch
        self._sequence = 0
        self._complete = False  # Whether the full set was told to its end.

    def touch(self, tasks: Collection[str] | None = None) -> None:
        """Look at some of the node's tasks again, or at everything; else the next message is about networks alone."""
        if tasks is None:
            self._changed = None
        elif self._changed is not None:
            self._changed.update(tasks)

    async def next(self) -> Assignments | None:
        """Return the next message, to be sent before the next call; None when the node knows everything."""
        snap = await self._newest()
        part = self._overlays.change(self._overlay_view, self._node_id, MESSAGE_BYTES)
        after, told, waiting = self._difference(snap)
        sequence = self._sequence + 1
        draft = _Draft(part.size_bytes)
        if part.complete:
            await self._fill(draft, told, sequence, snap)
        if draft.values and self._store.committed is not snap:
            still = allowed(self._store.committed, self._node_id)
            draft.gone |= {key for key in draft.values if key not in still}
        values = {key: value for key, value in draft.values.items() if key not in draft.gone}
        tasks_left = {task.id for task in told.put_tasks[len(draft.tasks) :]}
        values_left = {key for wanted in told.put_values if (key := wanted.key) not in values}
        more = not part.complete or bool(tasks_left) or bool(values_left - draft.gone)
        message = Assignments(
            full=not self._sequence,
            complete=self._complete or not (more or waiting),  # A full set is one only with all of its tasks.
            generation=self._epoch[0],
            counter=self._epoch[1],
            applies_to=self._sequence,
            sequence=sequence,
            put_tasks=tuple(draft.tasks),
            remove_tasks=told.remove_tasks,
            put_values=tuple(values.values()),
            remove_values=told.remove_values,
            overlay=part.change,
            overlay_complete=part.complete,
        )
        self.view, self._overlay_view = after.without(tasks_left, values_left, told=self.view), part.view
        self._left = bool(self.view.open_tasks or self.view.open_values)
        self.settled = not more and not draft.gone
        if message.empty and (self._complete or (waiting and not more)):
            return None
        self._sequence, self._complete = sequence, message.complete
        return message

    def _difference(self, snap: Snapshot) -> tuple[NodeView, Difference, bool]:
        """Return what the node should be told of tasks and values, and whether tasks wait for what drivers say.

        Nothing unless that may have changed.  A task is told when each of its values is there, or why it is not.
        """
        if self._changed is not None and not (self._changed or self._left):
            return self.view, Difference(), self._waiting
        self._waiting = False
        changed, self._changed = self._changed, set()
        after, told = difference(self.view, snap, self._node_id, changed)
        if after.readers is not self.view.readers:
            self._refers(after.refers)
        if not (unanswered := self._driven.ask(told.put_values, snap)):
            return after, told, False
        self._waiting = True
        return *answered(self.view, after, told, unanswered, snap), True

    async def _fill(self, draft: _Draft, told: Difference, sequence: int, snap: Snapshot) -> None:
        """Take as much into a message as it may hold: tasks in their order, the values of each before it."""
        waiting = {wanted.key: wanted for wanted in told.put_values}
        for task in told.put_tasks:
            for key in values_of(task, snap):
                if key in waiting and not await self._take(draft, waiting.pop(key), sequence):
                    return
            if not draft.fits(size_bytes := len(_encode(task))):
                return
            draft.tasks.append(task)
            draft.size_bytes += size_bytes
        for wanted in waiting.values():  # What tasks told earlier refer to, and what is there again.
            if not await self._take(draft, wanted, sequence):
                break

    async def _take(self, draft: _Draft, wanted: Wanted, sequence: int) -> bool:
        try:
            value = await self._value(wanted)
        except LookupError:
            draft.gone.add(wanted.key)  # The next difference withdraws it.
            return True
        if not draft.fits(size_bytes := SENTENCE_BYTES if isinstance(value, str) else sealed_size(value)):
            return False
        draft.values[wanted.key] = (
            refused(wanted, value) if isinstance(value, str) else await sealed(self._seal, wanted, value, sequence)
        )
        draft.size_bytes += size_bytes
        self._driven.forget(wanted.key)
        return True

    async def _value(self, wanted: Wanted) -> Plaintext | str:
        """Return a value, or why there is none.  Raises a `LookupError` for what is in the store no more."""
        if wanted.task is not None:
            return self._driven.answer(wanted.key)
        return await self._store.value(kind_of(wanted.obj), wanted.obj.id)

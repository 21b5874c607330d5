"""One node's stream, the manager's end: assignments out, each secret sealed to that node alone.

Not pure: reads the store, seals.  Called by the daemon, once per node that is connected; a session starts with the full
set, and every later message names the one before it.
"""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from vault.crypto import Plaintext
from vault.dispatcher.assignments import Difference, NodeView, concerns, difference
from vault.model.ids import Kind
from vault.model.secret import Config, Secret
from vault.rpc.messages import Assignments, SealedValue
from vault.store.changes import kind_of
from vault.store.snapshot import Snapshot


class Store(Protocol):
    """What a session needs of the store."""

    @property
    def epoch(self) -> tuple[int, int]:
        """Generation and counter of this leadership."""
        ...

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield the newest committed snapshot, again whenever it changed."""
        ...

    async def value(self, kind: Kind, object_id: str, /) -> Plaintext:
        """Return the value of a secret or config."""
        ...


# Seals a value for the node of the session: kind, id, version, sequence, value -> payload.
Seal = Callable[[Kind, str, int, int, Plaintext], bytes]


class Session:
    """The messages for one node."""

    def __init__(self, store: Store, node_id: str, seal: Seal) -> None:
        self._store = store
        self._node_id = node_id
        self._seal = seal

    async def messages(self) -> AsyncIterator[Assignments]:
        """Yield the full set, then every difference, until cancelled."""
        view, sequence = NodeView(), 0
        before: Snapshot | None = None
        async for snap in self._store.snapshots():
            if before is not None and not concerns(self._node_id, before, snap):
                before = snap
                continue
            view, told = difference(view, snap, self._node_id)
            message = await self._message(told, full=before is None, sequence=sequence + 1)
            before = snap
            if not message.empty:
                sequence = message.sequence
                yield message

    async def _message(self, told: Difference, *, full: bool, sequence: int) -> Assignments:
        generation, counter = self._store.epoch
        sealed = [await self._sealed(value, sequence) for value in told.put_values]
        return Assignments(
            full=full,
            generation=generation,
            counter=counter,
            applies_to=0 if full else sequence - 1,
            sequence=sequence,
            put_tasks=told.put_tasks,
            remove_tasks=told.remove_tasks,
            put_values=tuple(value for value in sealed if value is not None),
            remove_values=told.remove_values,
        )

    async def _sealed(self, obj: Secret | Config, sequence: int) -> SealedValue | None:
        kind, version = kind_of(obj), obj.version.index
        try:
            value = await self._store.value(kind, obj.id)
        except LookupError:
            return None  # Removed since this snapshot; the next difference withdraws it.
        return SealedValue(
            kind=kind,
            id=obj.id,
            name=obj.spec.name,
            version=version,
            templating=obj.spec.templating.name if obj.spec.templating else "",
            payload=self._seal(kind, obj.id, version, sequence, value),
        )

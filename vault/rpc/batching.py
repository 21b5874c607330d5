"""Many short items into few frames: what is posted within one turn of the loop leaves together."""

import asyncio

from vault.rpc.connection import Connection
from vault.rpc.frames import BATCH_BYTES, MAX_BATCH, batch


class Outbox:
    """Encoded items on their way to one connection."""

    __slots__ = ("_connection", "_items", "_size", "_soon")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._items: list[bytes] = []
        self._size = 0
        self._soon: asyncio.Handle | None = None

    def post(self, item: bytes) -> None:
        """Send an item at the end of this turn, or before it when a batch is full."""
        if self._size + len(item) > BATCH_BYTES or len(self._items) == MAX_BATCH:
            self.flush()
        self._items.append(item)
        self._size += len(item)
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._flush_soon)

    def flush(self) -> None:
        """Send what is there."""
        if self._items:
            items, self._items, self._size = self._items, [], 0
            self._connection.send(batch(items))

    def _flush_soon(self) -> None:
        self._soon = None
        self.flush()

"""One end of a call: what arrived and was not read yet, how the call ended, and the line to the other end.

Implements `call.Call` for calls over connections and within a process alike; a `Line` is what differs.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import msgspec

from vault.crypto.certificates import Identity
from vault.model.errors import VaultError
from vault.rpc.coding import Refusal, decode, encode
from vault.rpc.errors import CallEnded

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")

# A message is taken in while what waits to be read is below both.
UNREAD_MESSAGES: Final = 16
UNREAD_BYTES: Final = 1024 * 1024


class Line(Protocol):
    """What carries one call's messages to the other end."""

    async def carry(self, data: bytes) -> None:
        """Send one message's bytes; wait for room.  Need not notice the call's end, but must return after it."""

    def finish(self, refusal: Refusal | None) -> None:
        """Say that this end is done, and why when it refuses."""

    def drained(self) -> None:
        """Take in more: there is room again for messages that arrive."""


class Exchange:
    """One end of one call."""

    __slots__ = ("_address", "_end", "_line", "_on_end", "_peer", "_reader", "_unread", "_unread_bytes")

    def __init__(self, line: Line, *, peer: Identity | None, address: str) -> None:
        self._line = line
        self._peer = peer
        self._address = address
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._end: VaultError | None = None
        self._on_end: Callable[[], None] | None = None

    @property
    def peer(self) -> Identity | None:
        """Who the other end is; None when it presented no certificate."""
        return self._peer

    @property
    def address(self) -> str:
        """The other end's host."""
        return self._address

    @property
    def ended(self) -> bool:
        """Whether either end has ended the call."""
        return self._end is not None

    @property
    def full(self) -> bool:
        """Whether what arrived should be read before more is taken in."""
        return len(self._unread) >= UNREAD_MESSAGES or self._unread_bytes >= UNREAD_BYTES

    async def send(self, message: msgspec.Struct) -> None:
        """Send one message; see `call.Call`."""
        self._check_open()
        await self._line.carry(encode(message))
        self._check_open()

    async def receive(self, type_: "TypeForm[T]") -> T:
        """Return the next message; see `call.Call`."""
        while not self._unread:
            self._check_open()
            assert self._reader is None, "one task receives"
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        was_full = self.full
        data = self._unread.popleft()
        self._unread_bytes -= len(data)
        if was_full and not self.full:
            self._line.drained()
        return decode(data, type_)

    async def close(self) -> None:
        """End the call, here and there."""
        self.finish(None)

    def finish(self, error: VaultError | None) -> None:
        """End the call from this end; an error reaches the other end as its refusal."""
        if self._end is None:
            self.ended_by(CallEnded("this end closed the call"))
            self._line.finish(None if error is None else Refusal.of(error))

    def arrived(self, data: bytes) -> None:
        """Take one message in; the line keeps to `full`."""
        if self._end is None:
            self._unread.append(data)
            self._unread_bytes += len(data)
            self._wake()

    def ended_by(self, end: VaultError) -> None:
        """Note how the call ended; what arrived before stays readable."""
        if self._end is None:
            self._end = end
            self._wake()
            if self._on_end is not None:
                self._on_end()

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back once when the call ends, from either end; at once when it has."""
        self._on_end = callback
        if self._end is not None:
            callback()

    def _check_open(self) -> None:
        if self._end is not None:
            raise self._end.with_traceback(None)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

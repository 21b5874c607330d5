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

Data = bytes | bytearray | memoryview

# A message may be sent while those that the other end has not read weigh less than this.
WINDOW: Final = 1024 * 1024
_OVERHEAD: Final = 256  # What a message weighs besides its bytes, so that many empty ones are bounded too.


def weight(data: Data) -> int:
    """Return what a message takes up of a `WINDOW`, in bytes."""
    return len(data) + _OVERHEAD


class Line(Protocol):
    """What carries one call's messages to the other end."""

    async def carry(self, data: bytes) -> bool:
        """Send one message's bytes once there is room; return False when the call ended before."""

    def finish(self, refusal: Refusal | None) -> None:
        """Say that this end is done, and why when it refuses."""

    def consumed(self, weight: int) -> None:
        """Note that one message of that weight was read here."""


class Exchange:
    """One end of one call."""

    __slots__ = ("_address", "_end", "_line", "_on_end", "_peer", "_reader", "_unread", "_weight")

    def __init__(self, line: Line, *, peer: Identity | None, address: str) -> None:
        self._line = line
        self._peer = peer
        self._address = address
        self._unread: deque[Data] = deque()
        self._weight = 0
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
        return self._weight >= WINDOW

    async def send(self, message: msgspec.Struct) -> None:
        """Send one message; see `call.Call`."""
        self._check_open()
        if not await self._line.carry(encode(message)):
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
        data = self._unread.popleft()
        self._weight -= weight(data)
        self._line.consumed(weight(data))
        return decode(data, type_)

    async def close(self) -> None:
        """End the call, here and there."""
        self.finish(None)

    def finish(self, error: VaultError | None) -> None:
        """End the call from this end; an error reaches the other end as its refusal."""
        if self._end is None:
            self.ended_by(CallEnded("this end closed the call"))
            self._line.finish(None if error is None else Refusal.of(error))

    def arrived(self, data: Data) -> None:
        """Take one message in; the line keeps to `full`."""
        if self._end is None:
            self._unread.append(data)
            self._weight += weight(data)
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

"""One call on a connection: the messages that came and were not taken yet, and how it ended.

On one event loop.  Called by `http2`, which fills it, and `client`, which empties it.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

GIVE_BACK: Final = 4 * 1024 * 1024  # Tell the server that we took this much.
MAX_MESSAGE_BYTES: Final = 512 * 1024 * 1024
_HEAD_BYTES: Final = 5  # Before each message: a flag, and its length.


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"etcd answered {code}: {message}")
        self.code = code
        self.message = message


class NoAnswer(Exception):
    """The connection ended, or the time, before there was an answer.

    sent: the server may have got the request all the same.
    """

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Finished(Exception):
    """The server has said everything, and no error."""


class ProtocolBroken(Exception):
    """The server does not speak as agreed."""


class Carrier(Protocol):
    """What an exchange needs of its connection."""

    def give_back(self, number: int, size_bytes: int) -> None:
        """Let the server send more of a call."""
        ...

    def cancel(self, exchange: "Exchange") -> None:
        """Forget a call."""
        ...


class Exchange:
    """Take its messages with `receive` until it ends; `close` it at any time."""

    def __init__(self, carrier: Carrier, number: int, window: int) -> None:
        self.number = number
        self.window = window  # What we may send of it.
        self.end: Exception | None = None  # Why nothing more comes.
        self._carrier = carrier
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()
        self._owed = 0  # What came, and the server may not send again yet.
        self._waiter: asyncio.Future[None] | None = None

    async def receive(self) -> bytes:
        """Return the next message.  Raises `Refused`, `NoAnswer` or `Finished`."""
        while not self._messages:
            if self.end is not None:
                raise self.end
            await self._news()
        message = self._messages.popleft()
        self._give_back()
        return message

    async def receive_all(self) -> list[bytes]:
        """Return every message that has come, one at least.  Raises as `receive` does."""
        received = [await self.receive()]
        received += self._messages
        self._messages.clear()
        self._give_back()
        return received

    async def finished(self) -> None:
        """Wait for the end; raise `Refused` or `NoAnswer` if that is what it is."""
        while self.end is None:
            await self._news()
        if not isinstance(self.end, Finished):
            raise self.end

    def close(self) -> None:
        """Forget the call, and tell the server to do so."""
        self._carrier.cancel(self)

    def take(self, data: bytes) -> None:
        """Take what the server sent, cut wherever it liked.  Raises `ProtocolBroken`."""
        self._owed += len(data)
        partial = self._partial
        if not partial and int.from_bytes(data[1:_HEAD_BYTES], "big") == len(data) - _HEAD_BYTES:
            self._add(data[0], data[_HEAD_BYTES:])  # Exactly one message, as nearly always.
        else:
            partial += data
            while len(partial) >= _HEAD_BYTES:
                end = _HEAD_BYTES + int.from_bytes(partial[1:_HEAD_BYTES], "big")
                if end > MAX_MESSAGE_BYTES:
                    raise ProtocolBroken("a message is too long")
                if len(partial) < end:
                    break
                self._add(partial[0], bytes(partial[_HEAD_BYTES:end]))
                del partial[:end]
        self._give_back()

    def finish(self, end: Exception) -> None:
        """Let nothing more come."""
        if self.end is None:
            self.end = end
            self._wake()

    def _add(self, compressed: int, message: bytes) -> None:
        if compressed:
            raise ProtocolBroken("a message is compressed")
        self._messages.append(message)
        self._wake()

    def _give_back(self) -> None:
        """Let the server send on, unless there is a message that nobody has taken."""
        if self._owed >= GIVE_BACK and not self._messages and self.end is None:
            self._carrier.give_back(self.number, self._owed)
            self._owed = 0

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None

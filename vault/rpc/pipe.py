"""Calls within one process: for the leader's own agent, and for tests.

Messages are encoded and decoded as on a connection, under the same bounds, so that nothing passes here that would be
refused there.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vault.crypto.certificates import Identity
from vault.rpc.attend import attend
from vault.rpc.call import Call, Handler
from vault.rpc.coding import Refusal
from vault.rpc.errors import CallEnded
from vault.rpc.exchange import Exchange

HERE = "localhost"


def pipe(identity: Identity | None) -> tuple[Call, Call]:
    """Return two ends joined to each other; `identity` is the peer that either end sees."""
    return _ends(identity)


@asynccontextmanager
async def local_call(handler: Handler, identity: Identity | None, method: str = "local") -> AsyncIterator[Call]:
    """Call a handler of this process, as `Client.call` calls one elsewhere; `identity` is who it sees calling."""
    near, far = _ends(identity)
    serving = asyncio.create_task(attend(handler, far, method))
    try:
        yield near
    except asyncio.CancelledError:
        serving.cancel()
        raise
    finally:
        near.finish(None)
        await _settled(serving)


async def _settled(serving: "asyncio.Task[None]") -> None:
    """Wait until a handler is done; it is cancelled when this wait is."""
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        serving.cancel()
        await asyncio.wait((serving,))
        raise


def _ends(identity: Identity | None) -> tuple[Exchange, Exchange]:
    one, two = _Strand(), _Strand()
    near = Exchange(one, peer=identity, address=HERE)
    far = Exchange(two, peer=identity, address=HERE)
    one.join(near, far, back=two)
    two.join(far, near, back=one)
    return near, far


class _Strand:
    """One direction: from an end to its target; implements `exchange.Line`."""

    __slots__ = ("_back", "_source", "_target", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    def join(self, source: Exchange, target: Exchange, *, back: "_Strand") -> None:
        """Fill in what could not be known before both ends were made."""
        self._source, self._target, self._back = source, target, back

    async def carry(self, data: bytes) -> bool:
        while self._target.full and not self._source.ended:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        if self._source.ended:
            return False
        self._target.arrived(data)
        return True

    def finish(self, refusal: Refusal | None) -> None:
        self._target.ended_by(CallEnded() if refusal is None else refusal.error())
        self.wake()
        self._back.wake()

    def consumed(self, weight: int) -> None:
        if not self._source.full:
            self._back.wake()

    def wake(self) -> None:
        """Let those who wait for room look again."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)

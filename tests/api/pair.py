"""Two managers in one process: one leads, the other forwards to it over a line that a test can break."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec

from tests.api.client import Daemon
from vault.api.forwarded import answer_forwarded, serve_forwarded
from vault.api.ports import AnswerLost, Unreached
from vault.rpc.messages_forward import ForwardedAnswer, ForwardedRequest

FOLLOWER_ID = "f" * 25


class Line:
    """A forwarder to a daemon, through the bytes that would be on the wire."""

    def __init__(self, leader: Daemon) -> None:
        self.leader = leader
        self.asked: list[ForwardedRequest] = []
        self.faults: list[str] = []  # For the next requests: unreached | lost (done, answer lost) | lost before | hangs
        self.meanwhile: Callable[[], None] = lambda: None  # Called when a fault strikes.
        self.open = 0  # Streams that are not closed.

    async def ask(self, request: ForwardedRequest) -> ForwardedAnswer:
        """Answer as the leader does, unless a fault is next."""
        self.asked.append(request)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "unreached":
            self.meanwhile()
            raise Unreached
        if fault == "hangs":
            self.meanwhile()
            await asyncio.Event().wait()
        if fault == "lost before":
            self.meanwhile()
            raise AnswerLost
        answer = over_wire(await answer_forwarded(self.leader.app, over_wire(request)))
        if fault == "lost":
            self.meanwhile()
            raise AnswerLost
        return answer

    async def stream(self, request: ForwardedRequest) -> AsyncGenerator[ForwardedAnswer, None]:
        """Yield the leader's parts; `meanwhile` runs when they are closed early."""
        self.asked.append(request)
        parts: asyncio.Queue[ForwardedAnswer | None] = asyncio.Queue(1)

        async def serve() -> None:
            await serve_forwarded(self.leader.app, over_wire(request), parts.put)
            await parts.put(None)

        self.open += 1
        serving = asyncio.ensure_future(serve())
        try:
            while (part := await parts.get()) is not None:
                yield over_wire(part)
        finally:
            self.open -= 1
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


def over_wire(message: Any) -> Any:
    """Return a message as it comes out at the other end."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=type(message))


def pair() -> tuple[Daemon, Daemon, Line]:
    """Return a leader, a follower of it, and the line between them."""
    leader, follower = Daemon().with_swarm(), Daemon(first_id=0x1000).with_swarm()
    line = Line(leader)
    follower.manager.node_id = FOLLOWER_ID
    follower.manager.memory = None  # What a follower answers does not come from itself.
    follower.manager.stand(follows=line)
    return leader, follower, line


def fails_once(error: Exception, then: Callable[[], None] = lambda: None) -> Callable[[], Awaitable[None]]:
    """Return a barrier that raises at the first call only."""
    left = [error]

    async def barrier() -> None:
        if left:
            then()
            raise left.pop()

    return barrier

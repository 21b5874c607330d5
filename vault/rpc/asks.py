"""Any number of asks on one connection: `Asking` at the client, `Answering` at the server.

An ask is a call of one message each way; its handler sees a `Call` like any other.  Both ends bound how many are open
and how much their requests weigh; an honest client waits before the server would refuse.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from vault.model.errors import VaultError
from vault.rpc.batching import Outbox
from vault.rpc.coding import Refusal
from vault.rpc.connection import Connection
from vault.rpc.errors import CallBroken, CallEnded, TooManyCalls
from vault.rpc.exchange import Data, Exchange, weight
from vault.rpc.frames import Answer, Malformed, Question, answers, encode_item, questions
from vault.rpc.limits import Limits

Begin = Callable[[Exchange, str, Callable[[], None]], None]
"""Starts the handler of a method, and calls back when it is done."""


class Asking:
    """The client's end; implements `connection.Tenant`."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._outbox = Outbox(connection)
        self._open: dict[int, tuple[asyncio.Future[bytes], int]] = {}
        self._weight = 0
        self._last = 0
        self._retired = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def usable(self) -> bool:
        """Whether asks can be sent on it."""
        return self._connection.open

    @property
    def crowded(self) -> bool:
        """Whether an ask has to wait before it is sent."""
        limits = self._limits
        return self._connection.blocked or len(self._open) >= limits.asks or self._weight >= limits.ask_bytes

    async def room(self) -> None:
        """Wait until an ask may be sent, or the connection is gone."""
        while self.crowded and self.usable:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    async def ask(self, method: str, data: bytes) -> bytes:
        """Send one ask, for which there is room, and wait for its answer.

        Raises what the handler raised, `CallEnded` when it ended without an answer, `CallBroken`.
        """
        self._last = number = self._last + 1
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open[number] = answer, weight(data)
        self._weight += weight(data)
        self._outbox.post(encode_item(Question(number, method, data)))
        try:
            return await answer
        except asyncio.CancelledError:
            self._outbox.post(encode_item(Question(number)))
            raise
        finally:
            self._open.pop(number, None)
            self._weight -= weight(data)
            self._wake_one()
            self._close_if_idle()

    def close_when_idle(self) -> None:
        """Close the connection once nobody waits on it; there will be no new asks."""
        self._retired = True
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._retired and not self._open and not self._waiting:
            self._connection.close()

    # -- connection.Tenant

    def message(self, data: Data) -> None:
        """Hand answers to those who wait; nobody may wait any more."""
        for answer in answers(data):
            waiting, _ = self._open.get(answer.id, (None, 0))
            if waiting is None or waiting.done():
                continue
            if answer.body is not None:
                waiting.set_result(answer.body)
            else:
                waiting.set_exception(_without_answer(answer.refusal))

    def control(self, text: Data) -> None:
        """There is none on this kind of connection."""
        raise Malformed

    def writable(self) -> None:
        """Let those who wait to send look again."""
        while self._waiting:
            self._wake_one()

    def closed(self, why: str | None) -> None:
        """Fail every ask that waits for an answer: nobody knows whether it was carried out."""
        for answer, _ in self._open.values():
            if not answer.done():
                answer.set_exception(CallBroken(self._connection.name, why or "it was closed before the answer"))
        self.writable()

    def _wake_one(self) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return


def _without_answer(refusal: Refusal | None) -> VaultError:
    return CallEnded("the other end closed the call without an answer") if refusal is None else refusal.error()


class Answering:
    """The server's end; implements `connection.Tenant`."""

    def __init__(self, connection: Connection, limits: Limits, begin: Begin) -> None:
        self.connection = connection
        self.outbox = Outbox(connection)
        self._limits = limits
        self._begin = begin
        self._open: dict[int, _Ask] = {}
        self._weight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def writable_again(self) -> None:
        """Wait until the network takes more, or the connection is gone."""
        while self.connection.blocked and self.connection.open:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    # -- connection.Tenant

    def message(self, data: Data) -> None:
        """Start what is asked; end what nobody waits for any more."""
        for question in questions(data):
            ask = self._open.get(question.id)
            if not question.method:
                if ask is not None:
                    ask.exchange.ended_by(CallEnded("nobody waits for the answer any more"))
            elif ask is not None:
                raise Malformed
            elif len(self._open) >= 2 * self._limits.asks or self._weight >= 2 * self._limits.ask_bytes:
                self.outbox.post(encode_item(Answer(question.id, None, Refusal.of(TooManyCalls()))))
            else:
                self._start(question)

    def control(self, text: Data) -> None:
        """There is none on this kind of connection."""
        raise Malformed

    def writable(self) -> None:
        """Let those who wait to answer look again."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)

    def closed(self, why: str | None) -> None:
        """End every ask: its answer has nowhere to go."""
        for ask in list(self._open.values()):
            ask.exchange.ended_by(CallBroken(self.connection.name, why or "it was closed before the answer"))
        self.writable()

    def _start(self, question: Question) -> None:
        ask = _Ask(self, question.id, weight(question.body))
        self._open[question.id] = ask
        self._weight += ask.weight
        ask.exchange.arrived(question.body)
        self._begin(ask.exchange, question.method, lambda: self._done(question.id))

    def _done(self, number: int) -> None:
        self._weight -= self._open.pop(number).weight


class _Ask:
    """One ask at the server; implements `exchange.Line`."""

    __slots__ = ("_answered", "_id", "_server", "exchange", "weight")

    def __init__(self, server: Answering, number: int, weight: int) -> None:
        self._server = server
        self._id = number
        self._answered = False
        self.weight = weight
        self.exchange = Exchange(self, peer=server.connection.peer, address=server.connection.address)

    async def carry(self, data: bytes) -> bool:
        await self._server.writable_again()
        if self.exchange.ended:
            return False
        self._answered = True
        self._server.outbox.post(encode_item(Answer(self._id, data)))
        self.exchange.ended_by(CallEnded("an ask has one answer, and this one was sent"))
        return True

    def finish(self, refusal: Refusal | None) -> None:
        if not self._answered:
            self._server.outbox.post(encode_item(Answer(self._id, None, refusal)))

    def consumed(self, weight: int) -> None:
        """There is one message, and it had room."""

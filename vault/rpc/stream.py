"""One call on a connection of its own, with credit: nobody has to stop reading a connection because of a slow handler.

A sender has at most `WINDOW` of messages on their way or unread, and one more.  The receiver gives credit back as they
are read.  So signs of life pass however slow a reader is, and memory is bounded by the receiver, who gives up a sender
that sends without credit.
"""

import asyncio
from collections import deque
from typing import Final

from vault.rpc.coding import Refusal
from vault.rpc.connection import Connection
from vault.rpc.errors import CallBroken, CallEnded
from vault.rpc.exchange import WINDOW, Data, Exchange, weight
from vault.rpc.frames import Credit, Malformed, control, encode_control

_CREDIT_STEP: Final = WINDOW // 4


class Stream:
    """One end of a call on one connection; implements `exchange.Line` and `connection.Tenant`."""

    __slots__ = ("_connection", "_outstanding", "_read", "_waiting", "exchange")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._outstanding = 0  # Weight of messages sent and not known to be read.
        self._read = 0  # Weight of messages read and not given back as credit yet.
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.exchange = Exchange(self, peer=connection.peer, address=connection.address)

    # -- exchange.Line

    async def carry(self, data: bytes) -> bool:
        """Send one message once there is credit, and the network takes it; return False when the call ended before."""
        while (self._outstanding >= WINDOW or self._connection.blocked) and not self.exchange.ended:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        if self.exchange.ended:
            return False
        self._outstanding += weight(data)
        self._connection.send(data)
        return True

    def finish(self, refusal: Refusal | None) -> None:
        """Say why, when there is a reason, and close."""
        if refusal is not None:
            self._connection.send_control(encode_control(refusal))
        self._connection.close()
        self.writable()

    def consumed(self, weight: int) -> None:
        """Give credit back, in steps."""
        self._read += weight
        if self._read >= _CREDIT_STEP and not self.exchange.ended:
            self._connection.send_control(encode_control(Credit(self._read)))
            self._read = 0

    # -- connection.Tenant

    def message(self, data: Data) -> None:
        """Take one message in."""
        if self.exchange.full:
            raise Malformed
        self.exchange.arrived(data)

    def control(self, text: Data) -> None:
        """Take credit, or a refusal, which ends the call."""
        match control(text):
            case Credit(weight=given):
                self._outstanding = max(0, self._outstanding - given)
            case Refusal() as refusal:
                self.exchange.ended_by(refusal.error())
        self.writable()

    def writable(self) -> None:
        """Let those who wait to send look again."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)

    def closed(self, why: str | None) -> None:
        """End the call."""
        self.exchange.ended_by(CallEnded() if why is None else CallBroken(self._connection.name, why))
        self.writable()

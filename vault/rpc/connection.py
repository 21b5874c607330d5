"""One WebSocket on one TLS connection: bytes in, frames out, signs of life, an end.

The bytes are the library's (`websockets`, its layer without I/O); this module does the I/O, so that our bounds hold
before memory is used.  What the frames mean is the tenant's: a `Stream`, or one end of many asks.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final, Protocol, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from vault.crypto.certificates import Identity
from vault.rpc.exchange import Data
from vault.rpc.frames import Malformed
from vault.rpc.limits import Limits

HELLO_BYTES: Final = 16 * 1024
WRITE_BUFFER_BYTES: Final = 256 * 1024  # Above this, senders wait.
# The library would log frames, with their content, at debug level.
SILENT: Final = logging.Logger("silent", logging.CRITICAL + 1)


class Tenant(Protocol):
    """Who uses a connection once both ends have said hello."""

    def message(self, data: Data) -> None:
        """Take a binary frame.  Raises `Malformed`."""

    def control(self, text: Data) -> None:
        """Take a text frame.  Raises `Malformed`."""

    def writable(self) -> None:
        """Go on sending: the buffer is short again."""

    def closed(self, why: str | None) -> None:
        """Note the end, which is told once.  why: None when the other end closed in good order."""


class Connection(asyncio.Protocol):
    """One connection, at either end."""

    def __init__(self, ws: ServerProtocol | ClientProtocol, limits: Limits, *, address: str, name: str = "") -> None:
        loop = asyncio.get_running_loop()
        self.ws = ws
        self.address = address  # A host.
        self.name = name or address  # How errors name the other end.
        self.peer: Identity | None = None
        self.tenant: Tenant | None = None
        self.method = ""  # Of the one call that the connection is for; "" = it is for asks.
        self.hello: asyncio.Future[Request | Response] = loop.create_future()  # What the other end said first.
        self.gone: asyncio.Future[None] = loop.create_future()
        self.max_received: int | None = HELLO_BYTES  # In all; None once it is known who the other end is.
        self.blocked = False  # More was sent than the network took; senders wait.
        self._serves = isinstance(ws, ServerProtocol)
        # The client's question is a sign of life for the server too, so one of them is enough.
        self._ask_after_s = limits.ping_s * (2 if self._serves else 1)
        self._limits = limits
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._heard = self._due = loop.time()
        self._unsent = 0  # In the transport's buffer, when it was looked at last.
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._told = False
        self._why: str | None = None  # It is no more, because of this.

    # -- The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start; TLS is done."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        if self._why is not None:
            self._transport.abort()
            return
        self._heard = self._loop.time()
        self._tick_later()

    def data_received(self, data: bytes) -> None:
        """Take bytes; frames go to the tenant."""
        self._heard = self._loop.time()
        self._received += len(data)
        if self._why is not None or self.ws.reader.eof:
            return
        if self.max_received is not None and self._received > self.max_received:
            self.abort("it sent more than a node without a certificate may")
            return
        self.ws.receive_data(data)
        try:
            for event in self.ws.events_received():
                if self._why is None:
                    self._event(event)
        except Malformed:
            self.abort("it sent what is no part of this protocol")
        self._flush()

    def eof_received(self) -> bool:
        """The other end sends nothing more, which over TLS means that it is gone."""
        if not self.ws.reader.eof:
            self.ws.receive_eof()
        self.transport.abort()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Tell everybody who waits, and the tenant unless a close frame came first."""
        for timer in (self._timer, self._closer):
            if timer is not None:
                timer.cancel()
        if not self.hello.done():
            self.hello.set_exception(error or ConnectionAbortedError())
            self.hello.exception()  # Nobody has to ask.
        if self._why is None:
            self._why = "the connection was lost" if error is not None else "the other end went away"
        self._tell(self._why)
        if not self.gone.done():
            self.gone.set_result(None)

    def pause_writing(self) -> None:
        """Let senders wait; a server also stops reading from somebody who does not read."""
        self.blocked = True
        if self._serves and self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.blocked = False
        if self._serves and self._transport is not None:
            self._transport.resume_reading()
        if self.tenant is not None:
            self.tenant.writable()

    # -- The tenant's side.

    @property
    def open(self) -> bool:
        """Whether frames can be sent."""
        return self._why is None and self.ws.state is State.OPEN

    @property
    def transport(self) -> asyncio.Transport:
        """The TLS transport, once there is one."""
        assert self._transport is not None
        return self._transport

    def ssl_object(self) -> Any:
        """Return the `ssl.SSLObject` under this connection."""
        return self.transport.get_extra_info("ssl_object")

    def say(self, hello: Request | Response) -> None:
        """Send the hello, or the answer to one; frames may follow at once, so there should be a tenant."""
        if isinstance(hello, Request):
            assert isinstance(self.ws, ClientProtocol)
            self.ws.send_request(hello)
        else:
            assert isinstance(self.ws, ServerProtocol)
            self.ws.send_response(hello)
        self._flush()

    def send(self, data: bytes) -> None:
        """Send a binary frame, if the connection is open; callers keep to `blocked`."""
        if self.open:
            self.ws.send_binary(data)
            self._flush()

    def send_control(self, text: bytes) -> None:
        """Send a text frame, if the connection is open."""
        if self.open:
            self.ws.send_text(text)
            self._flush()

    def close(self) -> None:
        """End in good order: what was sent arrives first, within the limit."""
        if self.open:
            self.ws.send_close(1000)
            self._flush()
        elif self.ws.state is State.CONNECTING:
            self.abort("it was closed before hello")

    def abort(self, why: str) -> None:
        """End at once."""
        if self._why is None:
            self._why = why
            self._tell(why)
            if self._transport is not None:
                self._transport.abort()

    # -- Inside.

    def _event(self, event: Any) -> None:
        if not isinstance(event, Frame):
            if not self.hello.done():
                self.hello.set_result(event)
            return
        if event.opcode is Opcode.CLOSE:
            code = self.ws.close_rcvd.code if self.ws.close_rcvd is not None else 0
            self._tell(None if code == 1000 else f"the other end gave it up with code {code}")
        elif event.opcode in (Opcode.PING, Opcode.PONG):
            return
        elif self.tenant is None or not event.fin or event.opcode is Opcode.CONT:
            raise Malformed
        elif event.opcode is Opcode.BINARY:
            self.tenant.message(event.data)
        else:
            self.tenant.control(event.data)

    def _flush(self) -> None:
        """Write what the library wants sent; an empty piece is its wish to close."""
        if self._why is not None or self._transport is None:
            return
        for data in self.ws.data_to_send():
            if data:
                self._transport.write(data)
            else:  # Not from within `data_received`: uvloop fails when the other end's close was read with this data.
                self._loop.call_soon(self._transport.close)
        if self._closer is None and self.ws.close_expected():
            self._closer = self._loop.call_later(self._limits.close_s, self.abort, "it did not close in time")

    def _tell(self, why: str | None) -> None:
        if self.tenant is not None and not self._told:
            self._told = True
            self.tenant.closed(why)

    def _tick_later(self) -> None:
        self._due = self._loop.time() + self._limits.ping_s
        self._timer = self._loop.call_later(self._limits.ping_s, self._tick)

    def _tick(self) -> None:
        """Ask for a sign of life, or give the connection up.

        A loop that was held up itself judges nobody: what the other end sent may wait unread.  Nor does one that reads
        nothing because too much is unsent; then the buffer has to get shorter.
        """
        now, limits = self._loop.time(), self._limits
        unsent = self.transport.get_write_buffer_size()
        if now - self._due > limits.ping_s or unsent < self._unsent:
            self._heard = max(self._heard, now - self._ask_after_s)
        self._unsent = unsent
        silent_s = now - self._heard
        if silent_s >= limits.silent_s:
            self.abort(f"nothing was heard from it for {limits.silent_s:g} s")
            return
        if silent_s >= self._ask_after_s and not self.blocked and self.open:
            self.ws.send_ping(b"")
            self._flush()
        self._tick_later()


async def close_all(connections: Iterable[Connection], close_s: float) -> None:
    """Close connections in good order within close_s seconds, the others at once."""
    remaining = {connection.gone: connection for connection in connections}
    for connection in remaining.values():
        connection.close()
    if remaining:
        _, late = await asyncio.wait(remaining, timeout=close_s)
        for gone in late:
            remaining[gone].abort("it did not close in time")

"""A connection over which calls run side by side: the client's half of HTTP/2 and of gRPC, for a server that is ours.

On one event loop.  The server is told not to use a header table, so equal blocks of headers mean the same, and each is
decoded once.  What the server may send is bounded: the window of a call is given back only as its messages are taken.
Called by `client`.  Source: RFC 9113; https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast
from urllib.parse import unquote

from hpack import Decoder, HPACKError

from vault.raftstore.engines.etcd_api.exchange import GIVE_BACK, Exchange, Finished, NoAnswer, ProtocolBroken, Refused

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _AWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_HEADER_TABLE, _ENABLE_PUSH, _INITIAL_WINDOW, _MAX_FRAME = 1, 2, 4, 5
_CANCEL: Final = 8
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_USUAL_WINDOW: Final = 65535  # What the protocol begins with.
_USUAL_FRAME: Final = 16384
_LAST_ID: Final = 2**31 - 1
OUR_WINDOW: Final = 64 * 1024 * 1024  # What the server may send of one call before we take it.
WHOLE_WINDOW: Final = 2**31 - 1  # And of all calls together.
MAX_BLOCK_BYTES: Final = 64 * 1024  # Of headers.
MAX_KNOWN_BLOCKS: Final = 256


class Connection(asyncio.Protocol):
    """Make one with `open`; end it with `close`.  After that, or when the server ends it, `usable` is false."""

    def __init__(self) -> None:
        self.usable = False
        self._exchanges: dict[int, Exchange] = {}
        self._next_id = 1
        self._received = b""
        self._window = self._new_window = _USUAL_WINDOW  # What we may send of all calls, and of a new one.
        self._max_frame = _USUAL_FRAME
        self._window_waiters: list[asyncio.Future[None]] = []
        self._unacknowledged = 0
        self._headers: dict[bytes, Mapping[str, str]] = {}
        self._block = b""  # Of headers that go on in the next frame.
        self._decoder = Decoder()
        self._decoder.max_allowed_table_size = 0

    @classmethod
    async def open(cls, path: Path) -> "Connection":
        """Connect to a unix socket.  Raises `OSError`."""
        _, connection = await asyncio.get_running_loop().create_unix_connection(cls, str(path))
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one without saying so.
        ours = {_HEADER_TABLE: 0, _ENABLE_PUSH: 0, _INITIAL_WINDOW: OUR_WINDOW}
        settings = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in ours.items())
        more = (WHOLE_WINDOW - _USUAL_WINDOW).to_bytes(4, "big")
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, more))
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """End all calls."""
        self._end("the connection to etcd ended")

    async def ask(self, path: bytes, body: bytes) -> bytes:
        """Make a call with one answer, and return that.  Raises `Refused`, or `NoAnswer`."""
        exchange = self._begin(path)
        try:
            await self._send(exchange, body)
            answer = await exchange.receive()
            await exchange.finished()
        except Finished:
            raise NoAnswer("etcd answered nothing", sent=True) from None
        finally:
            exchange.close()
        return answer

    async def listen(self, path: bytes, body: bytes) -> Exchange:
        """Make a call with many answers."""
        exchange = self._begin(path)
        try:
            await self._send(exchange, body, last=False)
        except BaseException:  # Cancelled too: nobody else has the exchange to close it.
            exchange.close()
            raise
        return exchange

    def cancel(self, exchange: Exchange) -> None:
        """Forget a call."""
        if self._exchanges.pop(exchange.number, None) is not None and self.usable:
            self._transport.write(_frame(_RESET, 0, exchange.number, _CANCEL.to_bytes(4, "big")))
        exchange.finish(NoAnswer("the call was given up", sent=True))

    def give_back(self, number: int, size_bytes: int) -> None:
        """Let the server send more of a call (0 = of all calls)."""
        if not self._transport.is_closing():
            self._transport.write(_frame(_WINDOW, 0, number, size_bytes.to_bytes(4, "big")))

    def close(self) -> None:
        """End the connection and all calls."""
        self._end("the connection to etcd was closed")
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take frames, as they come."""
        if self._received:
            data = self._received + data
        at, end = 0, len(data)
        try:
            while end - at >= 9:
                size = int.from_bytes(data[at : at + 3], "big")
                if size > _USUAL_FRAME:
                    raise ProtocolBroken("a frame is too long")
                if end - at < 9 + size:
                    break
                number = int.from_bytes(data[at + 5 : at + 9], "big") & _LAST_ID
                self._take(data[at + 3], data[at + 4], number, data[at + 9 : at + 9 + size])
                at += 9 + size
        except (ProtocolBroken, HPACKError, IndexError, ValueError) as error:
            self._end(f"etcd does not speak as agreed: {error}")
            self._transport.abort()
            return
        self._received = data[at:]

    def _begin(self, path: bytes) -> Exchange:
        if not self.usable:
            raise NoAnswer("the connection to etcd ended", sent=False)
        number = self._next_id
        self._next_id += 2
        if number + 2 > _LAST_ID:
            self.usable = False  # All numbers are used up: the next call makes a new connection.
        exchange = self._exchanges[number] = Exchange(self, number, self._new_window)
        self._transport.write(_frame(_HEADERS, _END_HEADERS, number, _request_block(path)))
        return exchange

    async def _send(self, exchange: Exchange, body: bytes, *, last: bool = True) -> None:
        """Send a message in as many frames as need be, waiting for the server where it wants us to."""
        message = memoryview(b"\0" + len(body).to_bytes(4, "big") + body)
        flag = _END_STREAM if last else 0
        at, end = 0, len(message)
        while at < end and exchange.end is None:
            frames: list[bytes | memoryview] = []
            while at < end and (size := min(self._max_frame, end - at, self._window, exchange.window)) > 0:
                self._window -= size
                exchange.window -= size
                frames.append(_head(size, _DATA, flag if at + size == end else 0, exchange.number))
                frames.append(message[at : at + size])
                at += size
            if frames:
                self._transport.writelines(frames)
            if at < end:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._window_waiters.append(waiter)
                await waiter

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Take one frame."""
        exchange = self._exchanges.get(number)
        if self._block and kind != _CONTINUATION:
            raise ProtocolBroken("a block of headers has no end")
        match kind:
            case 0:  # _DATA
                self._acknowledge(len(payload))
                if exchange is not None:
                    exchange.take(_unpadded(flags, payload))
                    if flags & _END_STREAM:
                        self._finish(exchange, NoAnswer("etcd did not say how the call went", sent=True))
            case 1:  # _HEADERS
                payload = _unpadded(flags, payload)
                self._take_headers(exchange, flags, payload[5:] if flags & _PRIORITY else payload)
            case 9:  # _CONTINUATION
                self._take_headers(exchange, flags | self._block[0], payload)
            case 3:  # _RESET
                if exchange is not None:
                    self._finish(exchange, NoAnswer("etcd gave the call up", sent=True))
            case 4:  # _SETTINGS
                if not flags & _ACK:
                    self._take_settings(payload)
            case 6:  # _PING
                if not flags & _ACK:
                    self._transport.write(_frame(_PING, _ACK, 0, payload))
            case 7:  # _AWAY
                self._go_away(int.from_bytes(payload[:4], "big") & _LAST_ID)
            case 8:  # _WINDOW
                size = int.from_bytes(payload, "big") & _LAST_ID
                if number == 0:
                    self._window += size
                elif exchange is not None:
                    exchange.window += size
                self._wake_senders()
            case _:
                pass  # Kinds that we do not know mean nothing.

    def _take_headers(self, exchange: Exchange | None, flags: int, payload: bytes) -> None:
        """Take a block of headers, or a piece of one: what comes first, or the end, which says how the call went."""
        block = self._block[1:] + payload
        if len(block) > MAX_BLOCK_BYTES:
            raise ProtocolBroken("a block of headers is too long")
        if not flags & _END_HEADERS:
            self._block = bytes((flags & _END_STREAM,)) + block
            return
        self._block = b""
        headers = self._headers.get(block)
        if headers is None:
            headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
            if len(self._headers) < MAX_KNOWN_BLOCKS:
                self._headers[block] = headers
        if exchange is not None and flags & _END_STREAM:
            code = int(headers.get("grpc-status", "2"))
            message = unquote(headers.get("grpc-message", ""))
            self._finish(exchange, Refused(code, message) if code else Finished())

    def _take_settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == _INITIAL_WINDOW:
                for exchange in self._exchanges.values():
                    exchange.window += value - self._new_window
                self._new_window = value
            elif key == _MAX_FRAME:
                self._max_frame = value
        self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        self._wake_senders()

    def _acknowledge(self, size_bytes: int) -> None:
        self._unacknowledged += size_bytes
        if self._unacknowledged >= GIVE_BACK:
            self.give_back(0, self._unacknowledged)
            self._unacknowledged = 0

    def _go_away(self, last: int) -> None:
        """Begin no more calls; those after the last that the server takes were never seen by it."""
        self.usable = False
        for number, exchange in list(self._exchanges.items()):
            if number > last:
                self._finish(exchange, NoAnswer("etcd is going away", sent=False))

    def _finish(self, exchange: Exchange, end: Exception) -> None:
        self._exchanges.pop(exchange.number, None)
        exchange.finish(end)
        self._wake_senders()

    def _wake_senders(self) -> None:
        waiters, self._window_waiters = self._window_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _end(self, why: str) -> None:
        self.usable = False
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.finish(NoAnswer(why, sent=True))
        self._wake_senders()


def _head(size_bytes: int, kind: int, flags: int, number: int) -> bytes:
    return (size_bytes << 16 | kind << 8 | flags).to_bytes(5, "big") + number.to_bytes(4, "big")


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return _head(len(payload), kind, flags, number) + payload


def _unpadded(flags: int, payload: bytes) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload


_blocks: dict[bytes, bytes] = {}


def _request_block(path: bytes) -> bytes:
    """Return a call's headers, each told in full or by its number in the static table.  Source: RFC 7541, section 6."""
    block = _blocks.get(path)
    if block is None:
        named = {b"\x04": path, b"\x01": b"localhost", b"\x0f\x10": b"application/grpc", b"\0\x02te": b"trailers"}
        block = b"\x83\x86" + b"".join(name + bytes((len(value),)) + value for name, value in named.items())
        _blocks[path] = block
    return block

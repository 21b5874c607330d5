"""Arbitrary bytes after hello, at either end: nothing raises or grows past its bound, and callers are told."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from vault.rpc.asks import Answering, Asking
from vault.rpc.coding import Refusal
from vault.rpc.connection import SILENT, Connection
from vault.rpc.errors import CallEnded
from vault.rpc.exchange import WINDOW, Exchange
from vault.rpc.frames import MAX_BATCH, Malformed, Question, answers, batch, control, encode_item, questions, spoken
from vault.rpc.limits import Limits
from vault.rpc.stream import Stream

LIMITS = Limits(asks=2)
MAX_FRAME = 4096

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
QUESTION = st.tuples(st.integers(0, 20), st.sampled_from(["", "node.x", "ca.root"]), st.binary(max_size=20))
ANSWER = st.tuples(st.integers(0, 20), st.none() | st.binary(max_size=20), st.none() | ANYTHING)
PACKED = st.builds(msgspec.msgpack.encode, st.lists(QUESTION | ANSWER, max_size=20) | ANYTHING)
CONTROL = st.sampled_from(
    [b'["+",5]', b'["+",-5]', b'["!",404,"NotFound","gone"]', b'["!",0,"NotLeader","x"]', b"{}", b"\xff", b"[" * 5000]
)
PAYLOAD = st.binary(max_size=120) | PACKED | CONTROL | st.just(bytes(MAX_FRAME + 1))


class Transport(asyncio.Transport):
    """Takes bytes and keeps none; notes how it was ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def frames(masked: bool) -> st.SearchStrategy[bytes]:
    """Return frames that are formed as they should be, around anything, and bytes that are no frames."""

    def made(opcode: Opcode, payload: bytes, fin: bool) -> bytes:
        if opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            payload, fin = payload[:125], True
        return Frame(opcode, payload, fin).serialize(mask=masked)

    opcodes = st.sampled_from([Opcode.BINARY] * 6 + [Opcode.TEXT] * 3 + [Opcode.PING, Opcode.CONT, Opcode.CLOSE])
    return st.builds(made, opcodes, PAYLOAD, st.sampled_from([True] * 9 + [False])) | st.binary(max_size=60)


def connection(ws: ServerProtocol | ClientProtocol) -> Connection:
    made = Connection(ws, LIMITS, address="h")
    made.connection_made(Transport())
    made.max_received = None
    return made


def server_end() -> Connection:
    return connection(ServerProtocol(max_size=MAX_FRAME, logger=SILENT, state=OPEN))


def client_end() -> Connection:
    return connection(ClientProtocol(parse_uri("wss://x/"), max_size=MAX_FRAME, logger=SILENT, state=OPEN))


def feed(to: Connection, pieces: list[bytes], check: Callable[[], None]) -> None:
    """Give bytes to a connection as the transport would, until it ends."""
    for piece in pieces:
        if to.transport.ended:  # type: ignore[attr-defined]
            break
        to.data_received(piece)
        check()
    to.connection_lost(None)
    check()


async def test_a_server_reads_nothing_more_while_its_answers_are_not_taken_and_a_client_reads_on() -> None:
    server, client = server_end(), client_end()
    for end in (server, client):
        end.pause_writing()
    assert not server.transport.reading  # type: ignore[attr-defined]
    assert client.transport.reading  # type: ignore[attr-defined]  # Or two such ends would wait for each other.
    server.resume_writing()
    assert server.transport.reading  # type: ignore[attr-defined]
    for end in (server, client):
        end.connection_lost(None)


@given(st.lists(frames(masked=True), max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_server_of_asks_takes_anything(pieces: list[bytes]) -> None:
    async def run() -> None:
        begun: list[Exchange] = []
        end = server_end()
        end.tenant = Answering(end, LIMITS, lambda exchange, method, done: begun.append(exchange))

        def check() -> None:
            assert len(begun) <= 2 * LIMITS.asks  # None of them is ever done here.
            assert len(end.ws.reader.buffer) <= MAX_FRAME + 64

        feed(end, pieces, check)
        assert all(exchange.ended for exchange in begun)

    asyncio.run(run())


@given(st.lists(frames(masked=True), max_size=12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_stream_takes_anything_at_either_end(pieces: list[bytes], serves: bool) -> None:
    async def run() -> None:
        end = server_end() if serves else client_end()
        end.tenant = stream = Stream(end)

        def check() -> None:
            assert stream.exchange._weight < WINDOW + MAX_FRAME + 1024

        feed(end, pieces, check)
        assert stream.exchange.ended

    asyncio.run(run())


@given(st.lists(frames(masked=False), max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_client_takes_anything_and_its_callers_are_told(pieces: list[bytes]) -> None:
    async def run() -> None:
        end = client_end()
        end.tenant = asking = Asking(end, LIMITS)
        waiting = [asyncio.create_task(asking.ask("node.x", b"")) for _ in range(5)]
        await asyncio.sleep(0)
        feed(end, pieces, lambda: None)
        results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
        assert all(isinstance(result, bytes | Exception) for result in results)
        assert asking._weight == 0

    asyncio.run(run())


@given(PAYLOAD)
@settings(max_examples=300, deadline=None)
def test_frames_are_decoded_or_malformed(payload: bytes) -> None:
    for decode in (questions, answers, control):
        try:
            decode(payload)
        except Malformed:
            continue


def test_a_batch_of_more_items_than_may_be_is_refused_before_they_are_made() -> None:
    item = encode_item(Question(1, "node.x"))
    for claimed in (MAX_BATCH + 1, 65535):
        with pytest.raises(Malformed):
            questions(b"\xdc" + claimed.to_bytes(2, "big") + item * claimed)
    assert len(questions(batch([item] * MAX_BATCH))) == MAX_BATCH
    for few in (0, 1, 15, 16):
        assert len(questions(batch([item] * few))) == few


@given(st.integers(), st.text(), st.text(), st.text())
def test_a_refusal_always_becomes_an_error_with_one_status(status: int, kind: str, text: str, address: str) -> None:
    error = Refusal(status=status, kind=kind, text=text, leader=text, address=address).error()
    assert 100 <= error.status < 600
    assert isinstance(error, CallEnded) or len(error.message) <= 8 * 1024


@given(st.text())
def test_a_header_of_versions_is_read_whatever_it_holds(header: str) -> None:
    assert all(0 <= version < 10**9 for version in spoken(header))
    assert spoken(f"1,{header[:50]}, 3") >= {1}

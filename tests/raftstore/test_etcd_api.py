"""The bytes between vaultd and etcd: protobuf's encoding, and HTTP/2 frames as a server may send them, cut anywhere."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.raftstore.engines.etcd_api import http2, messages, wire
from vault.raftstore.engines.etcd_api.exchange import Finished, NoAnswer, Refused
from vault.raftstore.engines.etcd_api.http2 import Connection

DATA, HEADERS, RESET, SETTINGS, PING, AWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
PATH = b"/etcdserverpb.KV/Range"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize(
    ("number", "encoded"),
    # The first two are the examples of https://protobuf.dev/programming-guides/encoding/#varints.
    [(1, "01"), (150, "9601"), (0, "00"), (127, "7f"), (128, "8001"), (2**64 - 1, "ffffffffffffffffff01")],
)
def test_numbers_are_seven_bits_a_byte_the_lowest_first(number: int, encoded: str) -> None:
    assert wire.varint(number).hex() == encoded
    assert list(wire.fields(b"\x08" + wire.varint(number))) == [(1, number)]


def test_a_message_is_its_fields_as_the_guide_has_them() -> None:
    """Source: https://protobuf.dev/programming-guides/encoding/, messages `Test1` to `Test3`."""
    assert wire.number_field(1, 150).hex() == "089601"
    assert wire.bytes_field(2, b"testing").hex() == "120774657374696e67"
    assert wire.bytes_field(3, wire.number_field(1, 150)).hex() == "1a03089601"
    assert list(wire.fields(bytes.fromhex("1a03089601"))) == [(3, bytes.fromhex("089601"))]
    assert list(wire.fields(b"\x0d1234\x1112345678\x08\x01")) == [(1, 1)]  # Four bytes, eight bytes, a number.


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_said_to_be_none(data: bytes) -> None:
    for read in (
        messages.RangeReply.from_bytes,
        messages.TxnReply.from_bytes,
        messages.WatchReply.from_bytes,
        messages.StatusReply.from_bytes,
        messages.member_list,
        messages.added_member,
        messages.no_space_members,
    ):
        with contextlib.suppress(wire.Malformed):
            read(data)


@given(st.binary(max_size=20), st.one_of(st.none(), st.binary(max_size=300)))
def test_a_transaction_tells_each_value_in_full(key: bytes, value: bytes | None) -> None:
    request = list(wire.fields(messages.txn_request(b"head", b"before", [(key, value)])))
    assert [field for field, _ in request] == [1, 2, 3]  # What is compared, what then happens, what happens otherwise.
    [(kind, operation)] = wire.fields(as_bytes(request[1][1]))
    parts = dict(wire.fields(as_bytes(operation)))
    assert (kind, parts) == ((3, {1: key}) if value is None else (2, {1: key, 2: value}))


def as_bytes(content: int | bytes) -> bytes:
    assert isinstance(content, bytes)
    return content


class Wire:
    """A transport that keeps what is written, and can take it apart into frames."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.ended = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.written += piece

    def close(self) -> None:
        self.ended = True

    abort = close

    def is_closing(self) -> bool:
        return self.ended

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """Return what was written since the last time: kind, flags, number and content of each frame."""
        data = bytes(self.written).removeprefix(PREFACE)
        self.written.clear()
        frames, at = [], 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 3], "big")
            number = int.from_bytes(data[at + 5 : at + 9], "big")
            frames.append((data[at + 3], data[at + 4], number, data[at + 9 : at + 9 + size]))
            at += 9 + size
        return frames


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + payload


def message(content: bytes) -> bytes:
    return b"\0" + len(content).to_bytes(4, "big") + content


def headers(*pairs: tuple[str, str]) -> bytes:
    encoder = Encoder()
    encoder.header_table_size = 0
    return bytes(encoder.encode(pairs))


BEGIN = headers((":status", "200"), ("content-type", "application/grpc"))
WELL = headers(("grpc-status", "0"), ("grpc-message", ""))


def answer(number: int, content: bytes) -> bytes:
    return frame(HEADERS, 4, number, BEGIN) + frame(DATA, 0, number, message(content)) + frame(HEADERS, 5, number, WELL)


def talk(act: Callable[[Connection, Wire], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        connection, transport = Connection(), Wire()
        connection.connection_made(transport)  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            await act(connection, transport)

    asyncio.run(run())


async def begun(connection: Connection, body: bytes = b"question") -> "asyncio.Task[bytes]":
    task = asyncio.ensure_future(connection.ask(PATH, body))
    await asyncio.sleep(0)
    return task


def test_a_call_is_headers_and_a_message_and_its_answer_comes_back() -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        assert transport.written.startswith(PREFACE)
        transport.frames()
        asked = await begun(connection)
        (kind, flags, number, block), data = transport.frames()
        assert (kind, flags, number) == (HEADERS, 4, 1)
        assert http2.Decoder().decode(block) == [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", PATH.decode()),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        assert data == (DATA, 1, 1, message(b"question"))
        connection.data_received(answer(1, b"answer"))
        assert await asked == b"answer"
        assert transport.frames() == []

    talk(act)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_answers_come_whole_however_the_bytes_are_cut(data: st.DataObject) -> None:
    contents = data.draw(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
    padded = headers(("grpc-status", "0"), ("x", "y" * 100))
    stream = frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64") + frame(PING, 0, 0, b"12345678") + frame(99, 7, 3, b"?")
    for place, content in enumerate(contents):
        number, whole = 2 * place + 1, message(content)
        cut = data.draw(st.integers(0, len(whole)))
        stream += frame(HEADERS, 4, number, BEGIN) + frame(DATA, 0, number, whole[:cut])
        stream += frame(DATA, 8, number, b"\x03" + whole[cut:] + b"\0\0\0")  # With three bytes of padding.
        stream += frame(HEADERS, 1, number, padded[:7]) + frame(CONTINUATION, 4, number, padded[7:])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))

    async def act(connection: Connection, transport: Wire) -> None:
        asked = [await begun(connection) for _ in contents]
        transport.frames()
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            connection.data_received(stream[start:end])
        assert await asyncio.gather(*asked) == contents
        assert transport.frames() == [(SETTINGS, 1, 0, b""), (PING, 1, 0, b"12345678")]
        assert connection.usable

    talk(act)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=30))))
def test_frames_that_make_no_sense_end_the_connection_at_most(frames: list[tuple[int, int, int, bytes]]) -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        asked = await begun(connection)
        for kind, flags, number, payload in frames:
            if not transport.ended:
                connection.data_received(frame(kind, flags, number, payload))
        connection.connection_lost(None)
        outcome = (await asyncio.gather(asked, return_exceptions=True))[0]
        assert isinstance(outcome, bytes | Refused | NoAnswer)
        assert not connection.usable

    talk(act)


def test_headers_without_an_end_end_the_connection() -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        await begun(connection)
        connection.data_received(frame(HEADERS, 0, 1, BEGIN))
        for _ in range(10):
            if not transport.ended:
                connection.data_received(frame(CONTINUATION, 0, 1, bytes(16_000)))
        assert transport.ended

    talk(act)


def test_an_error_comes_with_its_code_and_its_words() -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        asked = await begun(connection)
        connection.data_received(frame(HEADERS, 5, 1, headers(("grpc-status", "9"), ("grpc-message", "it%27s late"))))
        with pytest.raises(Refused) as caught:
            await asked
        assert (caught.value.code, caught.value.message) == (9, "it's late")

    talk(act)


def test_an_error_after_a_message_is_the_outcome() -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        asked = await begun(connection)
        failed = headers(("grpc-status", "14"), ("grpc-message", "gone"))
        connection.data_received(frame(DATA, 0, 1, message(b"half")) + frame(HEADERS, 5, 1, failed))
        with pytest.raises(Refused, match="gone"):
            await asked

    talk(act)


def test_a_long_message_waits_for_the_windows_of_the_call_and_of_the_connection() -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        transport.frames()
        body = bytes(200_000)
        asked = await begun(connection, body)
        sent = sum(len(payload) for kind, _, _, payload in transport.frames() if kind == DATA)
        assert sent == 65535
        connection.data_received(frame(WINDOW, 0, 1, (10_000).to_bytes(4, "big")))
        await asyncio.sleep(0)
        assert transport.frames() == []  # The connection's is still used up.
        connection.data_received(frame(WINDOW, 0, 0, (1_000_000).to_bytes(4, "big")))
        await asyncio.sleep(0)
        sizes = [len(payload) for kind, _, _, payload in transport.frames() if kind == DATA]
        assert sum(sizes) == 10_000
        larger = frame(SETTINGS, 0, 0, b"\0\x04" + (300_000).to_bytes(4, "big"))  # The initial window of calls.
        connection.data_received(larger)
        await asyncio.sleep(0)
        frames = [one for one in transport.frames() if one[0] == DATA]
        assert sum(len(payload) for _, _, _, payload in frames) == 200_005 - 75_535
        assert max(len(payload) for _, _, _, payload in frames) <= 16384
        assert [flags for _, flags, _, _ in frames][-1] == 1
        connection.data_received(answer(1, b"answer"))
        assert await asked == b"answer"

    talk(act)


def test_the_server_may_send_on_as_its_messages_are_taken() -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        exchange = await connection.listen(PATH, b"question")
        transport.frames()
        piece = message(bytes(16_000))
        for _ in range(600):  # 9.6 MB.
            connection.data_received(frame(DATA, 0, 1, piece))
        given = [(number, int.from_bytes(payload, "big")) for _, _, number, payload in transport.frames()]
        assert {number for number, _ in given} == {0}  # All calls together go on; this one waits for its reader.
        for _ in range(600):
            await exchange.receive()
        given = [(number, int.from_bytes(payload, "big")) for _, _, number, payload in transport.frames()]
        assert [number for number, _ in given] == [1]
        assert given[0][1] == 600 * len(piece)
        connection.data_received(frame(HEADERS, 5, 1, WELL))
        with pytest.raises(Finished):
            await exchange.receive()

    talk(act)


def test_a_call_that_is_given_up_is_called_off() -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        asked = await begun(connection)
        transport.frames()
        asked.cancel()
        await asyncio.wait([asked])
        assert transport.frames() == [(RESET, 0, 1, (8).to_bytes(4, "big"))]
        connection.data_received(answer(1, b"late"))
        assert connection.usable

    talk(act)


@pytest.mark.parametrize(("last", "sent"), [(1, True), (0, False)])
def test_a_server_that_goes_away_says_which_calls_it_never_saw(last: int, sent: bool) -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        asked = await begun(connection)
        connection.data_received(frame(AWAY, 0, 0, last.to_bytes(4, "big") + bytes(4)))
        assert not connection.usable
        with pytest.raises(NoAnswer) as refused:
            await connection.ask(PATH, b"another")
        assert not refused.value.sent
        connection.connection_lost(None)
        with pytest.raises(NoAnswer) as caught:
            await asked
        assert caught.value.sent is sent

    talk(act)


def test_numbers_of_calls_run_out_and_the_connection_with_them() -> None:
    async def act(connection: Connection, transport: Wire) -> None:
        connection._next_id = 2**31 - 1
        asked = await begun(connection)
        assert not connection.usable
        connection.data_received(answer(2**31 - 1, b"answer"))
        assert await asked == b"answer"

    talk(act)

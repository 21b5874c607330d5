"""Peers that do not keep to the protocol: the server gives them up within its limits, and serves everybody else."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.rpc.cluster import ECHO, HOST, QUICK, THE_CLUSTER, THE_WORKER, WORKER, client_of, echo, serving
from tests.rpc.relay import relaying
from tests.rpc.world import Ask, Tell
from vault.crypto.certificates import Role
from vault.rpc.call import Call
from vault.rpc.connection import HELLO_BYTES
from vault.rpc.credentials import Credentials, FirstContact
from vault.rpc.errors import CallBroken, CannotReach, VersionMismatch
from vault.rpc.limits import MAX_FRAME_BYTES, Limits
from vault.rpc.server import CannotListen, Server

HELLO = (
    b"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nVault-Control-Versions: 1\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@asynccontextmanager
async def raw(
    port: int, credentials: object = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect with TLS, and speak whatever the test likes."""
    context = FirstContact().client_context()
    if isinstance(credentials, Credentials):
        context = credentials.client_context()
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname="swarm-manager")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return what still comes until the server closes the connection."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except (ConnectionError, ssl.SSLError):
        return b""


async def still_serves(address: str) -> None:
    async with client_of() as client:
        assert (await client.ask(address, "node.echo", Ask(text="x"), Tell, 5)).text == f"x from {WORKER}"


@pytest.mark.parametrize(
    "opening", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 4096, b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff\xff"]
)
async def test_what_is_no_tls_is_closed(opening: bytes) -> None:
    async with serving(limits=QUICK) as (server, address):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(opening)
        assert b"HTTP" not in await ended(reader)
        writer.close()
        await still_serves(address)


@pytest.mark.parametrize("opening", [b"", b"\x16"])
async def test_somebody_who_never_finishes_tls_is_closed_in_time(opening: bytes) -> None:
    async with serving(limits=QUICK) as (server, _):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(opening)
        await ended(reader)
        writer.close()


@pytest.mark.parametrize("opening", [b"", b"GET /asks HT"])
async def test_somebody_who_never_finishes_hello_is_closed_in_time(opening: bytes) -> None:
    async with serving(limits=QUICK) as (server, address), raw(server.port) as (reader, writer):
        writer.write(opening)
        await ended(reader)
        await still_serves(address)


async def test_a_hello_that_comes_byte_by_byte_has_no_longer_than_any_other() -> None:
    async with serving(limits=QUICK) as (server, _), raw(server.port) as (reader, writer):
        dripping = asyncio.create_task(_drip(writer))
        assert await ended(reader) == b""
        dripping.cancel()


async def test_a_hello_without_end_is_cut_off() -> None:
    async with serving() as (server, address), raw(server.port) as (reader, writer):
        writer.write(b"GET /asks HTTP/1.1\r\nX: " + b"x" * 2 * HELLO_BYTES)
        assert b"101" not in await ended(reader)
        await still_serves(address)


@pytest.mark.parametrize(
    ("hello", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
        (b"POST /asks HTTP/1.1\r\nHost: x\r\n\r\n", b"4"),
        (HELLO % b"/other", b"404"),
        (HELLO % b"/calls/../asks", b"404"),
        (HELLO % b"/calls/a%00b", b"404"),
        ((HELLO % b"/asks").replace(b"Versions: 1", b"Versions: x,,-1"), b"426"),
        ((HELLO % b"/asks").replace(b"Versions: 1", b"Versions: 2,3"), b"426"),
    ],
)
async def test_a_hello_that_is_none_of_ours_is_refused_with_a_status(hello: bytes, status: bytes) -> None:
    async with serving() as (server, _), raw(server.port) as (reader, writer):
        writer.write(hello)
        assert (await ended(reader)).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(("ours", "upgrade"), [(9, "127"), (0, "this node")])
async def test_two_ends_without_a_common_version_say_so_in_one_sentence(
    ours: int, upgrade: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vault.rpc.client.VERSIONS", (ours,))
    async with serving() as (_, address), client_of() as client:
        with pytest.raises(
            VersionMismatch, match=f"speaks version 1 .* this node version {ours}: upgrade {upgrade}"
        ) as raised:
            await client.ask(address, "node.echo", Ask(text=""), Tell, 5)
    assert (raised.value.ours, raised.value.theirs) == (ours, 1)


@pytest.mark.parametrize(
    "frames",
    [
        b"\x82\xff" + (MAX_FRAME_BYTES + 1).to_bytes(8, "big") + bytes(4),  # Longer than may be.
        b"\x82\xff" + (2**62).to_bytes(8, "big") + bytes(4),
        b"\x82\x01\x00",  # Not masked.
        b"\x02\x80" + bytes(4),  # In fragments.
        b"\x81\x80" + bytes(4),  # Control text on a connection of asks.
        b"\x82\x81" + bytes(4) + b"\xc1",  # No MessagePack.
        b"\x82\x85" + bytes(4) + b"\xdd\xff\xff\xff\xff",  # A batch that claims four milliards of items.
        b"\x83\x80" + bytes(4),  # An opcode that is none.
        b"\xff" * 64,
    ],
)
async def test_frames_that_are_none_of_ours_end_the_connection(frames: bytes) -> None:
    async with serving() as (server, address), raw(server.port, THE_WORKER) as (reader, writer):
        writer.write(HELLO % b"/asks")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(frames)
        assert len(await ended(reader)) < 200
        await still_serves(address)


async def test_a_sender_without_credit_is_given_up_before_it_fills_memory() -> None:
    async def deaf(call: Call) -> None:
        await asyncio.Event().wait()

    async with (
        serving({"node.deaf": deaf, **ECHO}) as (_, address),
        client_of() as client,
        client.call(address, "node.deaf") as call,
    ):
        call._line._outstanding = -(2**40)  # type: ignore[attr-defined]  # It believes that it has credit.
        assert await _sent_until_broken(call) < 40  # MiB; some of it is still in the kernel's buffers.
        await still_serves(address)


async def test_a_stranger_may_send_only_so_much() -> None:
    async with serving() as (_, address), client_of(THE_CLUSTER.joiner()) as client:
        with pytest.raises(CallBroken):
            await client.ask(address, "ca.echo", Tell(text="", payload=bytes(300 * 1024)), Tell, 5)


async def test_a_node_may_have_only_so_many_connections_and_others_theirs() -> None:
    limits = Limits(of_worker=2)
    async with (
        serving(limits=limits) as (_, address),
        client_of() as client,
        client_of(THE_CLUSTER.credentials(Role.WORKER, "o" * 25)) as other,
        client.call(address, "node.echo"),
        client.call(address, "node.echo"),
    ):
        with pytest.raises(CannotReach, match="too many connections of this node"):
            async with client.call(address, "node.echo"):
                pass
        async with other.call(address, "node.echo"):
            pass


async def test_one_host_may_have_only_so_many_connections_that_said_no_hello() -> None:
    async with serving(limits=Limits(greeting_of_host=2)) as (server, address):
        silent = [await asyncio.open_connection(HOST, server.port) for _ in range(5)]
        assert await asyncio.gather(*(ended(reader) for reader, _ in silent[2:])) == [b""] * 3
        assert not any(reader.at_eof() for reader, _ in silent[:2])
        for _, writer in silent:
            writer.close()
        await _eventually_serves(address)


async def test_more_connections_without_a_hello_than_may_be_wait_to_be_accepted() -> None:
    async with serving(limits=Limits(greeting=1)) as (server, address):
        _, writer = await asyncio.open_connection(HOST, server.port)
        waiting = asyncio.create_task(still_serves(address))
        done, _ = await asyncio.wait((waiting,), timeout=0.2)
        assert not done
        writer.close()
        await waiting


async def test_a_connection_that_is_cut_off_silently_is_noticed_by_both_ends() -> None:
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait(call: Call) -> None:
        try:
            await call.receive(Ask)
            await call.receive(Ask)
        except CallBroken as error:
            told.set_result(error.message)

    async with (
        serving({"node.wait": wait}, limits=QUICK) as (server, _),
        relaying(HOST, server.port) as relay,
        client_of(limits=QUICK) as client,
        client.call(relay.address, "node.wait") as call,
    ):
        await call.send(Ask(text=""))
        relay.freeze()
        with pytest.raises(CallBroken, match=r"nothing was heard from it for 0\.3 s"):
            await call.receive(Tell)
        assert "nothing was heard" in await told


async def test_a_connection_without_traffic_is_kept_by_signs_of_life() -> None:
    limits = Limits(ping_s=0.02, silent_s=0.08)
    async with (
        serving(limits=limits) as (_, address),
        client_of(limits=limits) as client,
        client.call(address, "node.echo") as call,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call.receive(Tell), 0.5)
        await call.send(Ask(text="still here"))
        assert (await call.receive(Tell)).text == f"still here from {WORKER}"


async def test_a_loop_that_was_held_up_itself_gives_nobody_up() -> None:
    async with (
        serving(limits=QUICK) as (_, address),
        client_of(limits=QUICK) as client,
        client.call(address, "node.echo") as call,
    ):
        await call.send(Ask(text="before"))
        await call.receive(Tell)
        time.sleep(2 * QUICK.silent_s)  # Both ends are on this loop.
        await asyncio.sleep(QUICK.silent_s)
        await call.send(Ask(text="after"))
        assert (await call.receive(Tell)).text == f"after from {WORKER}"


async def test_an_answer_to_somebody_who_reads_nothing_does_not_pile_up() -> None:
    """The server stops reading as well, and gives the connection up when nothing moves."""
    answered = 0

    async def big(call: Call) -> None:
        nonlocal answered
        await call.receive(Ask)
        await call.send(Tell(text="", payload=bytes(1024 * 1024)))
        answered += 1

    async with (
        serving({"node.big": big}, limits=QUICK) as (server, _),
        relaying(HOST, server.port) as relay,
        client_of(limits=QUICK) as client,
    ):
        await client.ask(relay.address, "node.big", Ask(text=""), Tell, 5)
        relay.freeze_answers()
        asks = (client.ask(relay.address, "node.big", Ask(text=""), Tell, 5) for _ in range(200))
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(result, CallBroken) for result in results)
        assert answered < 50


async def test_an_address_that_is_taken_is_named() -> None:
    async with serving() as (server, _):
        second = Server(ECHO, THE_WORKER, lambda method, peer: None)
        with pytest.raises(CannotListen, match=rf"^cannot listen on {HOST}:{server.port}: address already in use$"):
            await second.start(HOST, server.port)


def test_the_channel_works_on_asyncios_own_loop_too() -> None:
    async def talk() -> None:
        async with serving({"node.echo": echo}) as (_, address), client_of() as client:
            await still_serves(address)
            async with client.call(address, "node.echo") as call:
                await call.send(Ask(text="x"))
                await call.receive(Tell)

    asyncio.run(talk())


async def _drip(writer: asyncio.StreamWriter) -> None:
    for byte in HELLO % (b"/" + b"x" * 4000):
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.005)


async def _sent_until_broken(call: Call) -> int:
    """Return how many MiB could be sent."""
    for sent in range(400):
        try:
            await call.send(Tell(text="", payload=bytes(1024 * 1024)))
        except CallBroken:
            return sent
    return 400


async def _eventually_serves(address: str) -> None:
    """Wait until connections that were closed have been noticed."""
    while True:
        try:
            return await still_serves(address)
        except CannotReach:
            await asyncio.sleep(0.005)

"""Calls over real TLS: streams, asks, refusals, ends."""

import asyncio
import logging
from http import HTTPStatus

import pytest

from tests.rpc.cluster import ECHO, HOST, MANAGER, THE_MANAGER, WORKER, client_of, echo, serving
from tests.rpc.world import Ask, Tell
from vault.model.errors import NotFound
from vault.rpc import attend
from vault.rpc.call import Call
from vault.rpc.coding import MAX_MESSAGE_BYTES
from vault.rpc.errors import (
    CallBroken,
    CallEnded,
    CannotReach,
    MessageTooLarge,
    NoAnswer,
    NotLeader,
    RemoteRefusal,
    UnexpectedMessage,
)
from vault.rpc.exchange import WINDOW
from vault.rpc.limits import Limits


async def test_a_stream_carries_messages_both_ways_and_each_end_knows_the_other() -> None:
    async with serving() as (_, address), client_of() as client, client.call(address, "node.echo") as call:
        for text in ("one", "two"):
            await call.send(Ask(text=text))
        assert await call.receive(Tell) == Tell(text=f"one from {WORKER}")
        assert await call.receive(Ask | Tell) == Tell(text=f"two from {WORKER}")
        assert call.peer is not None
        assert (call.peer.node_id, call.address) == (MANAGER, HOST)


async def test_a_thousand_asks_one_after_another_use_one_connection() -> None:
    async with serving() as (server, address), client_of() as client:
        for number in range(1000):
            reply = await client.ask(address, "node.echo", Ask(text=str(number)), Tell, 5)
            assert reply.text == f"{number} from {WORKER}"
        assert [len(found) for found in server._connections.values()] == [1]


async def test_a_hundred_asks_at_once_get_each_its_own_answer() -> None:
    async with serving() as (server, address), client_of() as client:
        texts = [str(number) for number in range(100)]
        asked = (client.ask(address, "node.echo", Ask(text=text), Tell, 10) for text in texts)
        assert [reply.text for reply in await asyncio.gather(*asked)] == [f"{text} from {WORKER}" for text in texts]
        assert [len(found) for found in server._connections.values()] == [1]


async def test_more_asks_than_may_be_open_wait_for_each_other() -> None:
    async with serving(limits=Limits(asks=4)) as (_, address), client_of(limits=Limits(asks=4)) as client:
        asked = (client.ask(address, "node.echo", Ask(text=str(number)), Tell, 10) for number in range(50))
        assert len(await asyncio.gather(*asked)) == 50


async def test_a_client_that_asks_too_much_at_once_is_refused_and_goes_on() -> None:
    held = asyncio.Event()

    async def hold(call: Call) -> None:
        await held.wait()
        await echo(call)

    async with serving({"node.hold": hold}, limits=Limits(asks=2)) as (_, address), client_of() as client:
        asked = [asyncio.create_task(client.ask(address, "node.hold", Ask(text=""), Tell, 10)) for _ in range(5)]
        with pytest.raises(RemoteRefusal, match="too many calls") as raised:
            await asked.pop()
        assert raised.value.status == HTTPStatus.SERVICE_UNAVAILABLE
        held.set()
        assert len(await asyncio.gather(*asked)) == 4


@pytest.mark.parametrize("size", [600 * 1024, MAX_MESSAGE_BYTES - 100])
async def test_large_messages_pass_both_ways(size: int) -> None:
    message = Tell(text="", payload=bytes(size))
    async with serving() as (_, address), client_of() as client:
        assert (await client.ask(address, "node.echo", message, Tell, 20)).payload == message.payload
        async with client.call(address, "node.echo") as call:
            await call.send(message)
            assert (await call.receive(Tell)).payload == message.payload


async def test_a_message_that_is_too_large_is_not_sent_and_the_call_goes_on() -> None:
    async with serving() as (_, address), client_of() as client, client.call(address, "node.echo") as call:
        with pytest.raises(MessageTooLarge):
            await call.send(Tell(text="", payload=bytes(MAX_MESSAGE_BYTES)))
        await call.send(Ask(text="x"))
        await call.receive(Tell)


async def test_refusals_reach_the_caller_of_a_stream_and_of_an_ask() -> None:
    async def refuse(call: Call) -> None:
        await call.receive(Ask)
        raise NotFound("secret", "password")

    async with serving({"node.no": refuse}) as (_, address), client_of() as client:
        with pytest.raises(RemoteRefusal, match="secret password not found") as raised:
            await client.ask(address, "node.no", Ask(text=""), Tell, 5)
        assert (raised.value.status, raised.value.kind) == (HTTPStatus.NOT_FOUND, "NotFound")
        async with client.call(address, "node.no") as call:
            await call.send(Ask(text=""))
            with pytest.raises(RemoteRefusal, match="secret password not found"):
                await call.receive(Tell)
            with pytest.raises(RemoteRefusal):
                await call.send(Ask(text="again"))


async def test_who_leads_reaches_the_caller_as_fields() -> None:
    async def follow(call: Call) -> None:
        raise NotLeader("l" * 25, "10.0.0.7:2377")

    async with serving({"node.no": follow}) as (_, address), client_of() as client:
        with pytest.raises(NotLeader) as raised:
            await client.ask(address, "node.no", Ask(text=""), Tell, 5)
        assert (raised.value.leader, raised.value.address) == ("l" * 25, "10.0.0.7:2377")


async def test_a_bug_in_a_handler_shows_nothing_of_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(call: Call) -> None:
        raise ValueError((await call.receive(Ask)).text)

    with caplog.at_level(logging.DEBUG):
        async with serving({"node.bug": broken}) as (_, address), client_of() as client:
            with pytest.raises(RemoteRefusal, match="its log names the place") as raised:
                await client.ask(address, "node.bug", Ask(text="confidential"), Tell, 5)
    assert "confidential" not in str(raised.value)
    assert any(record.message == "rpc_fault" for record in caplog.records)
    assert all("confidential" not in str(vars(record)) for record in caplog.records)


async def test_an_unknown_method_and_a_wrong_message_are_refused_by_name() -> None:
    async with serving() as (_, address), client_of() as client:
        with pytest.raises(RemoteRefusal, match="no such method") as raised:
            await client.ask(address, "node.unknown", Ask(text=""), Tell, 5)
        assert raised.value.status == HTTPStatus.NOT_IMPLEMENTED
        with pytest.raises(UnexpectedMessage):
            await client.ask(address, "node.echo", Ask(text=""), Ask, 5)


async def test_a_handler_that_ends_without_an_answer_ends_the_ask() -> None:
    async def nothing(call: Call) -> None:
        await call.receive(Ask)

    async with serving({"node.nothing": nothing}) as (_, address), client_of() as client:
        with pytest.raises(CallEnded, match="without an answer"):
            await client.ask(address, "node.nothing", Ask(text=""), Tell, 5)


async def test_what_a_handler_sent_before_it_ended_is_read_however_late() -> None:
    async def burst(call: Call) -> None:
        for number in range(500):
            await call.send(Tell(text=str(number), payload=bytes(1000)))

    async with (
        serving({"node.burst": burst}) as (_, address),
        client_of() as client,
        client.call(address, "node.burst") as call,
    ):
        assert [(await call.receive(Tell)).text for _ in range(500)] == [str(number) for number in range(500)]
        with pytest.raises(CallEnded):
            await call.receive(Tell)


async def test_a_sender_waits_for_a_reader_who_is_behind_and_nothing_is_lost() -> None:
    """The count that was sent stands still while nobody reads, however long; signs of life pass meanwhile."""
    sent = 0
    quick = Limits(ping_s=0.02, silent_s=0.1)

    async def flood(call: Call) -> None:
        nonlocal sent
        for number in range(200):
            await call.send(Tell(text=str(number), payload=bytes(WINDOW // 10)))
            sent += 1

    async with (
        serving({"node.flood": flood}, limits=quick) as (_, address),
        client_of(limits=quick) as client,
        client.call(address, "node.flood") as call,
    ):
        stood_still = 0
        while stood_still < 10:  # Five times what would end a silent connection.
            before = sent
            await asyncio.sleep(0.05)
            stood_still = stood_still + 1 if sent == before else 0
        assert 10 <= sent < 15
        assert [int((await call.receive(Tell)).text) for _ in range(200)] == list(range(200))


async def test_closing_a_call_ends_its_handler() -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait(call: Call) -> None:
        try:
            await call.receive(Ask)
        except CallEnded as error:
            ended.set_result(type(error).__name__)

    async with serving({"node.wait": wait}) as (_, address), client_of() as client:
        async with client.call(address, "node.wait"):
            pass
        assert await ended == "CallEnded"


async def test_an_ask_that_nobody_waits_for_any_more_ends_its_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attend, "GRACE_S", 0.0)
    cancelled = asyncio.Event()

    async def deaf(call: Call) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving({"node.deaf": deaf, **ECHO}) as (_, address), client_of() as client:
        with pytest.raises(NoAnswer, match=r"did not answer within 0\.05 s"):
            await client.ask(address, "node.deaf", Ask(text=""), Tell, 0.05)
        await cancelled.wait()
        await client.ask(address, "node.echo", Ask(text=""), Tell, 5)


async def test_cancelling_the_caller_of_a_stream_ends_its_handler() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait(call: Call) -> None:
        started.set()
        with pytest.raises(CallEnded):
            await call.receive(Ask)
        ended.set()

    async def caller(address: str) -> None:
        async with client.call(address, "node.wait") as call:
            await call.receive(Tell)

    async with serving({"node.wait": wait}) as (_, address), client_of() as client:
        calling = asyncio.create_task(caller(address))
        await started.wait()
        calling.cancel()
        await ended.wait()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_cancelling_a_caller_leaves_the_shared_connection_to_the_others() -> None:
    async with serving() as (server, address), client_of() as client:
        first = asyncio.create_task(client.ask(address, "node.echo", Ask(text="first"), Tell, 5))
        second = asyncio.create_task(client.ask(address, "node.echo", Ask(text="second"), Tell, 5))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).text == f"second from {WORKER}"
        assert [len(found) for found in server._connections.values()] == [1]


async def test_closing_the_connections_of_a_node_ends_its_calls_at_once_and_no_others() -> None:
    async with (
        serving() as (server, address),
        client_of() as client,
        client_of(THE_MANAGER) as other,
        client.call(address, "node.echo") as call,
        other.call(address, "node.echo") as untouched,
    ):
        await call.send(Ask(text=""))
        await call.receive(Tell)
        assert server.connected == {WORKER, MANAGER}
        server.close_peer(WORKER)
        with pytest.raises(CallBroken):
            await call.receive(Tell)
        await untouched.send(Ask(text=""))
        await untouched.receive(Tell)


async def test_ending_some_of_a_node_s_calls_leaves_its_others_and_what_it_asked() -> None:
    going_on = asyncio.Event()

    async def slow(call: Call) -> None:
        asked = await call.receive(Ask)
        await going_on.wait()
        await call.send(Tell(text=asked.text))

    handlers = {"manager.slow": slow, "manager.echo": echo, "node.echo": echo}
    async with (
        serving(handlers) as (server, address),
        client_of() as client,
        client.call(address, "manager.echo") as ended,
        client.call(address, "node.echo") as kept,
    ):
        asked = asyncio.ensure_future(client.ask(address, "manager.slow", Ask(text="mine"), Tell, 5))
        for call in (ended, kept):
            await call.send(Ask(text=""))
            await call.receive(Tell)
        server.end_calls(WORKER, "manager.")
        with pytest.raises(CallBroken):
            await ended.receive(Tell)
        await kept.send(Ask(text=""))
        await kept.receive(Tell)
        going_on.set()
        assert (await asked).text == "mine"


async def test_an_ask_on_a_connection_that_broke_opens_another() -> None:
    async with serving() as (server, address), client_of() as client:
        await client.ask(address, "node.echo", Ask(text=""), Tell, 5)
        server.close_peer(WORKER)
        while server.connected:
            await asyncio.sleep(0)
        for _ in range(100):
            try:
                await client.ask(address, "node.echo", Ask(text=""), Tell, 5)
            except CallBroken:  # It was sent before the end was noticed: not repeated by itself.
                continue
            return
    raise AssertionError("no new connection")


async def test_an_ask_whose_connection_breaks_is_not_repeated() -> None:
    served = 0

    async def once(call: Call) -> None:
        nonlocal served
        served += 1
        await call.receive(Ask)
        server.close_peer(WORKER)
        await call.receive(Ask)

    async with serving({"node.once": once}) as (server, address), client_of() as client:
        with pytest.raises(CallBroken):
            await client.ask(address, "node.once", Ask(text=""), Tell, 5)
        assert served == 1


async def test_nobody_there_is_said_with_the_address() -> None:
    async with client_of() as client:
        with pytest.raises(CannotReach, match=r"^cannot reach 127\.13\.0\.250:9: connection refused$"):
            await client.ask("127.13.0.250:9", "node.echo", Ask(text=""), Tell, 5)
        with pytest.raises(CannotReach, match="connection refused"):
            async with client.call("127.13.0.250:9", "node.echo"):
                pass
        for text in ("", "x", "host:", ":1", "h:0", "h:65536", "h:1x", "h\0:1"):
            with pytest.raises(CannotReach, match="not of the form"):
                await client.ask(text, "node.echo", Ask(text=""), Tell, 5)


async def test_a_server_that_stops_breaks_its_calls_and_lets_nobody_guess() -> None:
    """A request that was cut off may have been carried out: it must not look like a refusal."""
    started = asyncio.Event()

    async def slow(call: Call) -> None:
        started.set()
        await asyncio.Event().wait()

    async with client_of() as client:
        async with serving({"node.slow": slow}) as (_, address):
            ask = asyncio.create_task(client.ask(address, "node.slow", Ask(text=""), Tell, 5))
            await started.wait()
        with pytest.raises(CallBroken):
            await ask
        with pytest.raises(CannotReach):
            await client.ask(address, "node.slow", Ask(text=""), Tell, 5)

"""Two ends of a call within one process, and how a handler's end reaches the caller."""

import asyncio
import logging
from http import HTTPStatus

import pytest

from tests.rpc.world import SOMEBODY, Ask, Tell
from vault.model.errors import NotFound
from vault.rpc import attend
from vault.rpc.call import Call
from vault.rpc.coding import MAX_MESSAGE_BYTES
from vault.rpc.errors import CallEnded, HandlerFailed, MessageTooLarge, NotLeader, RemoteRefusal, UnexpectedMessage
from vault.rpc.exchange import WINDOW
from vault.rpc.pipe import local_call, pipe

LIMIT_S = 5


async def echo(call: Call) -> None:
    while True:
        asked = await call.receive(Ask)
        await call.send(Tell(text=asked.text))


async def test_messages_arrive_in_order_both_ways_and_both_ends_see_the_identity() -> None:
    near, far = pipe(SOMEBODY)
    for text in ("one", "two"):
        await near.send(Ask(text=text))
    await far.send(Tell(text="three"))
    assert [await far.receive(Ask | Tell), await far.receive(Ask)] == [Ask(text="one"), Ask(text="two")]
    assert await near.receive(Ask | Tell) == Tell(text="three")
    assert near.peer == far.peer == SOMEBODY


async def test_what_was_sent_before_the_end_is_still_read() -> None:
    near, far = pipe(None)
    await near.send(Ask(text="last"))
    await near.close()
    with pytest.raises(CallEnded):
        await far.send(Tell(text="too late"))
    assert await far.receive(Ask) == Ask(text="last")
    with pytest.raises(CallEnded):
        await far.receive(Ask)
    with pytest.raises(CallEnded):
        await near.receive(Ask)


async def test_a_sender_waits_for_a_reader_who_is_behind() -> None:
    near, far = pipe(None)
    await near.send(Tell(text="", payload=bytes(WINDOW)))
    late = asyncio.create_task(near.send(Ask(text="late")))
    await asyncio.sleep(0)
    assert not late.done()
    await far.receive(Tell)
    await asyncio.wait_for(late, LIMIT_S)


async def test_a_sender_who_waits_is_told_when_the_reader_leaves() -> None:
    near, far = pipe(None)
    await near.send(Tell(text="", payload=bytes(WINDOW)))
    late = asyncio.create_task(near.send(Ask(text="late")))
    await asyncio.sleep(0)
    await far.close()
    with pytest.raises(CallEnded):
        await asyncio.wait_for(late, LIMIT_S)


async def test_a_cancelled_receive_loses_no_message() -> None:
    near, far = pipe(None)
    waiting = asyncio.create_task(far.receive(Ask))
    await asyncio.sleep(0)
    await near.send(Ask(text="kept"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await far.receive(Ask) == Ask(text="kept")


async def test_bytes_of_another_type_are_named_and_the_call_goes_on() -> None:
    near, far = pipe(None)
    await near.send(Tell(text="confidential"))
    await near.send(Ask(text="hello"))
    with pytest.raises(UnexpectedMessage, match="Ask") as raised:
        await far.receive(Ask)
    assert "confidential" not in str(raised.value)
    assert await far.receive(Ask) == Ask(text="hello")


async def test_a_message_that_is_too_large_is_not_sent() -> None:
    near, far = pipe(None)
    with pytest.raises(MessageTooLarge):
        await near.send(Tell(text="", payload=bytes(MAX_MESSAGE_BYTES)))
    await near.send(Tell(text="small"))
    assert await far.receive(Tell) == Tell(text="small")


async def test_a_local_call_is_served_and_ends_with_its_caller() -> None:
    ended = asyncio.Event()

    async def noting(call: Call) -> None:
        try:
            await echo(call)
        finally:
            ended.set()

    async with local_call(noting, SOMEBODY) as call:
        await call.send(Ask(text="hi"))
        assert await call.receive(Tell) == Tell(text="hi")
    assert ended.is_set()


async def test_a_handlers_refusal_reaches_the_caller_with_status_sentence_and_type() -> None:
    async def refuse(call: Call) -> None:
        raise NotFound("secret", "password")

    async with local_call(refuse, None) as call:
        with pytest.raises(RemoteRefusal, match=r"^secret password not found$") as raised:
            await call.receive(Ask)
    assert (raised.value.status, raised.value.kind) == (HTTPStatus.NOT_FOUND, "NotFound")


async def test_who_leads_reaches_the_caller_as_fields() -> None:
    async def refuse(call: Call) -> None:
        raise NotLeader("l" * 25, "10.0.0.1:2377")

    async with local_call(refuse, None) as call:
        with pytest.raises(NotLeader) as raised:
            await call.receive(Ask)
    assert (raised.value.leader, raised.value.address) == ("l" * 25, "10.0.0.1:2377")


async def test_a_refusal_inside_a_task_group_is_the_same_refusal() -> None:
    async def refuse() -> None:
        raise NotFound("node", "x")

    async def grouped(call: Call) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse())
            group.create_task(echo(call))

    async with local_call(grouped, None) as call:
        with pytest.raises(RemoteRefusal, match="node x not found"):
            await call.receive(Ask)


async def test_a_bug_in_a_handler_is_logged_by_place_and_told_in_one_sentence(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(call: Call) -> None:
        raise KeyError("confidential")

    with caplog.at_level(logging.DEBUG):
        async with local_call(broken, None, "node.session") as call:
            with pytest.raises(RemoteRefusal) as raised:
                await call.receive(Ask)
    assert (raised.value.message, raised.value.kind) == (HandlerFailed().message, "HandlerFailed")
    [record] = [record for record in caplog.records if record.message == "rpc_fault"]
    fields = vars(record)
    assert (fields["method"], fields["error"]) == ("node.session", "KeyError")
    assert "test_pipe.py:" in fields["where"]
    assert all("confidential" not in str(vars(record)) for record in caplog.records)


async def test_a_handler_that_does_not_notice_the_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attend, "GRACE_S", 0.0)
    cancelled = asyncio.Event()

    async def deaf(call: Call) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with asyncio.timeout(LIMIT_S), local_call(deaf, None):
        pass
    assert cancelled.is_set()


async def test_cancelling_the_caller_ends_the_handler_at_once() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def caller() -> None:
        async with local_call(slow, None) as call:
            await call.receive(Ask)

    calling = asyncio.create_task(caller())
    await started.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(calling, LIMIT_S)
    assert cancelled.is_set()

"""Logs of tasks on other nodes: from the executor there to a reader at the leader, in virtual time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.agent.net import Member, Memory, Net
from tests.agent.test_connection import state, until
from tests.dispatcher.world import FakeStore, Lead, identity, node, task
from tests.virtual import run
from vault.agent.logs import LogLine, LogQuery
from vault.model.task import State
from vault.rpc import messages
from vault.rpc.errors import RemoteRefusal
from vault.rpc.messages import LogsHere, LogsWanted
from vault.rpc.pipe import local_call


class Printer:
    """What a container prints: `count` lines, then more when it is followed."""

    def __init__(self, count: int, size: int = 10) -> None:
        self.count, self.size = count, size
        self.read = 0
        self.asked: LogQuery | None = None
        self.more = asyncio.Event()
        self.closed = False

    async def logs(self, task_id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        self.asked = query
        try:
            for number in range(self.count):
                self.read += 1
                stream = "stderr" if number % 2 else "stdout"
                yield LogLine(at_ns=number, stream=stream, data=b"%06d" % number + b"x" * self.size)
                await asyncio.sleep(0)
            if query.follow:
                await self.more.wait()
                yield LogLine(at_ns=9, stream="stdout", data=b"more\n")
        finally:
            self.closed = True


class Running:
    """A leader and a node on which t1 runs."""

    def __init__(self, printer: Printer) -> None:
        self.net, self.store = Net(), FakeStore(node("n1"), node("n2"))
        self.store.put(task("t1"))
        self.lead, self.member = Lead(self.store), Member(self.net, Memory("a"))
        self.member.executor.logs = printer.logs  # type: ignore[attr-defined]

    async def __aenter__(self) -> "Running":
        await self.lead.__aenter__()
        self.net.leads["a"] = self.lead
        await self.member.__aenter__()
        await until(lambda: state(self.store) is State.RUNNING)
        self.broker = self.lead.dispatcher.logs
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.member.__aexit__(None, None, None)
        await self.lead.__aexit__()


def test_a_log_arrives_whole_and_in_order() -> None:
    async def story() -> None:
        printer = Printer(5000)
        async with Running(printer) as world:
            query = messages.LogQuery(tail=7, since_ns=5, until_ns=6, stderr=False)
            found = [pair async for pair in world.broker.lines("t1", "n1", query)]
            assert found[0][1] == {"tag": "t1"}
            lines = [line for line, _ in found]
            assert [line.at_ns for line in lines] == list(range(5000))
            assert [line.stderr for line in lines[:3]] == [False, True, False]
            assert lines[4999].data == b"004999" + b"x" * 10
            assert printer.asked == LogQuery(tail=7, since_ns=5, until_ns=6, stderr=False)

    run(story())


def test_following_goes_on_until_the_reader_has_enough() -> None:
    async def story() -> None:
        printer = Printer(1)
        async with Running(printer) as world:
            lines = world.broker.lines("t1", "n1", messages.LogQuery(follow=True))
            assert (await anext(lines))[0].at_ns == 0
            await asyncio.sleep(3600)
            printer.more.set()
            assert (await anext(lines))[0].data == b"more\n"
            printer.more.clear()
            lines = world.broker.lines("t1", "n1", messages.LogQuery(follow=True))
            await anext(lines)
            printer.closed = False
            await lines.aclose()
            await until(lambda: printer.closed, 5)
            assert world.broker._wishes == {}

    run(story())


def test_a_reader_that_takes_nothing_makes_the_node_wait_and_nothing_gathers() -> None:
    async def story() -> None:
        printer = Printer(1000, size=100_000)
        async with Running(printer) as world:
            lines = world.broker.lines("t1", "n1", messages.LogQuery())
            await anext(lines)
            await asyncio.sleep(60)
            assert printer.read < 60
            assert world.lead.state("n1") == "ready"
            assert len([line async for line in lines]) == 999

    run(story())


@pytest.mark.parametrize(("task_id", "node_id"), [("t1", "n2"), ("t9", "n1")])
def test_a_node_that_is_down_or_has_no_such_task_yields_nothing(task_id: str, node_id: str) -> None:
    async def story() -> None:
        async with Running(Printer(3)) as world:
            assert [line async for line in world.broker.lines(task_id, node_id, messages.LogQuery())] == []

    run(story())


def test_a_node_that_breaks_off_ends_the_log_and_not_the_reader() -> None:
    async def story() -> None:
        async with Running(Printer(3)) as world:
            lines = world.broker.lines("t1", "n1", messages.LogQuery(follow=True))
            await anext(lines)
            world.member.connecting.cancel()
            assert len([line async for line in lines]) <= 2
            assert [line async for line in world.broker.lines("t1", "n1", messages.LogQuery())] == []

    run(story())


def test_a_log_that_cannot_be_read_ends_for_its_reader_alone() -> None:
    async def broken(task_id: str, query: LogQuery) -> AsyncIterator[LogLine]:
        yield LogLine(at_ns=1, stream="stdout", data=b"one\n")
        raise OSError(5, "Input/output error")

    async def story() -> None:
        async with Running(Printer(3)) as world:
            world.member.executor.logs = broken  # type: ignore[attr-defined]
            assert len([line async for line in world.broker.lines("t1", "n1", messages.LogQuery())]) <= 1
            assert world.member.connection.leader == "a"

    run(story())


def test_only_the_node_that_was_asked_may_answer() -> None:
    async def story() -> None:
        asked: list[LogsWanted] = []
        async with Running(Printer(3)) as world:
            broker = world.broker
            ask = broker._ask
            broker._ask = lambda node_id, notice: bool(asked.append(notice)) or ask("n2", notice) or True  # type: ignore[func-returns-value, arg-type]
            reading = asyncio.ensure_future(anext(broker.lines("t1", "n1", messages.LogQuery()), None))
            await asyncio.sleep(0.1)
            for node_id, wish_id in (("n2", asked[0].id), ("n1", "guessed")):
                async with local_call(world.lead.dispatcher.serve_logs, identity(node_id)) as call:
                    await call.send(LogsHere(id=wish_id))
                    with pytest.raises(RemoteRefusal, match="nobody asked"):
                        await call.receive(LogsHere)
            assert await reading is None, "nobody answered in time"

    run(story())

"""The load writes down what happened: a manager that behaves is accepted, and each misbehaviour is found."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from tests.cluster.checker.history import Kind, Outcome
from tests.cluster.checker.verdict import Verdict, judge
from tests.cluster.fakes import BUGS, FakeManager
from tests.cluster.load.creates import Creates
from tests.cluster.load.http import Http, NoAnswer, NotSent
from tests.cluster.load.mixed import Mixed
from tests.cluster.load.outcome import UnexpectedAnswer, outcome
from tests.cluster.load.recorder import Client, Recorder
from tests.e2e.node import Node


def judged(socket: Path, bug: str) -> tuple[Verdict, list[str]]:
    """Run both loads against a manager, under two names as if there were two; return the verdicts."""

    async def run() -> tuple[Verdict, list[str]]:
        recorder = Recorder({"manager1": str(socket), "manager2": str(socket)}, seed=7)
        mixed = Mixed(recorder, rate=100_000, operations_max=1500)
        creates = Creates(recorder, creates_max=200, pause_s=0)
        async with FakeManager(socket, bug).serving(), asyncio.timeout(30):
            await asyncio.gather(mixed.run(), creates.run())
            assert await mixed.settle() == []
            missing, count = await creates.check()
        assert count.acknowledged + count.refused == 200
        return judge(recorder.history), missing

    return asyncio.run(run())


@pytest.mark.parametrize("bug", BUGS)
def test_a_misbehaving_manager_is_found_and_an_honest_one_is_not(tmp_path: Path, bug: str) -> None:
    verdict, missing = judged(tmp_path / "s", bug)
    assert verdict.operations > 1500
    assert (verdict.good and not missing) == (bug == ""), f"{verdict}\n{missing}"
    if bug in ("loses a create", "keeps what it refuses"):
        assert missing, "the load of creates finds it by itself"
        assert verdict.violations, "and so do reads"


def test_without_a_server_nothing_was_sent(tmp_path: Path) -> None:
    with pytest.raises(NotSent):
        asyncio.run(Http(str(tmp_path / "none")).ask("GET", "/_ping", timeout_s=1))


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 201 Created\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12"]
)
def test_an_answer_that_stops_early_leaves_the_outcome_unknown(tmp_path: Path, answer: bytes) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        writer.close()

    async def run() -> Outcome:
        async with await asyncio.start_unix_server(broken, tmp_path / "s"):
            client = Client(Recorder({"m": str(tmp_path / "s")}, seed=1), 0)
            return (await client.create("m", "a", "l")).outcome

    assert asyncio.run(run()) is Outcome.UNKNOWN


def test_a_server_that_is_silent_leaves_the_outcome_unknown_after_the_deadline(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def run() -> Outcome:
        async with await asyncio.start_unix_server(silent, tmp_path / "s"):
            with pytest.raises(NoAnswer):
                await Http(str(tmp_path / "s")).ask("POST", "/secrets/create", {}, timeout_s=0.05)
            client = Client(Recorder({"m": str(tmp_path / "s")}, seed=1), 0, timeout_s=0.05)
            return (await client.remove("m", "a")).outcome

    assert asyncio.run(run()) is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("kind", "status", "message", "expected"),
    [
        (Kind.CREATE, 201, "", Outcome.DONE),
        (Kind.CREATE, 409, "rpc error: code = AlreadyExists desc = secret a already exists", Outcome.EXISTS),
        (Kind.READ, 404, "secret a not found", Outcome.ABSENT),
        (Kind.UPDATE, 500, "rpc error: code = Unknown desc = update out of sequence", Outcome.STALE),
        (Kind.CREATE, 503, "the outcome of this write is unknown: look at the object before you try again",
         Outcome.UNKNOWN),
        (Kind.CREATE, 503, "rpc error: code = Unknown desc = The swarm does not have a leader.", Outcome.REFUSED),
    ],
)  # fmt: skip
def test_each_answer_has_one_meaning(kind: Kind, status: int, message: str, expected: Outcome) -> None:
    assert outcome(kind, status, message) is expected


@pytest.mark.parametrize(
    ("kind", "status"), [(Kind.CREATE, 404), (Kind.CREATE, 500), (Kind.READ, 409), (Kind.REMOVE, 400)]
)
def test_an_answer_that_is_right_for_no_state_is_told(kind: Kind, status: int) -> None:
    with pytest.raises(UnexpectedAnswer):
        outcome(kind, status, "secret a")


@pytest.mark.machine
def test_one_vaultd_that_is_killed_under_load_loses_and_doubles_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="vl-", dir="/tmp", ignore_cleanup_errors=True) as place:
        node = Node(Path(place))
        try:
            node.start().vault("swarm", "init", "--advertise-addr", "127.18.0.1")
            asyncio.run(_killed(node))
        finally:
            node.close()


async def _killed(node: Node) -> None:
    recorder = Recorder({"manager1": str(node.run_root / "vault.sock")}, seed=3)
    mixed, creates = Mixed(recorder, rate=150), Creates(recorder)
    async with asyncio.TaskGroup() as group:
        for load in (mixed, creates):
            group.create_task(load.run())
        while recorder.acknowledged() < 60:
            await asyncio.sleep(0.02)
        node.kill()
        await asyncio.to_thread(node.start)
        before = recorder.acknowledged()
        while recorder.acknowledged() < before + 60:
            await asyncio.sleep(0.02)
        mixed.stop()
        creates.stop()
    assert await mixed.settle() == []
    missing, _ = await creates.check()
    verdict = judge(recorder.history)
    assert missing == []
    assert verdict.good, verdict
    assert recorder.unexpected == []
    assert verdict.outcomes["refused"], "while it was away"

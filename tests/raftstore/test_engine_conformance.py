"""Every engine behaves like the model: commits, conditions, crashes, reloads."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.raftstore.model_engine import Disk, ModelEngine
from tests.raftstore.plain_member import PlainMember
from vault.raftstore.engine import Commit, Engine, EngineStopped, HeadMoved, Write
from vault.raftstore.engines import etcd_reading, sqlite_file
from vault.raftstore.engines.sqlite import SqliteEngine
from vault.raftstore.proposals import CALLER_WRITES

KEYS = st.integers(0, 8).map(lambda n: f"/v1/task/{n}")
SIZES = st.one_of(st.integers(0, 40), st.integers(3000, 9000))
VALUES = st.tuples(st.binary(max_size=8), SIZES).map(lambda pair: pair[0] + bytes(pair[1]))
WRITES = st.dictionaries(KEYS, st.one_of(st.none(), VALUES), max_size=6).map(
    lambda pairs: [Write(key, value) for key, value in pairs.items()]
)


async def dump(engine: Engine) -> dict[str, bytes]:
    """Return all records as `load` gives them; each key once."""
    pairs = [pair async for page in (await engine.read()).pages() for pair in page]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.fixture(autouse=True)
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the log fill up within a test."""
    monkeypatch.setattr(sqlite_file, "LOG_BYTES", 64 * 1024)
    monkeypatch.setattr(etcd_reading, "FIRST_KEYS", 2)


class Lockstep(RuleBasedStateMachine):
    """The same steps on the model and on SQLite; a crash copies the files as they are and opens the copy."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp(prefix="vault-conformance-"))
        self.home = self.root / "0"
        self.generation = 0
        self.disk = Disk()
        self.model = ModelEngine(self.disk)
        self.counter = 0

    @initialize()
    def begin(self) -> None:
        self.home.mkdir()
        self.engine = self.run(SqliteEngine.create(self.home))

    def run(self, coroutine: Any) -> Any:
        async def wait() -> Any:
            return await coroutine

        return self.runner.run(wait())

    def both(self, make: Callable[[], Commit]) -> None:
        outcomes = []
        for engine in (self.model, self.engine):
            try:
                self.run(engine.commit(make))
                outcomes.append("done")
            except HeadMoved:
                outcomes.append("moved")
        assert outcomes[0] == outcomes[1]

    @rule(writes=WRITES)
    def commit(self, writes: list[Write]) -> None:
        self.counter += 1
        expected, head = self.disk.head, b"head%d" % self.counter
        self.both(lambda: Commit(expected=expected, head=head, writes=writes))

    @rule(writes=WRITES, expected=st.one_of(st.none(), st.binary(max_size=3)))
    def commit_of_a_deposed_leader(self, writes: list[Write], expected: bytes | None) -> None:
        if expected != self.disk.head:
            self.both(lambda: Commit(expected=expected, head=b"stolen", writes=writes))

    @rule(writes=WRITES)
    def commit_whose_making_fails(self, writes: list[Write]) -> None:
        def make() -> Commit:
            raise ZeroDivisionError

        for engine in (self.model, self.engine):
            with pytest.raises(ZeroDivisionError):
                self.run(engine.commit(make))

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        assert self.run(self.engine.get(key)) == self.run(self.model.get(key))

    @rule()
    def reopen(self) -> None:
        self.run(self.engine.close())
        self.engine = self.run(SqliteEngine.open(self.home))

    @rule()
    def crash(self) -> None:
        self.generation += 1
        home = self.root / str(self.generation)
        shutil.copytree(self.home, home)
        self.run(self.engine.close())
        shutil.rmtree(self.home)
        self.home = home
        self.engine = self.run(SqliteEngine.open(home))

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def both_hold_the_same(self) -> None:
        assert self.run(self.engine.head()) == self.disk.head
        assert self.run(dump(self.engine)) == self.disk.records

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.run(self.engine.close())
        self.runner.close()
        shutil.rmtree(self.root)


class EtcdLockstep(Lockstep):
    """The same steps on an etcd member that goes on from example to example; a crash kills it."""

    member: PlainMember

    @initialize()
    def begin(self) -> None:
        self.engine = self.run(opened(self.member))
        self.disk.head = self.run(self.engine.head())
        self.disk.records = self.run(dump(self.engine))

    @rule()
    def reopen(self) -> None:
        self.run(self.engine.close())
        self.engine = self.run(opened(self.member))

    @rule()
    def crash(self) -> None:
        self.member.kill()
        self.member.start()


async def opened(member: PlainMember) -> Engine:
    return member.engine()


@pytest.fixture(scope="module", autouse=True)
def shared_member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    EtcdLockstep.member = PlainMember(tmp_path_factory.mktemp("etcd"))
    yield
    EtcdLockstep.member.kill()


TestLockstep = Lockstep.TestCase
TestLockstep.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)
TestEtcdLockstep = EtcdLockstep.TestCase
TestEtcdLockstep.settings = settings(max_examples=6, stateful_step_count=10, deadline=None)


@pytest.fixture(params=["model", "sqlite", "etcd"])
def make_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Awaitable[Engine]]]:
    """Return how to make an empty engine of each kind."""
    match request.param:
        case "model":
            yield lambda: asyncio.sleep(0, ModelEngine())
        case "sqlite":
            yield lambda: SqliteEngine.create(tmp_path)
        case "etcd":
            member = PlainMember(tmp_path)
            yield lambda: opened(member)
            member.kill()


def test_commits_are_applied_in_the_order_they_are_asked_for(make_engine: Callable[[], Awaitable[Engine]]) -> None:
    async def run() -> None:
        engine = await make_engine()

        def commit(n: int) -> Commit:
            expected = None if n == 0 else b"%d" % (n - 1)
            return Commit(expected=expected, head=b"%d" % n, writes=[Write("/v1/task/a", b"%d" % n)])

        asked = [asyncio.ensure_future(engine.commit(lambda n=n: commit(n))) for n in range(20)]
        if not isinstance(engine, ModelEngine):  # Which is not asked until it is awaited.
            assert await engine.get("/v1/task/a") == b"19"
        await asyncio.gather(*asked)
        assert await engine.get("/v1/task/a") == b"19"
        await engine.close()
        with pytest.raises(EngineStopped):
            await engine.commit(lambda: commit(20))
        with pytest.raises(EngineStopped):
            await engine.head()
        await engine.close()

    asyncio.run(run())


def test_a_reading_that_is_overtaken_by_a_commit_says_so_or_shows_nothing_of_it(
    make_engine: Callable[[], Awaitable[Engine]],
) -> None:
    async def run() -> None:
        engine = await make_engine()
        writes = [Write(f"/v1/task/{n}", bytes(700_000)) for n in range(4)]
        await engine.commit(lambda: Commit(expected=None, head=b"1", writes=writes))
        pages = (await engine.read()).pages()
        shown = dict(await anext(pages))
        changes = [Write("/v1/task/0", None), Write("/v1/task/3", b"new"), Write("/v1/task/4", b"new")]
        await engine.commit(lambda: Commit(expected=b"1", head=b"2", writes=changes))
        try:
            async for page in pages:
                shown |= dict(page)
            assert shown == dict(writes)
        except HeadMoved:
            assert isinstance(engine, SqliteEngine)
        await engine.close()

    asyncio.run(run())


def test_all_that_one_caller_may_write_is_one_commit(make_engine: Callable[[], Awaitable[Engine]]) -> None:
    async def act() -> None:
        engine = await make_engine()
        try:
            writes = [Write(f"/v1/task/{n:05}", b"x") for n in range(CALLER_WRITES)]
            await engine.commit(lambda: Commit(expected=None, head=b"1", writes=writes))
            assert len(await dump(engine)) == CALLER_WRITES
        finally:
            await engine.close()

    asyncio.run(act())


def test_a_reading_goes_on_in_pages_of_about_a_megabyte(make_engine: Callable[[], Awaitable[Engine]]) -> None:
    """Records of several kinds and sizes: each is shown once, whichever page its kind begins and ends in."""

    async def run() -> None:
        engine = await make_engine()
        sizes = {"config": (300, 5), "secret-value": (30, 200_000), "task": (1500, 900), "node": (1, 0)}
        records = {f"/v1/{kind}/{n}": bytes(size) for kind, (count, size) in sizes.items() for n in range(count)}
        writes = [Write(key, value) for key, value in records.items()]
        await engine.commit(lambda: Commit(expected=None, head=b"1", writes=writes))
        pages = [page async for page in (await engine.read()).pages()]
        assert dict(pair for page in pages for pair in page) == records
        assert sum(len(page) for page in pages) == len(records)
        assert max(sum(len(value) for _, value in page) for page in pages) < 5_000_000
        await engine.close()

    asyncio.run(run())

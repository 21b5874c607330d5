"""An engine that is a dict: what every engine must look like from outside, and that fails on demand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from vault.raftstore.engine import Beat, Commit, EngineStopped, HeadMoved, Member, NotSupported, Reading, Seen


class Disk:
    """What survives a crash."""

    def __init__(self) -> None:
        self.head: bytes | None = None
        self.records: dict[str, bytes] = {}
        self.seen: list[Seen | Beat] = []
        self._waiting: list[asyncio.Future[None]] = []

    def apply(self, commit: Commit) -> None:
        """Do what an engine's transaction does.  Raises `HeadMoved`."""
        if commit.expected != self.head:
            raise HeadMoved
        self.head = commit.head
        for key, value in commit.writes:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        self.show(Seen(commit.head, commit.writes))

    def show(self, what: Seen | Beat) -> None:
        self.seen.append(what)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def news(self) -> None:
        self._waiting.append(asyncio.get_running_loop().create_future())
        await self._waiting[-1]


class ModelReading:
    """All records at one head; a model remembers every moment."""

    def __init__(self, disk: Disk) -> None:
        self.head = disk.head
        self.place = len(disk.seen)
        self._records = dict(disk.records)

    async def get(self, key: str) -> bytes | None:
        return self._records.get(key)

    async def pages(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        for item in self._records.items():
            yield [item]


class ModelEngine:
    """Records in memory.

    fails: what the next commits raise; None in it = the commit succeeds.  fails_after_commit: they happen all the same.
    """

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.fails: list[Exception | None] = []
        self.fails_after_commit = False
        self.commits: list[Commit] = []
        self.leads = True
        self._closed = False

    async def head(self) -> bytes | None:
        self._check()
        return self.disk.head

    async def read(self) -> "ModelReading":
        self._check()
        return ModelReading(self.disk)

    async def watch(self, after: Reading) -> AsyncIterator[Sequence[Seen | Beat]]:
        assert isinstance(after, ModelReading)
        place = after.place
        while True:
            self._check()
            news, place = self.disk.seen[place:], len(self.disk.seen)
            if news:
                yield news
            else:
                await self.disk.news()

    async def beat(self, payload: bytes) -> None:
        self._check()
        self.disk.show(Beat(payload))

    async def raft_leads(self) -> bool:
        return self.leads

    async def get(self, key: str) -> bytes | None:
        self._check()
        return self.disk.records.get(key)

    def commit(self, make: Callable[[], Commit], *, brief: bool = False) -> Awaitable[Commit]:
        return self._commit(make)

    async def _commit(self, make: Callable[[], Commit]) -> Commit:
        self._check()
        commit = make()
        failure = self.fails.pop(0) if self.fails else None
        if failure is not None and not self.fails_after_commit:
            raise failure
        self.disk.apply(commit)
        self.commits.append(commit)
        if failure is not None:
            raise failure
        return commit

    async def members(self) -> Sequence[Member]:
        return (Member(id=1, name="self", leads=self.leads),)

    async def add_member(self, peer_url: str) -> Member:
        raise NotSupported

    async def promote_member(self, member_id: int) -> None:
        raise NotSupported

    async def remove_member(self, member_id: int) -> None:
        raise NotSupported

    async def transfer(self, member_id: int) -> None:
        raise NotSupported

    async def close(self) -> None:
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise EngineStopped("it was closed")

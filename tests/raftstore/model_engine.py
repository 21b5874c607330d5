"""An engine that is a dict: what every engine must look like from outside, and that fails on demand."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from vault.raftstore.engine import Commit, EngineStopped, HeadMoved, Member


class Disk:
    """What survives a crash."""

    def __init__(self) -> None:
        self.head: bytes | None = None
        self.records: dict[str, bytes] = {}


class ModelEngine:
    """Records in memory.

    fails: what the next commits raise; None in it = the commit succeeds.  fails_after_commit: they happen all the same.
    """

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.fails: list[Exception | None] = []
        self.fails_after_commit = False
        self.commits: list[Commit] = []
        self._closed = False

    async def head(self) -> bytes | None:
        self._check()
        return self.disk.head

    async def load(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        self._check()
        head = self.disk.head
        for item in tuple(self.disk.records.items()):
            if self.disk.head != head:
                raise HeadMoved
            yield [item]

    async def get(self, key: str) -> bytes | None:
        self._check()
        return self.disk.records.get(key)

    def commit(self, make: Callable[[], Commit]) -> Awaitable[Commit]:
        return self._commit(make)

    async def _commit(self, make: Callable[[], Commit]) -> Commit:
        self._check()
        commit = make()
        failure = self.fails.pop(0) if self.fails else None
        if failure is not None and not self.fails_after_commit:
            raise failure
        if commit.expected != self.disk.head:
            raise HeadMoved
        self.disk.head = commit.head
        for key, value in commit.writes:
            if value is None:
                self.disk.records.pop(key, None)
            else:
                self.disk.records[key] = value
        self.commits.append(commit)
        if failure is not None:
            raise failure
        return commit

    async def members(self) -> Sequence[Member]:
        return (Member("self", leads=True),)

    async def close(self) -> None:
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise EngineStopped("it was closed")

"""Several model engines that share one disk, over a network and with a lead that a test controls.

What a request or an answer may suffer: it takes time; it waits while its node is cut off or no member leads; a commit's
answer gets lost, or the commit itself arrives long after its sender gave up; a watch misses what came between.
"""

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from tests.raftstore.model_engine import Disk, ModelEngine, ModelReading
from vault.model.errors import OutcomeUnknown, Unavailable
from vault.raftstore.engine import Beat, Commit, EngineStopped, HeadMoved, Member, Reading, Seen, WatchLost
from vault.raftstore.head import peek

COMMIT_LIMIT_S = 5.0
READ_LIMIT_S = 3.0


class Ensemble:
    """The members' common state.  `leads` is the member that leads the engines' consensus, "" for none."""

    def __init__(self, names: Sequence[str], seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.disk = Disk()
        self.names = list(names)
        self.leads = names[0]
        self.cut: set[str] = set()
        self.slow_s = 0.001
        self.lost_answers = 0.0  # How many of all.
        self.log: list[tuple[str, Commit]] = []  # Who made it.
        self.handed: list[str] = []  # To whom the lead was handed.
        self.over = False
        self._late: set[asyncio.Task[None]] = set()

    def answers(self, name: str) -> bool:
        """Whether a member can do anything now."""
        majority = len(self.names) // 2 + 1
        return name not in self.cut and bool(self.leads) and len(self.names) - len(self.cut) >= majority

    def cut_off(self, name: str, *, elect_s: float = 1.2) -> None:
        """Cut a member off from the others, for good or until `heal`; they elect one of them after a while."""
        self.cut.add(name)
        if self.leads == name:
            self.leads = ""
            asyncio.get_running_loop().call_later(elect_s, self.elect)

    def elect(self, name: str = "") -> None:
        """Give the lead to a member, any that is not cut off if it is not named."""
        able = [one for one in self.names if one not in self.cut]
        if name or (not self.leads and able):
            self.leads = name or self.chance.choice(able)

    def heal(self, name: str) -> None:
        self.cut.discard(name)
        self.elect()

    def apply(self, name: str, commit: Commit) -> None:
        """Do what etcd's transaction does.  Raises `HeadMoved`."""
        self.disk.apply(commit)
        self.log.append((name, commit))

    def deliver_late(self, name: str, commit: Commit) -> None:
        """Let a commit that its sender has given up arrive after all, some time."""

        async def deliver() -> None:
            await asyncio.sleep(self.chance.uniform(0, 6))
            if not self.over:
                try:
                    self.apply(name, commit)
                except HeadMoved:
                    return

        task = asyncio.get_running_loop().create_task(deliver(), context=contextvars.Context())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def check(self) -> None:
        """Check that commits are in one order, and that no epoch has two authors."""
        authors: dict[object, str] = {}
        places = [peek(commit.head) for _, commit in self.log]
        for (name, _), (epoch, _) in zip(self.log, places, strict=True):
            assert authors.setdefault(epoch, name) == name, f"two managers wrote in {epoch}"
        assert [index for _, index in places] == list(range(places[0][1], places[0][1] + len(places)))
        assert [epoch for epoch, _ in places] == sorted(epoch for epoch, _ in places)


class MemberEngine(ModelEngine):
    """One member, as its vaultd sees it."""

    def __init__(self, ensemble: Ensemble, name: str) -> None:
        super().__init__(ensemble.disk)
        self.ensemble, self.name = ensemble, name
        self.forget = False  # The next look at the watch finds that something is missing.

    async def head(self) -> bytes | None:
        await self._arrive(READ_LIMIT_S)
        head = self.disk.head
        await self._travel()
        return head

    async def read(self) -> ModelReading:
        await self._arrive(READ_LIMIT_S)
        return ModelReading(self.disk)

    async def get(self, key: str) -> bytes | None:
        await self._arrive(READ_LIMIT_S)
        return self.disk.records.get(key)

    async def watch(self, after: Reading) -> AsyncIterator[Sequence[Seen | Beat]]:
        assert isinstance(after, ModelReading)
        place = after.place
        while True:
            self._check()
            if self.name in self.ensemble.cut:
                await asyncio.sleep(0.05)
                continue
            if self.forget:
                self.forget = False
                raise WatchLost
            news = self.disk.seen[place:]
            if news:
                news = news[: self.ensemble.chance.randint(1, len(news))]
                place += len(news)
                await self._travel()
                yield news
            else:
                await self.disk.news()

    async def beat(self, payload: bytes) -> None:
        await self._arrive(READ_LIMIT_S)
        self.disk.show(Beat(payload))

    async def raft_leads(self) -> bool:
        self._check()
        return self.ensemble.leads == self.name and self.name not in self.ensemble.cut

    def commit(self, make: Callable[[], Commit], *, brief: bool = False) -> Awaitable[Commit]:
        return self._send(make)

    async def _send(self, make: Callable[[], Commit]) -> Commit:
        await asyncio.sleep(0)
        commit = make()
        self.commits.append(commit)
        try:
            await self._arrive(COMMIT_LIMIT_S)
        except Unavailable:
            if self.ensemble.chance.random() < 0.5:
                self.ensemble.deliver_late(self.name, commit)
            raise OutcomeUnknown from None
        self.ensemble.apply(self.name, commit)
        if self.ensemble.chance.random() < self.ensemble.lost_answers:
            await asyncio.sleep(self.ensemble.chance.uniform(0, 1))
            try:
                await self._arrive(COMMIT_LIMIT_S)
            except Unavailable:
                raise OutcomeUnknown from None
            if self.disk.head != commit.head:
                raise OutcomeUnknown
        await self._travel()
        return commit

    async def members(self) -> Sequence[Member]:
        await self._arrive(READ_LIMIT_S)
        names = self.ensemble.names
        return [Member(id=n, name=name, leads=name == self.ensemble.leads) for n, name in enumerate(names)]

    async def transfer(self, member_id: int) -> None:
        await self._arrive(READ_LIMIT_S)
        self.ensemble.handed.append(self.ensemble.names[member_id])
        self.ensemble.elect(self.ensemble.names[member_id])

    async def _travel(self) -> None:
        await asyncio.sleep(self.ensemble.chance.uniform(0, 2 * self.ensemble.slow_s))

    async def _arrive(self, limit_s: float) -> None:
        """Get to where a majority agrees, or give up."""
        self._check()
        await self._travel()
        clock = asyncio.get_running_loop().time
        until = clock() + limit_s
        while not self.ensemble.answers(self.name):
            if clock() > until:
                raise Unavailable("the other members do not answer")
            await asyncio.sleep(0.02)
            self._check()
        self._check()

    def _check(self) -> None:
        super()._check()
        if self.ensemble.over:
            raise EngineStopped("the test is over")

"""Three managers under kills, stops, cuts, lost answers and gaps: one order, nothing acknowledged lost, no stale read.

Virtual time; a failing seed repeats exactly.  Every client tells in real order what it was told: whatever is asked for
after an answer with commit index i must be answered with i or more, since all commits are in one order.
"""

import asyncio
import random

import pytest

from tests.raftstore.managers import Manager, Managers
from tests.raftstore.virtual import play, start
from tests.raftstore.world import new_secret
from vault.model.errors import OutcomeUnknown, Unavailable
from vault.model.ids import Kind
from vault.raftstore.store import Store
from vault.store import rules
from vault.store.changes import Change
from vault.store.snapshot import Snapshot

NAMES = ("a", "b", "c")


class Clients:
    """Callers all over the cluster, and what they were told."""

    def __init__(self, managers: Managers, seed: int) -> None:
        self.managers = managers
        self.chance = random.Random(seed)
        self.reached = 0  # The highest commit index in any answer so far.
        self.acknowledged: set[str] = set()
        self.unknown: set[str] = set()
        self.refused: set[str] = set()
        self.reads = 0

    async def call(self, manager: Manager) -> None:
        """Ask one manager one thing, and check the answer against everything answered before the question."""
        if manager.store is None:
            return
        store, before = manager.store, self.reached
        try:
            if self.chance.random() < 0.5:
                await store.barrier()
                self.reads += 1
                self.told(store.committed.index, before)
            else:
                await self.write(store, before)
        except Unavailable:
            return

    async def write(self, store: Store, before: int) -> None:
        name = f"s{len(self.acknowledged) + len(self.unknown) + len(self.refused)}-{self.chance.getrandbits(40)}"

        def build(snap: Snapshot) -> list[Change]:
            rules.check_name_free(snap, Kind.SECRET, name)
            return list(new_secret(name, name.encode()))

        try:
            self.unknown.add(name)  # Until it is answered.
            index = await store.submit(build)
        except OutcomeUnknown:
            raise
        except Unavailable:
            self.unknown.discard(name)
            self.refused.add(name)
            raise
        self.unknown.discard(name)
        self.acknowledged.add(name)
        self.told(index, before)
        assert store.committed.index >= index

    def told(self, index: int, before: int) -> None:
        assert index >= before, "an answer is older than one that was given before the question"
        self.reached = max(self.reached, index)

    async def go_on(self) -> None:
        """Ask for ever; each question belongs to the node that is asked, and ends or hangs with it."""
        while True:
            await asyncio.sleep(self.chance.expovariate(20))
            manager = self.managers.all.get(self.chance.choice(NAMES))
            if manager is not None:
                start(manager.process, self.call(manager)).add_done_callback(_raise)


def _raise(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        FAILURES.append(error)


FAILURES: list[BaseException] = []


async def trouble(managers: Managers, chance: random.Random) -> None:
    """Do one bad thing, and mend it after a while."""
    name = chance.choice(NAMES)
    pause_s = chance.choice((0.3, 1.0, 3.0, 8.0))
    ensemble = managers.ensemble
    match chance.randrange(7):
        case 0:
            managers.kill(name)
            await asyncio.sleep(pause_s)
            managers.start_again(name)
        case 1:
            managers.stop(name)
            await asyncio.sleep(pause_s)
            managers.go_on(name)
        case 2:
            ensemble.cut_off(name, elect_s=chance.uniform(0.2, 2))
            await asyncio.sleep(pause_s)
            ensemble.heal(name)
        case 3:
            managers.stop(name)
            ensemble.cut_off(name)
            await asyncio.sleep(pause_s)
            managers.go_on(name)
            await asyncio.sleep(chance.uniform(0, 1))
            ensemble.heal(name)
        case 4:
            ensemble.elect(name)
        case 5:
            managers.all[name].engine.forget = True
        case 6:
            ensemble.lost_answers, ensemble.slow_s = 0.3, chance.choice((0.01, 0.3))
            await asyncio.sleep(pause_s)
            ensemble.lost_answers, ensemble.slow_s = 0.0, 0.001


async def simulate(seed: int) -> None:
    chance = random.Random(seed)
    managers = await Managers(*NAMES, seed=seed).found()
    clients = Clients(managers, seed)
    asking = asyncio.create_task(clients.go_on())
    for _ in range(12):
        await trouble(managers, chance)
        await asyncio.sleep(chance.choice((0.1, 1.0, 4.0)))
        managers.ensemble.check()
    asking.cancel()
    await asyncio.sleep(20)

    leader = await managers.leader()
    await leader.submit(lambda snap: new_secret("last", b"x"))
    await leader.barrier()
    await asyncio.sleep(5)
    managers.ensemble.check()
    stores = [managers.store(name) for name in NAMES]
    assert [store.leads for store in stores].count(True) == 1
    assert len({store.leader for store in stores}) == 1
    for store in stores:
        assert store.committed.index == leader.committed.index
        assert dict(store.committed.secrets) == dict(leader.committed.secrets)
        assert dict(store.committed.names.items()) == dict(leader.committed.names.items())
        assert store._replica.ledger.live == leader._replica.ledger.live
    names = {secret.spec.name for secret in leader.committed.secrets.values()}
    assert clients.acknowledged <= names, "an acknowledged write was lost"
    assert names <= clients.acknowledged | clients.unknown | {"last"}, "a refused write happened"
    epochs = [epoch for _, epoch in managers.led]
    assert epochs == sorted(set(epochs)), "each leadership has its own epoch"
    assert len(clients.acknowledged) > 20
    assert clients.reads > 20
    assert not FAILURES, FAILURES[0]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_to_three_managers_nothing_is_lost_doubled_or_stale(seed: int) -> None:
    FAILURES.clear()
    play(simulate(seed))

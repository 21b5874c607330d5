"""The leader's loop: which snapshots it decides about, and when again."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from vault.daemon.leader import TURN_S, Turns, control
from vault.model.ids import NewID
from vault.model.node import Node
from vault.model.secret import Secret, SecretSpec
from vault.model.service import TaskSpec
from vault.model.task import Task
from vault.store.changes import Change, Put
from vault.store.decision import Decision
from vault.store.snapshot import Snapshot


class FakeStore:
    """Snapshots that a test puts in; proposals are noted, and refused when told so."""

    def __init__(self) -> None:
        self.committed = Snapshot()
        self.proposed: list[tuple[Change, ...]] = []
        self.refuse = 0
        self._changed = asyncio.Event()

    def put(self, obj: Node | Secret | Task) -> None:
        self.committed = self.committed.apply((Put(obj),), index=self.committed.index + 1, now_s=0.0)
        self._changed.set()

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        seen = None
        while True:
            if self.committed is not seen:
                seen = self.committed
                yield seen
            else:
                self._changed.clear()
                await self._changed.wait()

    async def propose(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        self.proposed.append(changes)
        self.refuse -= 1
        return changes if self.refuse >= 0 else ()


class Notes:
    """A decider that notes what it was asked, and answers as told."""

    def __init__(self, *answers: Decision) -> None:
        self.asked: list[tuple[int | None, int]] = []
        self.answers = list(answers)
        self.news = asyncio.Event()

    def __call__(self, before: Snapshot | None, after: Snapshot, *, now_s: float, new_id: NewID) -> Decision:
        self.asked.append((before.index if before else None, after.index))
        self.news.set()
        return self.answers.pop(0) if self.answers else Decision()

    async def times(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.asked) < count:
                self.news.clear()
                await self.news.wait()


CHANGE = Decision(changes=(Put(Node(id="n9")),))


def test_each_change_is_decided_once_from_where_the_last_decision_stood() -> None:
    async def story() -> None:
        store, notes = FakeStore(), Notes()
        loop = asyncio.create_task(control(store, notes, now=lambda: 0.0, new_id=lambda: "x"))  # type: ignore[arg-type]
        await notes.times(1)
        store.put(Node(id="n1"))
        await notes.times(2)
        assert notes.asked == [(None, 0), (0, 1)]
        loop.cancel()

    asyncio.run(story())


def test_a_new_secret_wakes_no_decider() -> None:
    async def story() -> None:
        store, notes = FakeStore(), Notes()
        loop = asyncio.create_task(control(store, notes, now=lambda: 0.0, new_id=lambda: "x"))  # type: ignore[arg-type]
        await notes.times(1)
        store.put(Secret(id="s1", spec=SecretSpec(name="a")))
        store.put(Node(id="n1"))
        await notes.times(2)
        assert notes.asked[1][1] == 2
        loop.cancel()

    asyncio.run(story())


def test_a_refused_proposal_is_decided_again_from_the_same_point() -> None:
    async def story() -> None:
        store, notes = FakeStore(), Notes(CHANGE, CHANGE)
        store.refuse = 1
        loop = asyncio.create_task(control(store, notes, now=lambda: 0.0, new_id=lambda: "x"))  # type: ignore[arg-type]
        await notes.times(2)
        assert notes.asked == [(None, 0), (None, 0)]
        loop.cancel()

    asyncio.run(story())


def test_a_decider_is_asked_again_when_its_time_has_come() -> None:
    async def story() -> None:
        store, notes = FakeStore(), Notes(Decision(ask_again_s=100.0))
        loop = asyncio.create_task(control(store, notes, now=lambda: 100.0, new_id=lambda: "x"))  # type: ignore[arg-type]
        await notes.times(2)
        assert notes.asked == [(None, 0), (0, 0)]
        loop.cancel()

    asyncio.run(story())


@pytest.mark.parametrize("large", [False, True])
def test_a_decision_about_many_tasks_leaves_the_loop_its_turns(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small cluster is decided about at once, which is quicker than another thread."""
    monkeypatch.setattr("vault.daemon.leader.LARGE", 3)
    threads: list[int] = []

    async def story() -> None:
        store, turn, deciding = FakeStore(), threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def decide(before: Snapshot | None, after: Snapshot, *, now_s: float, new_id: NewID) -> Decision:
            threads.append(threading.get_ident())
            loop.call_soon_threadsafe(deciding.set)
            if large:
                assert turn.wait(5), "the loop has had no turn"
            return Decision()

        for number in range(3 if large else 2):
            store.put(Task(id=f"t{number}", spec=TaskSpec()))
        leading = asyncio.create_task(control(store, decide, now=lambda: 0.0, new_id=lambda: "x"))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            await deciding.wait()
            turn.set()
            for _ in range(3):
                deciding.clear()
                store.put(Node(id=f"n{store.committed.index}"))
                await deciding.wait()
        leading.cancel()

    asyncio.run(story())
    assert len(threads) == 4
    assert (threading.get_ident() in threads) is not large


def test_a_brief_decider_has_a_thread_for_its_first_look_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.daemon.leader.LARGE", 0)
    here, threads = threading.get_ident(), list[int]()

    async def story() -> None:
        store, news = FakeStore(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def decide(before: Snapshot | None, after: Snapshot, *, now_s: float, new_id: NewID) -> Decision:
            threads.append(threading.get_ident())
            loop.call_soon_threadsafe(news.set)
            return Decision()

        leading = asyncio.create_task(control(store, decide, now=lambda: 0.0, new_id=lambda: "x", brief=True))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            for number in range(3):
                await news.wait()
                news.clear()
                store.put(Node(id=f"n{number}"))
        leading.cancel()

    asyncio.run(story())
    assert threads[0] != here
    assert set(threads[1:]) == {here}


def test_threads_take_short_turns_as_long_as_one_decides() -> None:
    usual_s, turns = sys.getswitchinterval(), Turns()
    first, second = turns.short(), turns.short()
    with first:
        assert sys.getswitchinterval() == pytest.approx(TURN_S)
        second.__enter__()
    assert sys.getswitchinterval() == pytest.approx(TURN_S), "another one goes on"
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == usual_s


def test_decisions_about_many_tasks_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.daemon.leader.LARGE", 0)
    seen: list[tuple[int | None, int]] = []

    async def story() -> None:
        store, may_end, begun = FakeStore(), threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def decide(before: Snapshot | None, after: Snapshot, *, now_s: float, new_id: NewID) -> Decision:
            seen.append((before.index if before else None, after.index))
            loop.call_soon_threadsafe(begun.set)
            assert may_end.wait(5)
            return Decision()

        leading = asyncio.create_task(control(store, decide, now=lambda: 0.0, new_id=lambda: "x"))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            await begun.wait()
            begun.clear()
            for number in range(3):
                store.put(Node(id=f"n{number}"))
                await asyncio.sleep(0)
            assert seen == [(None, 0)]
            may_end.set()
            await begun.wait()
        assert seen == [(None, 0), (0, 3)]
        leading.cancel()

    asyncio.run(story())

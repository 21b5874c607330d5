"""Overlay networks over sessions: a node gets its own only, before its tasks, and in parts where it is much."""

import asyncio

import msgspec
import pytest

from tests.dispatcher.overlay_world import INGRESS, attached, expected, member, network, service
from tests.dispatcher.world import FakeStore, Hand, Lead, cluster, node
from tests.virtual import run
from vault.agent.overlay_parts import merged
from vault.dispatcher import overlays, stream
from vault.model.overlay import OverlayChange
from vault.model.task import State
from vault.network.overlay.state import OverlayState
from vault.rpc.messages import Assignments

FRONT, BACK, MESH = network("front", 1), network("back", 2), network(INGRESS, 0)
NODES = (member("n1", 1), member("n2", 2), member("n3", 3))


class Ear:
    """What a node driven by hand has come to know."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self.state = OverlayState()
        self.parts: list[Assignments] = []
        self._gathered: OverlayChange | None = None

    async def hear(self) -> Assignments:
        """Take the next assignments, all parts of what they say of networks."""
        while True:
            message = await self.hand.assignments()
            self.parts.append(message)
            if message.overlay is not None:
                self._gathered = merged(self._gathered, message.overlay)
            if message.overlay_complete:
                if self._gathered is not None:
                    self.state, self._gathered = self.state.applied(self._gathered), None
                return message


def keys_of(node_id: str, *objects: object) -> FakeStore:
    """Return a store whose nodes can be sealed for."""
    return FakeStore(*objects, *(msgspec.structs.replace(one, seal_key=node(one.id).seal_key) for one in NODES))  # type: ignore[arg-type]


def test_a_node_gets_only_its_own_networks_whatever_it_says() -> None:
    async def story() -> None:
        store = keys_of("n1", FRONT, BACK, service("web", FRONT), service("db", BACK, vip=3))
        store.put(attached("t1", "n1", FRONT), attached("t2", "n2", BACK, of="db"), attached("t3", "n2", FRONT, host=9))
        async with Lead(store) as lead, lead.hand("n1", addr="192.0.2.2") as hand:
            ear = Ear(hand)
            full = await ear.hear()
            assert [one.network.id for one in ear.state] == ["front"]
            assert b"back" not in msgspec.msgpack.encode(full)
            store.put(attached("t4", "n2", BACK, of="db", host=10))  # Nothing of it is for this node.
            store.put(attached("t5", "n2", FRONT, host=11))
            more = await ear.hear()
            assert (more.full, more.put_tasks) == (False, ())
            assert b"back" not in msgspec.msgpack.encode(more)
            assert ear.state == expected(store.committed, "n1")
            store.put(attached("t1", "n1", FRONT, state=State.FAILED))
            assert (await ear.hear()).overlay == OverlayChange(remove_networks=("front",))

    run(story())


def test_a_task_comes_with_its_network_or_after_it_and_others_hear_of_it_within_a_moment() -> None:
    async def story() -> None:
        store = keys_of("n1", FRONT, BACK, attached("t1", "n1", FRONT))
        async with Lead(store) as lead, lead.hand("n1") as one, lead.hand("n2") as two:
            first, second = Ear(one), Ear(two)
            await first.hear()
            await second.hear()
            assert list(second.state) == []
            store.put(attached("t2", "n2", FRONT, host=8))
            told = await second.hear()
            if not told.put_tasks:  # The books were read at a moment when the task was not looked at yet.
                told = await second.hear()
            assert [task.id for task in told.put_tasks] == ["t2"]
            assert second.state == expected(store.committed, "n2")
            async with asyncio.timeout(0.2):
                told = await first.hear()
            assert (told.put_tasks, told.remove_tasks) == ((), ())
            assert first.state == expected(store.committed, "n1")

    run(story())


def test_much_comes_in_parts_before_the_task_that_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MESSAGE_BYTES", 20_000)
    monkeypatch.setattr(overlays, "BUDGET", 50)

    async def story() -> None:
        store = keys_of("n1", FRONT, *(attached(f"o{n}", "n2", FRONT, host=n % 250) for n in range(1000)))
        store.put(attached("t1", "n1", FRONT))
        async with Lead(store) as lead, lead.hand("n1") as hand:
            ear = Ear(hand)
            last = await ear.hear()
            assert len(ear.parts) > 5
            assert all(len(msgspec.msgpack.encode(part)) < 25_000 for part in ear.parts)
            assert [part.put_tasks for part in ear.parts[:-1]] == [()] * (len(ear.parts) - 1)
            assert not any(part.complete for part in ear.parts[:-1])
            assert [task.id for task in last.put_tasks] == ["t1"]
            assert ear.state == expected(store.committed, "n1")

    run(story())


def test_a_full_set_is_complete_with_the_last_part_of_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MESSAGE_BYTES", 20_000)

    async def story() -> None:
        store = keys_of("n1", MESH, service("web", MESH, ports=(8080,)))
        store.put(*(attached(f"o{n}", "n2", MESH, host=n % 250) for n in range(400)))
        async with Lead(store) as lead, lead.hand("n1") as hand:
            ear = Ear(hand)
            await ear.hear()
            assert [part.complete for part in ear.parts] == [False] * (len(ear.parts) - 1) + [True]
            assert len(ear.parts) > 2
            assert ear.state == expected(store.committed, "n1")

    run(story())


def test_the_next_leader_begins_with_a_full_set() -> None:
    async def story() -> None:
        store = keys_of("n1", FRONT, attached("t1", "n1", FRONT), attached("t2", "n2", FRONT, host=8))
        async with Lead(store) as lead, lead.hand("n1") as hand:
            await Ear(hand).hear()
        store.put(attached("t2", "n2", FRONT, host=8, state=State.FAILED))
        store.epoch = (1, 2)
        async with Lead(store) as lead, lead.hand("n1") as hand:
            full = (await Ear(hand).hear()).overlay
            assert full is not None
            assert full.full
            assert [one.task_id for one in full.put_endpoints if one.task_id] == ["t1"]

    run(story())


def test_a_change_of_networks_alone_looks_at_no_task_of_the_nodes_that_hear_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    difference = stream.difference

    def noting(view: object, snap: object, node_id: str, changed: object) -> object:
        looked.append(node_id)
        return difference(view, snap, node_id, changed)  # type: ignore[arg-type]

    monkeypatch.setattr(stream, "difference", noting)

    async def story() -> None:
        store = keys_of("n1", cluster(), FRONT, attached("t1", "n1", FRONT), attached("t2", "n2", FRONT, host=8))
        async with Lead(store) as lead, lead.hand("n1") as hand:
            ear = Ear(hand)
            await ear.hear()
            await asyncio.sleep(1)
            looked.clear()
            for host in range(20, 25):
                store.put(attached(f"t{host}", "n2", FRONT, host=host))
                await ear.hear()
            assert looked == []
            store.put(attached("t1", "n1", FRONT, desired=State.SHUTDOWN))
            assert [task.id for task in (await ear.hear()).put_tasks] == ["t1"]

    run(story())

"""A node's part follows its certificate: manager, worker, manager again, with the manager itself a fake."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.daemon.world import INFO, NOW_S, founded
from vault.agent.worker import Worker
from vault.api.gateway import Gateway
from vault.crypto.certificates import Role, issue, request_certificate
from vault.daemon import part as module
from vault.daemon.holding import Holding
from vault.daemon.identity import Identity, IdentityFiles
from vault.daemon.part import Part
from vault.model.cluster import Cluster
from vault.model.errors import StoreDamaged, Unavailable, WorkerNode
from vault.raftstore.engine import EngineStopped, MemberRemoved
from vault.raftstore.store import Store
from vault.rpc.messages_manager import Entered
from vault.store.trust import root_authority

FOUNDED = founded()
IDLE = SimpleNamespace(machine=SimpleNamespace(encryption=None))  # An agent that has nothing to do here.
CLUSTER = next(change.obj for change in FOUNDED.changes if isinstance(change.obj, Cluster))


def as_role(identity: Identity, role: Role) -> Identity:
    """Return an identity with a certificate for a role."""
    keys = identity.keys
    certificate, _ = issue(
        root_authority(CLUSTER), request_certificate(keys.tls_key, node_key=keys.node_key.public()),
        cluster_id=keys.cluster_id, node_id=keys.node_id, role=role, now=datetime.fromtimestamp(NOW_S, UTC),
    )  # fmt: skip
    return replace(identity, certificate=certificate)


class FakeManaging:
    """What a manager does, as a test tells it."""

    made: "list[FakeManaging]"
    works = True
    leads = False
    ready = True

    def __init__(self, *_: object) -> None:
        self.did: list[str] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closing: asyncio.Event | None = None
        self.made.append(self)

    async def open(self, *, new_generation: bool) -> None:
        self.did.append("open")

    async def enter(self, entered: Entered) -> None:
        self.did.append("enter")

    async def run(self) -> None:
        await self.ended

    async def close(self) -> None:
        self.did.append("close")
        if self.closing is not None:
            await self.closing.wait()
        self.did.append("closed")


class World:
    """A part whose roles are followed, and nothing else of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.files = IdentityFiles(tmp_path)
        self.files.write(FOUNDED.identity)
        self.store_is_there(True)
        self.failed = False
        self.part = Part(
            Holding(self.files, FOUNDED.identity), INFO, lambda keys: cast(Worker, IDLE),
            lambda: cast(Gateway, None), self.fail,
        )  # fmt: skip

    def store_is_there(self, there: bool) -> None:
        if there:
            self.files.store.mkdir(parents=True, exist_ok=True)
        self.exists = there

    def fail(self) -> None:
        self.failed = True

    @property
    def managers(self) -> list[FakeManaging]:
        return FakeManaging.made

    async def become(self, role: Role) -> None:
        await self.part.holding.change(lambda had: as_role(had, role))
        self.part._role_changed.set()

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not true():
                await asyncio.sleep(0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    FakeManaging.made = []
    monkeypatch.setattr(module, "Managing", FakeManaging)
    monkeypatch.setattr(module, "check_free", lambda listen: None)
    monkeypatch.setattr(module, "RETRY_S", 0)
    monkeypatch.setattr(Store, "exists", staticmethod(lambda directory: made.exists))
    monkeypatch.setattr(Store, "destroy", staticmethod(lambda directory: made.store_is_there(False)))
    return made


def play(world: World, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Follow the role while something is done."""

    async def played() -> None:
        following = asyncio.ensure_future(
            world.part._must_not_end("roles", world.part._follow_role(None, new_generation=False))
        )
        try:
            await act()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await world.part._client.close()

    asyncio.run(played())


def test_a_manager_that_was_demoted_closes_and_keeps_nothing_of_one(world: World) -> None:
    async def act() -> None:
        await world.until(lambda: world.part.is_settled)
        await world.become(Role.WORKER)
        await world.until(lambda: world.managers[0].did == ["open", "close", "closed"] and not world.exists)
        await world.part.settled()
        assert world.part.holding.identity.keys.root_key is None
        with pytest.raises(WorkerNode):
            world.part.manager()

    play(world, act)


def test_a_node_that_stops_while_its_manager_closes_waits_for_that(world: World) -> None:
    """Else its store stays open, and the engine beside it runs on."""

    async def act() -> None:
        following = asyncio.ensure_future(world.part._follow_role(None, new_generation=False))
        await world.until(lambda: world.part.is_settled)
        manager = world.managers[0]
        manager.closing = asyncio.Event()
        await world.become(Role.WORKER)
        await world.until(lambda: "close" in manager.did)
        following.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not following.done()
        manager.closing.set()
        with pytest.raises(asyncio.CancelledError):
            await following
        assert manager.did == ["open", "close", "closed"]
        await world.part._client.close()

    asyncio.run(act())


def test_a_role_that_changes_back_while_the_manager_closes_is_taken_up_anew(world: World) -> None:
    """It was forgotten once: the node was no manager, no worker, and nobody noticed."""

    async def act() -> None:
        await world.until(lambda: world.part.is_settled)
        (first,) = world.managers
        first.closing = asyncio.Event()
        await world.become(Role.WORKER)
        await world.until(lambda: "close" in first.did)
        await world.become(Role.MANAGER)
        first.closing.set()
        await world.until(lambda: len(world.managers) == 2 and world.managers[1].did == ["open"])
        await world.part.settled()
        assert not world.failed

    play(world, act)


def test_a_manager_whose_part_in_the_engine_has_ended_enters_anew_and_keeps_its_store_until_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def enter(holding: Holding, ask: object) -> Entered:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Unavailable("not yet")
        assert world.exists
        return cast(Entered, None)

    monkeypatch.setattr(module, "enter_as_manager", enter)

    async def act() -> None:
        await world.until(lambda: world.part.is_settled)
        world.managers[0].ended.set_exception(MemberRemoved())
        await world.until(lambda: len(world.managers) == 2 and world.managers[1].did == ["enter"])
        assert not world.exists
        assert not world.failed

    play(world, act)
    assert asked == 3


def test_what_is_in_the_way_of_entering_is_shown_and_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    may = asyncio.Event()

    async def enter(holding: Holding, ask: object) -> Entered:
        if not may.is_set():
            raise Unavailable("no room")
        return cast(Entered, None)

    monkeypatch.setattr(module, "enter_as_manager", enter)
    world.exists = False

    async def act() -> None:
        await world.until(lambda: world.part.trouble == "no room")
        assert not world.part.is_settled
        may.set()
        await world.part.settled()
        assert world.part.trouble == ""

    play(world, act)


def test_damage_is_told_the_agent_goes_on_and_a_demotion_ends_it(world: World) -> None:
    async def act() -> None:
        await world.until(lambda: world.part.is_settled)
        world.managers[0].ended.set_exception(StoreDamaged("record x is damaged"))
        await world.until(lambda: world.part.error)
        with pytest.raises(Unavailable, match="record x is damaged"):
            world.part.manager()
        assert not world.failed
        await world.become(Role.WORKER)
        await world.until(lambda: not world.part.error)

    play(world, act)


def test_an_engine_that_stops_ends_vaultd(world: World) -> None:
    async def act() -> None:
        await world.until(lambda: world.part.is_settled)
        world.managers[0].ended.set_exception(EngineStopped("the disk failed it"))
        await world.until(lambda: world.failed)

    play(world, act)

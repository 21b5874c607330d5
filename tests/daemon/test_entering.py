"""Nodes that are to be managers are let in one at a time, however many ask at one moment."""

import asyncio
from pathlib import Path
from typing import cast

import msgspec
import pytest

from tests.daemon.world import founded
from tests.dispatcher.swarm import CLUSTER, NODE_KEY, FakeStore, ident, node, swarm
from vault.crypto.certificates import Identity, Role, new_tls_key
from vault.crypto.peers import request_peer
from vault.daemon import entering
from vault.daemon.entering import Entrance
from vault.daemon.holding import Holding
from vault.daemon.identity import IdentityFiles
from vault.model.base import EPOCH
from vault.model.errors import Unavailable
from vault.raftstore import files
from vault.raftstore.engine import Member
from vault.raftstore.files import EngineFile
from vault.raftstore.store import Store
from vault.rpc.errors import NotLeader
from vault.rpc.messages_manager import Enter, Entered
from vault.rpc.pipe import local_call


class Several(FakeStore):
    """A store of several managers, which takes a new member only while none is just coming."""

    engine_name = "etcd"
    epoch = (1, 2)

    def __init__(self, *names: str) -> None:
        nodes = (msgspec.structs.replace(node(name, "manager"), seal_key=NODE_KEY.public()) for name in names)
        super().__init__(swarm(node("a", "manager", leads=True), *nodes))
        self.inside = [Member(id=1, name=ident("a"), peer_url="https://10.0.0.1:2380")]
        self.at_once = self.most_at_once = 0
        self.refused = 0

    async def members(self) -> list[Member]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return list(self.inside)

    async def add_member(self, url: str) -> None:
        if any(not one.name for one in self.inside):
            self.refused += 1
            asyncio.get_running_loop().call_later(0.01, self.arrive)
            raise Unavailable("another manager is just joining")
        self.inside.append(Member(id=len(self.inside) + 1, name="", peer_url=url, learner=True))

    async def remove_member(self, member_id: int) -> None:
        self.inside = [one for one in self.inside if one.id != member_id]

    def arrive(self) -> None:
        """Let whoever was added have started."""
        self.inside = [one if one.name else self._started(one) for one in self.inside]

    def _started(self, member: Member) -> Member:
        return Member(id=member.id, name=f"started-{member.id}", peer_url=member.peer_url)


class World:
    """A manager that leads."""

    def __init__(self, root: Path, *names: str) -> None:
        self.store = Several(*names)
        held = IdentityFiles(root)
        held.store.mkdir(parents=True)
        files.write(held.store, EngineFile("etcd", "etcd-x"))
        self.told = 0
        self.entrance = Entrance(
            cast(Store, self.store), Holding(held, founded().identity), leader=lambda: ("m", "m:1"), added=self.tell
        )

    def tell(self) -> None:
        self.told += 1

    async def enter(self, name: str, address: str) -> Entered:
        """Ask to be let in."""
        peer = Identity(
            cluster_id=CLUSTER, node_id=ident(name), role=Role.MANAGER, node_key=NODE_KEY.public(), not_before=EPOCH,
            not_after=EPOCH,
        )  # fmt: skip
        wanted = Enter(
            peer_request=request_peer(new_tls_key()), peer_address=address, control_address=f"{address}:2377"
        )
        async with local_call(self.entrance.serve, peer) as call:
            await call.send(wanted)
            return cast(Entered, await call.receive(Entered))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entering, "RETRY_S", 0.001)


def test_two_that_enter_at_one_moment_are_let_in_one_after_the_other(tmp_path: Path) -> None:
    world = World(tmp_path, "b", "c")

    async def both() -> list[Entered]:
        return await asyncio.gather(world.enter("b", "10.0.0.2"), world.enter("c", "10.0.0.3"))

    first, second = asyncio.run(both())
    store = world.store
    assert (store.most_at_once, store.refused > 0, world.told) == (1, True, 2)
    assert [one.peer_url for one in store.inside] == [f"https://10.0.0.{n}:2380" for n in (1, 2, 3)]
    assert [peer.url for peer in first.peers] == [f"https://10.0.0.{n}:2380" for n in (1, 2)]
    assert first.peers[-1].name == ident("b")
    assert [peer.name for peer in second.peers][::2] == [ident("a"), ident("c")]
    assert first.peer_certificate != second.peer_certificate
    assert (first.peer_authority, first.engine_dir) == (second.peer_authority, "etcd-x")


def test_one_that_asks_again_after_a_crash_has_one_part_only(tmp_path: Path) -> None:
    world = World(tmp_path, "b")

    async def twice() -> None:
        before = await world.enter("b", "10.0.0.2")
        again = await world.enter("b", "10.0.0.2")
        assert again.peer_certificate != before.peer_certificate

    asyncio.run(twice())
    assert [one.peer_url for one in world.store.inside] == ["https://10.0.0.1:2380", "https://10.0.0.2:2380"]


def test_a_manager_that_does_not_lead_names_the_one_that_does_and_lets_nobody_in(tmp_path: Path) -> None:
    world = World(tmp_path, "b")
    world.store.leads = False
    with pytest.raises(NotLeader, match="ask m at m:1"):
        asyncio.run(world.enter("b", "10.0.0.2"))
    assert len(world.store.inside) == 1

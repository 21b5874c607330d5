"""Tasks on an encrypted overlay network: the whole of a node's networks, with wireguard-go between the nodes."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.network.hosts import ask, inside, scratch_host, sh
from tests.network.overlay_nodes import Cluster, Node, endpoints_of, nodes, task_of
from tests.network.servers import backend
from tests.network.traffic import Datagrams, Talk
from tests.network.wireguard_nodes import CLUSTER, eventually, user_space
from vault.crypto.node_seal import NodeKey
from vault.crypto.wireguard_seal import WireGuardKey, open_wireguard_key, seal_wireguard_key
from vault.model.errors import VaultError
from vault.model.network import IPAMConfig
from vault.model.node import EncryptionKey, NodeEncryption
from vault.model.overlay import EncryptionPeer, OverlayChange, OverlayEncryption, OverlayNetwork
from vault.network.wireguard.underlay import WireGuard

pytestmark = pytest.mark.machine
SECRET = OverlayNetwork(
    id="secret", name="secret", vxlan_id=4100, configs=(IPAMConfig(subnet="10.0.5.0/24"),), encrypted=True
)
PAYLOAD = b"a payload that must be in no frame on the wire"
ONE, TWO = "10.0.5.11", "10.0.5.12"


class Encrypted:
    """Nodes that encrypt, and the keys that a leader gave them."""

    def __init__(self, made: list[Node]) -> None:
        self.nodes = made
        self._node_keys = {node.id: NodeKey.generate() for node in made}
        keys = {node.id: WireGuardKey.generate() for node in made}
        self.own = {
            node.id: NodeEncryption(
                address=f"198.18.0.{place}", keys=(self._sealed(node.id, keys[node.id]),), sealed_to=b""
            )
            for place, node in enumerate(made, 1)
        }
        self.wireguards: dict[str, WireGuard] = {}
        self._jobs: dict[str, asyncio.Task[None]] = {}
        for node in made:
            node.stop()
            self.start(node)

    def _sealed(self, node_id: str, key: WireGuardKey, epoch: int = 1) -> EncryptionKey:
        public = self._node_keys[node_id].public()
        sealed = seal_wireguard_key(public, key, cluster_id=CLUSTER, node_id=node_id, epoch=epoch)
        return EncryptionKey(epoch=epoch, public=key.public(), sealed=sealed)

    def rotate(self, *epochs: int) -> None:
        """Let every node have keys of these epochs, those it has and new ones, as the leader does."""
        for node_id, own in self.own.items():
            had = {key.epoch: key for key in own.keys}
            keys = (had.get(epoch) or self._sealed(node_id, WireGuardKey.generate(), epoch) for epoch in epochs)
            self.own[node_id] = replace(own, keys=tuple(keys))
        for node in self.nodes:
            node.tell(OverlayChange(encryption=self.keys_for(node)))

    def epochs(self) -> set[int]:
        """Return what nodes say that they use."""
        return {one.means.epoch for one in self.wireguards.values() if one.means is not None}

    def start(self, node: Node) -> None:
        """Begin as a vaultd does."""

        async def begin() -> None:
            made = await WireGuard.open(node.run_root, look=user_space)
            made.join(
                lambda key: open_wireguard_key(
                    self._node_keys[node.id], key.sealed, cluster_id=CLUSTER, node_id=node.id, epoch=key.epoch
                )
            )
            self.wireguards[node.id] = made
            self._jobs[node.id] = asyncio.get_running_loop().create_task(made.run())

        node.run(begin())
        node.start(tunnels=self.wireguards[node.id])

    def stop(self, node: Node) -> None:
        """End as a vaultd does that leaves its tasks running."""

        async def end() -> None:
            self._jobs[node.id].cancel()
            await asyncio.gather(self._jobs[node.id], return_exceptions=True)

        node.stop()
        node.run(end())

    def keys_for(self, node: Node) -> OverlayEncryption:
        """Return what a node is told of keys and peers."""
        peers = (
            EncryptionPeer(
                node_id=other.id,
                node_addr=other.address,
                address=self.own[other.id].address,
                keys=tuple(EncryptionKey(epoch=key.epoch, public=key.public) for key in self.own[other.id].keys),
            )
            for other in self.nodes
            if other is not node
        )
        return OverlayEncryption(full=True, own=self.own[node.id], put_peers=tuple(peers))

    def close(self) -> None:
        """Leave nothing."""
        for node in self.nodes:

            async def forget(node: Node = node) -> None:
                self.wireguards[node.id].tell(OverlayEncryption(full=True))
                await self.wireguards[node.id].settled()
                self._jobs[node.id].cancel()

            node.run(forget())


@contextmanager
def encrypted(tmp_path: Path, count: int = 2) -> Iterator[Encrypted]:
    with scratch_host(), nodes(count, tmp_path) as made:
        one = Encrypted(made)
        try:
            yield one
        finally:
            one.close()


@contextmanager
def wire() -> Iterator[list[bytes]]:
    """Yield the frames that cross the bridge of the calling thread's machine, read at the end."""
    frames: list[bytes] = []
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    try:
        yield frames
        packets.setblocking(False)
        while True:
            try:
                frames.append(packets.recv(65536))
            except BlockingIOError:
                break
    finally:
        packets.close()


def send(at: Path, to: str) -> None:
    """Send a known payload from a task to another."""

    def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            for _ in range(10):
                one.sendto(PAYLOAD, (to, 9999))

    inside(at, work)


def reached(address: str, at: Path) -> bool:
    try:
        return bool(ask(address, 80, at=at, timeout_s=0.5))
    except OSError:
        return False


def two_tasks(one: Encrypted) -> tuple[Path, Path]:
    """Run a task on each of the two nodes, both on the encrypted network; return their namespaces."""
    cluster = Cluster(one.nodes, SECRET)
    for node in one.nodes:
        node.tell(OverlayChange(encryption=one.keys_for(node)))
    left, right = (
        cluster.run(node, f"t{place}", (address,), networks=(SECRET,))
        for place, (node, address) in enumerate(zip(one.nodes, (ONE, TWO), strict=True))
    )
    return left, right


def test_tasks_on_different_nodes_reach_each_other_and_the_wire_shows_nothing_of_it(tmp_path: Path) -> None:
    with encrypted(tmp_path) as one:
        left, right = two_tasks(one)
        with backend(right), wire() as frames:
            eventually(lambda: reached(TWO, left))
            assert ask(TWO, 80, at=left) == f"t1 {ONE}"
            send(left, TWO)
            assert ask(TWO, 80, at=left)
        assert len(frames) > 10
        assert not any(PAYLOAD in frame or b"t1 10.0" in frame for frame in frames)
        assert "mtu 1370" in inside(left, lambda: sh("ip link show eth0"))


def test_tasks_go_on_talking_while_keys_are_rotated_and_nothing_is_lost_or_shown(tmp_path: Path) -> None:
    with encrypted(tmp_path) as one:
        left, right = two_tasks(one)
        with backend(right):
            eventually(lambda: reached(TWO, left))
        with (
            wire() as frames,
            Datagrams.between(left, right, TWO, 5000, mark=PAYLOAD) as there,
            Datagrams.between(right, left, ONE, 5000, mark=PAYLOAD) as back,
            Talk(left, right, TWO, 5001) as talk,
        ):
            for newest in (2, 3):
                one.rotate(newest - 1, newest)
                eventually(lambda newest=newest: one.epochs() == {newest})  # type: ignore[misc]
                one.rotate(newest)
                seen = there.sent
                eventually(lambda seen=seen: there.sent > seen + 100)  # type: ignore[misc]
        assert (there.lost, back.lost, talk.broken) == (0, 0, "")
        assert there.sent > 500
        assert talk.answered > 10
        assert not any(PAYLOAD in frame for frame in frames)
        ports = {
            int.from_bytes(frame[36:38], "big") for frame in frames if frame[12:14] == b"\x08\x00" and frame[23] == 17
        }
        assert ports == {7946, 7947}


def test_keys_that_come_after_the_task_are_waited_for(tmp_path: Path) -> None:
    """The leader makes them when it sees the task assigned, so the node may hear of the task first."""
    with encrypted(tmp_path) as one:
        cluster = Cluster(one.nodes, SECRET)
        first, second = one.nodes
        task = task_of("late", (ONE,), networks=(SECRET,))
        cluster.tell(OverlayChange(put_endpoints=endpoints_of(first, task)))

        async def create_and_tell() -> Path:
            creating = asyncio.ensure_future(first.networks.create(task))
            await asyncio.sleep(0)
            await first.networks.apply(OverlayChange(encryption=one.keys_for(first)))
            made = await creating
            assert made is not None
            return made.namespace

        left = first.run(create_and_tell())
        second.tell(OverlayChange(encryption=one.keys_for(second)))
        right = cluster.run(second, "other", (TWO,), networks=(SECRET,))
        with backend(right):
            eventually(lambda: reached(TWO, left))


def test_a_task_without_keys_is_not_started_in_the_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.network.wireguard.underlay.READY_S", 0.3)
    with encrypted(tmp_path, 1) as one:
        (node,) = one.nodes
        task = task_of("late", (ONE,), networks=(SECRET,))
        node.run(node.networks.apply(OverlayChange(full=True, put_networks=(SECRET,))))
        with pytest.raises(VaultError, match="encryption: the keys of this node have not come from the managers yet"):
            node.create(task)
        assert "vxlan" not in node.sh("ip -d link")


def test_a_restarted_vaultd_goes_on_without_managers(tmp_path: Path) -> None:
    with encrypted(tmp_path) as one:
        left, right = two_tasks(one)
        with backend(right):
            eventually(lambda: reached(TWO, left))
            one.stop(one.nodes[0])
            assert reached(TWO, left)
            one.start(one.nodes[0])
            assert reached(TWO, left)
            one.nodes[0].sh("ip link delete $(ip -br link | grep -o '^w[a-z0-9]*0')")
            eventually(lambda: reached(TWO, left))

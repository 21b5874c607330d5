"""Nodes that share a wire: each a network namespace and a thread with an event loop, with the underlay of encryption.

The switch between them is a namespace of its own, where a test can look at what is on the wire.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.network.hosts import _CLONE_NEWNET, _LIBC, loopback_up, sh
from tests.network.traffic import Datagrams, bound
from vault.crypto.node_seal import NodeKey
from vault.crypto.wireguard_seal import WireGuardKey, open_wireguard_key, seal_wireguard_key
from vault.model.node import EncryptionKey, NodeEncryption
from vault.model.overlay import EncryptionPeer, OverlayChange, OverlayEncryption, OverlayEndpoint, OverlayNetwork
from vault.network.overlay.state import OverlayState
from vault.network.wireguard.probe import Probe
from vault.network.wireguard.process import PROGRAM
from vault.network.wireguard.underlay import WireGuard

T = TypeVar("T")
CLUSTER = "c" * 25
VNI = 4711


class Space:
    """A network namespace with a thread in it that does what it is given."""

    def __init__(self) -> None:
        started: Future[int] = Future()
        self.loop = asyncio.new_event_loop()
        self._worker = ThreadPoolExecutor(1)
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        self.fd = started.result()

    def _run(self, started: Future[int]) -> None:
        assert _LIBC.unshare(_CLONE_NEWNET) == 0
        loopback_up()
        asyncio.set_event_loop(self.loop)
        started.set_result(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        self.loop.run_forever()

    def do(self, work: Callable[[], T]) -> T:
        """Do blocking work inside."""

        async def inside() -> T:  # A thread begins where the one is that makes it.
            return await self.loop.run_in_executor(self._worker, work)

        return self.wait(inside(), timeout_s=60)

    def on_loop(self, work: Callable[[], T]) -> T:
        """Do something short on the event loop."""

        async def inside() -> T:
            return work()

        return self.wait(inside())

    def sh(self, command: str) -> str:
        """Run a command inside."""
        return self.do(lambda: sh(command))

    def wait(self, work: Coroutine[Any, Any, T], timeout_s: float = 20) -> T:
        """Run a coroutine inside; return what it does."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def close(self) -> None:
        """End the thread; the namespace ends with it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self._worker.shutdown()
        self.loop.close()
        os.close(self.fd)


class Node(Space):
    """A node of the cluster, number 1 to 250."""

    def __init__(self, number: int, run_root: Path) -> None:
        super().__init__()
        self.number = number
        self.id = f"node{number}".ljust(25, "0")
        self.addr, self.address = f"192.0.2.{number}", f"198.18.0.{number}"
        self.inner = f"10.9.0.{number}"  # On the overlay network.
        self.run_root = run_root
        self.node_key = NodeKey.generate()
        self.keys: dict[int, EncryptionKey] = {}
        self.said: list[int] = []  # Each epoch that the node came to use.
        self.give(1)

    def give(self, epoch: int) -> None:
        """Make a key, as the leader does."""
        key = WireGuardKey.generate()
        sealed = seal_wireguard_key(self.node_key.public(), key, cluster_id=CLUSTER, node_id=self.id, epoch=epoch)
        self.keys[epoch] = EncryptionKey(epoch=epoch, public=key.public(), sealed=sealed)

    @property
    def peer(self) -> EncryptionPeer:
        """What others are told."""
        keys = tuple(EncryptionKey(epoch=key.epoch, public=key.public) for key in self.keys.values())
        return EncryptionPeer(node_id=self.id, node_addr=self.addr, address=self.address, keys=keys)

    @property
    def own(self) -> NodeEncryption:
        """What it is told of itself."""
        return NodeEncryption(address=self.address, keys=tuple(self.keys.values()), sealed_to=self.node_key.public())

    def start(self) -> None:
        """Begin, as a vaultd does."""

        async def begin() -> None:
            self.run_root.mkdir(exist_ok=True)
            self.wireguard = await WireGuard.open(self.run_root, look=user_space)
            self.wireguard.follow(lambda: self.said.append(self.epoch))
            self.wireguard.join(self._open)
            self._job = asyncio.get_running_loop().create_task(self.wireguard.run())

        self.wait(begin())

    def stop(self) -> None:
        """End, as a vaultd does: what it made stays."""

        async def end() -> None:
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)

        self.wait(end())

    @property
    def epoch(self) -> int:
        """The epoch it says that it uses."""
        means = self.wireguard.means
        assert means is not None
        return means.epoch

    def tell(self, *peers: Node, removed: tuple[Node, ...] = (), full: bool = False) -> None:
        """Tell it its own keys and some peers, with all of which it shares a network."""
        change = OverlayEncryption(
            full=full,
            own=self.own,
            put_peers=tuple(peer.peer for peer in peers),
            remove_peers=tuple(peer.id for peer in removed),
        )
        self.on_loop(lambda: self.wireguard.tell(change))

    def share(self, *peers: Node) -> None:
        """Let it share an encrypted network with some nodes, and no others."""
        state = OverlayState().applied(
            OverlayChange(
                full=True,
                put_networks=(OverlayNetwork(id="secret", name="secret", vxlan_id=VNI, encrypted=True),),
                put_endpoints=tuple(OverlayEndpoint(network_id="secret", node_id=peer.id) for peer in peers),
            )
        )
        self.on_loop(lambda: self.wireguard.told(state))

    def ready(self) -> str:
        """Wait until the underlay is there; return its address."""
        self.wait(self.wireguard.ready())
        return self.wireguard.local

    def leave(self) -> None:
        """Let it forget everything."""

        async def forget() -> None:
            self.wireguard.tell(OverlayEncryption(full=True))
            await self.wireguard.settled()

        self.wait(forget())

    def add_overlay(self, peer: Node) -> None:
        """Make the overlay to another node, as the data plane does."""
        self.sh(
            f"ip link add vx{peer.number} type vxlan id {VNI + self.number + peer.number} local {self.address}"
            f" remote {peer.address} dstport 7948 && ip link set vx{peer.number} mtu 1370 up"
            f" && ip addr add {self.inner}/32 peer {peer.inner} dev vx{peer.number}"
        )

    def ping(self, peer: Node, timeout_s: float = 10.0) -> bool:
        """Whether a datagram reaches a node over the overlay, and one comes back, within a time."""
        return self.do(lambda: echoes(self.inner, peer.inner, timeout_s))

    def _open(self, key: EncryptionKey) -> WireGuardKey:
        return open_wireguard_key(self.node_key, key.sealed, cluster_id=CLUSTER, node_id=self.id, epoch=key.epoch)

    def close(self) -> None:
        """Remove everything."""
        if hasattr(self, "wireguard"):
            if self._job.done():  # It was stopped, and what it made is still there.
                self.start()
            self.leave()
            self.stop()
        super().close()


class Wire(Space):
    """The switch, and who is plugged in."""

    def __init__(self) -> None:
        super().__init__()
        self.sh("ip link add switch type bridge && ip link set switch up")

    def plug(self, node: Node) -> None:
        """Connect a node."""
        port = f"port{node.number}"
        self.sh(
            f"ip link add {port} type veth peer name up0 netns /proc/{os.getpid()}/fd/{node.fd}"
            f" && ip link set {port} master switch up"
        )
        node.sh(f"ip addr add {node.addr}/24 dev up0 && ip link set up0 up")


@contextmanager
def nodes(count: int, tmp_path: Path) -> Iterator[tuple[Wire, list[Node]]]:
    """Yield some nodes on a wire, none of which encrypts yet."""
    wire = Wire()
    made: list[Node] = []
    try:
        for number in range(1, count + 1):
            made.append(Node(number, tmp_path / f"run{number}"))
            wire.plug(made[-1])
        yield wire, made
    finally:
        for one in (*made, wire):
            one.close()


async def user_space() -> Probe:
    """Say that this machine has the program."""
    return Probe(by=PROGRAM)


def connect(*all_: Node) -> None:
    """Let nodes share an encrypted network, with an overlay between each two."""
    for node in all_:
        node.start()
        node.share(*all_)
        node.tell(*(other for other in all_ if other is not node), full=True)
    for node in all_:
        node.ready()
        for other in all_:
            if other is not node:
                node.add_overlay(other)


def eventually(check: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


class Stream(Datagrams):
    """Numbered datagrams from one node to another over the overlay between them."""

    def __init__(self, sender: Node, receiver: Node) -> None:
        into = receiver.do(lambda: bound(receiver.inner, 5000 + sender.number))
        out = sender.do(lambda: bound(sender.inner, 0))
        out.connect((receiver.inner, 5000 + sender.number))
        super().__init__(out, into)


def echoes(own: str, other: str, timeout_s: float) -> bool:
    """ICMP echo, ten times a second, until one is answered."""
    end = time.monotonic() + timeout_s
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as one:
        one.settimeout(0.1)
        one.bind((own, 0))
        while time.monotonic() < end:
            try:
                one.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (other, 0))  # Echo; checksum of the rest.
                while True:
                    packet, (source, _) = one.recvfrom(200)
                    if source == other and packet[20] == 0:
                        return True
            except (TimeoutError, OSError):
                time.sleep(0.01)
    return False

"""Nodes whose meshes are told the same, and servers and clients to try them with."""

import asyncio
import contextlib
import itertools
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tests.network.hosts import ask, inside, sh
from tests.network.overlay_nodes import Node, endpoints_of, task_of
from tests.network.servers import Say, served, serving
from vault.model.network import IPAMConfig
from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork, OverlayService
from vault.model.service import PortConfig
from vault.network.links.names import Names
from vault.network.mesh.node import RECORD, Mesh, MeshRecord

LIMIT_S = 10.0
_numbers = itertools.count(1)
INGRESS = OverlayNetwork(
    id="ingress",
    name="ingress",
    vxlan_id=4096,
    configs=(IPAMConfig(subnet="10.0.0.0/24", gateway="10.0.0.1"),),
    ingress=True,
)


def own_address(node: Node) -> str:
    """Return a node's address on the ingress network."""
    return node.address.replace("10.9.0.", "10.0.0.20")


@dataclass(frozen=True)
class Running:
    """A task that runs on a node."""

    id: str
    node: Node
    namespace: Path
    address: str

    @property
    def name(self) -> str:
        return self.id.rstrip("x")


class Swarm:
    """Nodes and what a manager tells them: services with their ports, and the tasks that serve them."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.services: dict[str, tuple[PortConfig, ...]] = {}
        self.endpoints: dict[str, OverlayEndpoint] = {}
        self.meshes: dict[str, Mesh] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        for node in nodes:
            node.stop()
            self.begin(node)

    def begin(self, node: Node) -> None:
        """Begin as a vaultd does."""
        mesh = self.meshes[node.id] = Mesh(node.run_root)

        async def work() -> None:
            self._workers[node.id] = asyncio.create_task(mesh.run())

        node.run(work())
        node.start(mesh)

    def end(self, node: Node) -> None:
        """End as a vaultd does that leaves its tasks running."""
        node.stop()

        async def stop() -> None:
            worker = self._workers.pop(node.id)
            worker.cancel()
            await asyncio.wait({worker})

        if node.id in self._workers:
            node.run(stop())

    def publish(self, service: str, *ports: PortConfig) -> None:
        """Let a service publish ports; without any it is on the ingress network all the same."""
        self.services[service] = ports

    def start(self, node: Node, number: int, service: str = "web") -> Running:
        """Start a task and let it serve."""
        if not self.services:
            self.publish(service)
            self.tell()
        address = f"10.0.0.{10 + number}"
        task = task_of(f"task{number}", (address,), networks=(INGRESS,))
        made = node.create(task)
        self.endpoints[task.id] = endpoints_of(node, task, service=service)[0]
        return Running(task.id, node, made.namespace, address)

    def retire(self, task: Running) -> None:
        """Let a task serve no longer; it goes on running."""
        self.endpoints[task.id] = replace(self.endpoints[task.id], serving=False)

    def stop(self, task: Running) -> None:
        """End a task; only its node knows."""
        task.node.run(task.node.networks.remove(task.id))

    def tell(self, *nodes: Node) -> None:
        """Tell nodes, without a name all of them, and wait until the kernel of each has it."""
        for node in nodes or self.nodes:
            node.tell(self._change(node))
            self.settle(node)

    def remind(self, node: Node) -> None:
        """Let a node's mesh look again, as it does by itself from time to time."""

        async def look() -> None:
            self.meshes[node.id].told(node.networks.state)

        node.run(look())
        self.settle(node)

    def settle(self, node: Node) -> None:
        """Wait until a node's mesh has done what it was told."""
        node.run(asyncio.wait_for(self.meshes[node.id].settled(), LIMIT_S))

    def _change(self, node: Node) -> OverlayChange:
        if not self.services:
            return OverlayChange(full=True)
        services = tuple(
            OverlayService(network_id=INGRESS.id, service_id=name, name=name, ports=ports)
            for name, ports in self.services.items()
        )
        places = tuple(
            OverlayEndpoint(
                network_id=INGRESS.id, node_id=each.id, node_addr=each.address, addresses=(own_address(each),)
            )
            for each in self.nodes
        )
        network = replace(INGRESS, node_address=f"{own_address(node)}/24")
        endpoints = (*places, *self.endpoints.values())
        return OverlayChange(full=True, put_networks=(network,), put_endpoints=endpoints, put_services=services)


def traces(node: Node) -> list[str]:
    """Return whatever the mesh and its tasks have left on a node."""
    names = Names(node.run_root)
    found = [line for line in node.sh("nft list tables").splitlines() if names.table in line]
    found += [line for line in node.sh("ip -o link").splitlines() if "mesh" in line]
    found += [line for line in node.sh("ip route show table all").splitlines() if "172." in line]
    return found + [str(path) for path in node.run_root.glob("mesh*")]


def in_overlay(node: Node, command: str) -> str:
    """Run a command in the namespace of the ingress overlay."""
    return inside(node.overlay(INGRESS), lambda: sh(command))


def record_of(node: Node) -> MeshRecord:
    return msgspec.json.decode((node.run_root / RECORD).read_bytes(), type=MeshRecord)


def wire_of(node: Node) -> tuple[str, str]:
    """Return the addresses of the node's end of the wire and of the other."""
    words = node.sh("ip -4 -o addr show | grep mesh").split()
    return words[3], words[5].partition("/")[0]


@contextmanager
def answering(*tasks: Running, kind: str = "tcp", port: int = 80) -> Iterator[None]:
    """Let a server run in each task that tells who is calling it."""
    with contextlib.ExitStack() as stack:
        for task in tasks:
            stack.enter_context(served(task.namespace, port, kind))
        yield


@contextmanager
def naming(*tasks: Running, kind: str = "tcp", port: int = 80) -> Iterator[None]:
    """Let a server run in each task that echoes what it gets, with the task's name before it."""
    with contextlib.ExitStack() as stack:
        for task in tasks:
            stack.enter_context(serving(task.namespace, port, _named(task), kind=kind, stays=True))
        yield


def _named(task: Running) -> Say:
    return lambda _, data: f"{task.name}:{data.decode()}"


def call(node: Node, address: str, port: int = 8080, kind: str = "tcp", timeout_s: float = 2.0) -> str:
    """Return what answers a call from a node."""
    return ask(address, port, kind, at=node.namespace, timeout_s=timeout_s)


def exchange(one: socket.socket, text: str = "x") -> str:
    """Return what answers; a datagram may get lost on a link that came up just now, and is sent again."""
    number = f".{next(_numbers)}"  # So that a late answer to what was sent before is not taken for this one.
    for _ in range(1 if one.type == socket.SOCK_STREAM else 4):
        one.send(f"{text}{number}".encode())
        with contextlib.suppress(TimeoutError):
            while not (answer := one.recv(100).decode()).endswith(number):
                pass
            return answer.removesuffix(number)
    raise TimeoutError


def client(node: Node, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket that talks from a node."""
    return inside(node.namespace, lambda: socket.socket(socket.AF_INET, kind))


def connected(node: Node, address: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    one = client(node, kind)
    one.settimeout(2 if kind == socket.SOCK_STREAM else 0.5)
    one.connect((address, port))
    return one


def who(node: Node, address: str, times: int, port: int = 8080) -> Counter[str]:
    """Return which tasks answered how many of some connections."""
    found: Counter[str] = Counter()
    for _ in range(times):
        with connected(node, address, port) as one:
            found[exchange(one).partition(":")[0]] += 1
    return found


def datagrams() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@contextmanager
def listener(namespace: Path | int, port: int) -> Iterator[socket.socket]:
    with inside(namespace, datagrams) as one:
        one.settimeout(2)
        one.bind(("0.0.0.0", port))
        yield one


def listen(one: socket.socket, port: int) -> None:
    stream = one.type == socket.SOCK_STREAM
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, stream)
    one.bind(("0.0.0.0", port))
    if stream:
        one.listen()

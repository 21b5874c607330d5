"""Nodes with overlay networks: network namespaces joined by a bridge, each with an event loop in a thread of its own.

What a manager would say is made by `Cluster`, and told to every node alike.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.network.hosts import _LIBC, loopback_up, sh
from vault.model.container import ContainerSpec
from vault.model.network import IPAMConfig, IPAMOptions, Network, NetworkAttachment, NetworkSpec
from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork, OverlayService
from vault.model.secret import Driver
from vault.model.service import PortConfig, TaskSpec
from vault.model.task import Task
from vault.network.kernel.namespaces import drop_namespace
from vault.network.node import NodeNetworks, TaskNetwork
from vault.network.overlay.listener import OverlayListener
from vault.network.overlay.network import Tunnels

T = TypeVar("T")
FRONT = OverlayNetwork(id="front", name="front", vxlan_id=4097, configs=(IPAMConfig(subnet="10.0.1.0/24"),))
BACK = OverlayNetwork(id="back", name="back", vxlan_id=4098, configs=(IPAMConfig(subnet="10.0.2.0/24"),))
BOTH_VERSIONS = OverlayNetwork(
    id="six",
    name="six",
    vxlan_id=4099,
    configs=(IPAMConfig(subnet="10.0.6.0/24", gateway="10.0.6.1"), IPAMConfig(subnet="fd00:6::/64")),
)
VIP = "10.0.1.2"


@dataclass(slots=True)
class Node:
    """One machine of a test."""

    id: str
    address: str
    namespace: int  # A descriptor.
    run_root: Path
    loop: asyncio.AbstractEventLoop
    networks: NodeNetworks = field(init=False)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the node's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def start(self, *listeners: OverlayListener, tunnels: Tunnels | None = None) -> None:
        """Begin as a vaultd does."""

        async def opened() -> NodeNetworks:
            networks = await NodeNetworks.open(self.run_root, tunnels)
            networks.identify(self.id)
            for listener in listeners:
                networks.listen(listener)
            await networks.settle()
            return networks

        self.networks = self.run(opened())

    def stop(self) -> None:
        """End as a vaultd does that leaves its tasks running."""
        self.run(self.networks.close())

    def crash(self) -> None:
        """End as a vaultd does that is killed: the kernel closes what it held open, and nothing else happens."""

        async def gone() -> None:
            jobs = asyncio.all_tasks() - {asyncio.current_task()}
            overlays = self.networks._overlays
            jobs |= {local._job for local in overlays._local.values() if local._job is not None}
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            for thread in threading.enumerate():
                if thread.name.startswith("network"):
                    thread.join()
            await _until_idle()
            for local in overlays._local.values():
                if local._namespace is not None:
                    local._namespace.close(remove=False)
            overlays._node.links.close()

        self.run(gone())

    def tell(self, change: OverlayChange) -> None:
        """Say something to the node, and wait until the kernel has it."""

        async def told() -> None:
            await self.networks.apply(change)
            await self.networks.settle()

        self.run(told())

    def create(self, task: Task) -> TaskNetwork:
        """Make a task's links."""
        made = self.run(self.networks.create(task))
        assert made is not None
        return made

    def sh(self, command: str) -> str:
        """Run a command on the node."""

        async def run() -> str:
            return sh(command)

        return self.run(run())

    def overlay(self, network: OverlayNetwork) -> Path:
        """The file of a network's namespace."""
        return self.run_root / "netns" / f"overlay-{network.id}"


async def _until_idle() -> None:
    """Return when no thread of the event loop's own does anything."""
    count = min(32, (os.cpu_count() or 1) + 4)  # As asyncio has it.
    barrier = threading.Barrier(count)
    await asyncio.gather(*(asyncio.to_thread(barrier.wait, 10) for _ in range(count)))


@contextmanager
def nodes(count: int, directory: Path) -> Iterator[list[Node]]:
    """Yield nodes joined by a bridge in the calling thread's namespace; each is started."""
    sh("ip link add bridge type bridge && ip link set bridge up")
    with contextlib.ExitStack() as undo:
        made = [undo.enter_context(_node(number, directory / f"n{number}")) for number in range(1, count + 1)]
        until_joined(count)
        for node in made:
            node.start()
        yield made


def until_joined(count: int) -> None:
    """Wait until the bridge forwards: the kernel sees a new wire within a second, and drops packets until then."""
    deadline_s = time.monotonic() + 10
    while sh("bridge link show").count("state forwarding") < count:
        assert time.monotonic() < deadline_s, sh("bridge link show")
        time.sleep(0.01)


@contextmanager
def _node(number: int, run_root: Path) -> Iterator[Node]:
    run_root.mkdir()
    ready: list[Node] = []
    up = threading.Event()

    def live() -> None:
        assert _LIBC.unshare(0x40000000) == 0
        loopback_up()
        loop = asyncio.new_event_loop()
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        ready.append(Node(id=f"node{number}", address=f"10.9.0.{number}", namespace=fd, run_root=run_root, loop=loop))
        loop.call_soon(up.set)
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=live, name=f"node{number}")
    thread.start()
    assert up.wait(10)
    node = ready[0]
    try:
        sh(f"ip link add n{number} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{node.namespace}")
        sh(f"ip link set n{number} master bridge up")
        node.sh(f"ip addr add {node.address}/24 dev eth0 && ip link set eth0 up")
        yield node
    finally:
        with contextlib.suppress(Exception):
            node.stop()
        node.loop.call_soon_threadsafe(node.loop.stop)
        thread.join()
        for path in run_root.glob("netns/*"):
            drop_namespace(path)
        os.close(node.namespace)


@contextmanager
def beside(node: Node, run_root: Path) -> Iterator[Node]:
    """Yield another node that shares the machine of one."""
    run_root.mkdir()
    other = Node(id=f"{node.id}-2", address=node.address, namespace=node.namespace, run_root=run_root, loop=node.loop)
    other.start()
    try:
        yield other
    finally:
        other.stop()
        for path in run_root.glob("netns/*"):
            drop_namespace(path)


class Cluster:
    """What a manager knows and tells every node."""

    def __init__(self, nodes: list[Node], *networks: OverlayNetwork, services: tuple[OverlayService, ...] = ()) -> None:
        self.nodes = nodes
        self.networks = networks or (FRONT,)
        self.tell(OverlayChange(full=True, put_networks=self.networks, put_services=services))

    def tell(self, change: OverlayChange) -> None:
        """Tell every node, and wait until all kernels have it."""
        for node in self.nodes:
            node.tell(change)

    def run(
        self,
        node: Node,
        task_id: str,
        *addresses: tuple[str, ...],
        service: str = "",
        ports: tuple[PortConfig, ...] = (),
        networks: tuple[OverlayNetwork, ...] = (),
    ) -> Path:
        """Start a task that has these addresses on each of the networks; return the file of its namespace."""
        task = task_of(task_id, *addresses, ports=ports, networks=networks or self.networks)
        self.tell(OverlayChange(put_endpoints=endpoints_of(node, task, service=service, serving=False)))
        made = node.create(task)
        if service:
            self.tell(OverlayChange(put_endpoints=endpoints_of(node, task, service=service)))
        return made.namespace

    def withdraw(self, node: Node, task_id: str, network: OverlayNetwork = FRONT) -> None:
        """Say that a task has ended."""
        self.tell(OverlayChange(remove_endpoints=((network.id, full_id(task_id), node.id),)))


def full_id(task_id: str) -> str:
    """Return an id as long as real ones."""
    return task_id.ljust(25, "x")


def task_of(
    task_id: str,
    *addresses: tuple[str, ...],
    ports: tuple[PortConfig, ...] = (),
    networks: tuple[OverlayNetwork, ...] = (FRONT,),
) -> Task:
    """Return a task with these addresses on each of the networks, as a node gets it."""
    attachments = tuple(
        NetworkAttachment(network=_network(network), addresses=tuple(f"{a}/{_length(a)}" for a in own))
        for network, own in zip(networks, addresses, strict=True)
    )
    return Task(
        id=full_id(task_id),
        spec=TaskSpec(container_spec=ContainerSpec(image="busybox")),
        networks_attachments=attachments,
        host_ports=ports,
    )


def endpoints_of(node: Node, task: Task, *, service: str = "", serving: bool = True) -> tuple[OverlayEndpoint, ...]:
    """Return a task's endpoint on each of its networks."""
    return tuple(
        OverlayEndpoint(
            network_id=attachment.network.id,
            task_id=task.id,
            service_id=service,
            node_id=node.id,
            node_addr=node.address,
            addresses=tuple(address.partition("/")[0] for address in attachment.addresses),
            serving=serving,
        )
        for attachment in task.networks_attachments
    )


def service(*vips: str, service_id: str = "web", network: OverlayNetwork = FRONT) -> OverlayService:
    return OverlayService(network_id=network.id, service_id=service_id, name=service_id, vips=vips or (VIP,))


def _length(address: str) -> int:
    return 64 if ":" in address else 24


def _network(network: OverlayNetwork) -> Network:
    return Network(
        id=network.id,
        spec=NetworkSpec(
            name=network.name,
            internal=network.internal,
            ingress=network.ingress,
            driver_configuration=Driver(name="overlay", options={"encrypted": ""} if network.encrypted else {}),
        ),
        driver_state=Driver(
            name="overlay", options={"com.docker.network.driver.overlay.vxlanid_list": str(network.vxlan_id)}
        ),
        ipam_options=IPAMOptions(configs=network.configs),
    )

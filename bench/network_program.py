"""How long a node takes to program endpoints: links, neighbours and virtual addresses, by the code that vaultd runs.

Runs in a network namespace of its own (`unshare --net python -m bench.network_program DIRECTORY`); prints milliseconds
from a change until the kernel has it, by what was done.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from vault.model.container import ContainerSpec
from vault.model.network import IPAMConfig, IPAMOptions, Network, NetworkAttachment, NetworkSpec
from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork, OverlayService
from vault.model.secret import Driver
from vault.model.service import TaskSpec
from vault.model.task import Task
from vault.network.node import NodeNetworks

MANY: Final = 1000
NODES: Final = 20
SUBNET: Final = IPAMConfig(subnet="10.200.0.0/16", gateway="10.200.0.1")
NETWORK: Final = OverlayNetwork(id="n" * 25, name="bench", vxlan_id=4097, configs=(SUBNET,))
SERVICE: Final = OverlayService(network_id=NETWORK.id, service_id="s", name="web", vips=("10.200.0.2",))


def endpoint(number: int) -> OverlayEndpoint:
    """Return a task on another node that serves."""
    node = number % NODES
    return OverlayEndpoint(
        network_id=NETWORK.id,
        task_id=f"{number:025}",
        service_id=SERVICE.service_id,
        node_id=f"node{node}",
        node_addr=f"10.9.0.{node + 2}",
        addresses=(f"10.200.{1 + number // 250}.{1 + number % 250}",),
        serving=True,
    )


def local_task() -> Task:
    """Return the task for which this node takes part in the network."""
    network = Network(
        id=NETWORK.id,
        spec=NetworkSpec(name=NETWORK.name),
        driver_state=Driver(name="overlay", options={"com.docker.network.driver.overlay.vxlanid_list": "4097"}),
        ipam_options=IPAMOptions(configs=(SUBNET,)),
    )
    attachment = NetworkAttachment(network=network, addresses=("10.200.0.9/16",))
    return Task(
        id="t" * 25,
        spec=TaskSpec(container_spec=ContainerSpec(image="busybox")),
        networks_attachments=(attachment,),
    )


async def measure(run_root: Path) -> dict[str, float]:
    """Return milliseconds, by what was done."""
    networks = await NodeNetworks.open(run_root)
    networks.identify("here")
    await networks.apply(OverlayChange(full=True, put_networks=(NETWORK,), put_services=(SERVICE,)))
    task = local_task()
    took = {"task's links made": await _timed(networks.create(task))}
    many = [endpoint(number) for number in range(MANY)]
    one, other = many[:1], [endpoint(MANY)]
    for what, change in (
        ("1 endpoint programmed", _put(one)),
        ("1 endpoint removed", _removed(one)),
        (f"{MANY:,} endpoints programmed", _put(many)),
        (f"1 endpoint programmed beside {MANY:,}", _put(other)),
        (f"1 endpoint removed beside {MANY:,}", _removed(other)),
        (f"{MANY:,} endpoints removed", _removed(many)),
    ):
        took[what] = await _timed(_programmed(networks, change))
    await networks.remove(task.id)
    await networks.apply(OverlayChange(full=True))
    await networks.settle()
    await networks.close()
    return took


def _put(endpoints: list[OverlayEndpoint]) -> OverlayChange:
    return OverlayChange(put_endpoints=tuple(endpoints))


def _removed(endpoints: list[OverlayEndpoint]) -> OverlayChange:
    keys = tuple((each.network_id, each.task_id, each.node_id) for each in endpoints)
    return OverlayChange(remove_endpoints=keys)


async def _programmed(networks: NodeNetworks, change: OverlayChange) -> None:
    await networks.apply(change)
    await networks.settle()


async def _timed(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    """Give this namespace an underlay, measure, and print."""
    underlay = ("link add eth0 type veth peer name eth1", "addr add 10.9.0.1/24 dev eth0")
    for words in ("link set lo up", *underlay, "link set eth0 up", "link set eth1 up"):
        subprocess.run(["ip", *words.split()], check=True)
    print(json.dumps(asyncio.run(measure(Path(sys.argv[1])))))


if __name__ == "__main__":
    main()

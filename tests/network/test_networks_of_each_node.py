"""Networks of the driver bridge with the scope swarm: each node makes one for its own tasks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.network.hosts import ask, inside, scratch_host, sh
from tests.network.overlay_nodes import Node, nodes, task_of
from tests.network.servers import backend
from vault.model.network import IPAMConfig
from vault.model.overlay import OverlayNetwork
from vault.model.secret import Driver
from vault.model.task import Task

pytestmark = pytest.mark.machine
LOCAL = OverlayNetwork(id="local", name="local", vxlan_id=0, configs=(IPAMConfig(subnet="10.0.7.0/24"),))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Node]]:
    with scratch_host(), nodes(2, tmp_path) as made:
        yield made


def on_it(name: str, address: str, *, internal: bool = False) -> Task:
    """Return a task on it, as managers send one."""
    task = task_of(name, (address,), networks=(replace(LOCAL, internal=internal),))
    (place,) = task.networks_attachments
    spec = replace(place.network.spec, driver_configuration=Driver(name="bridge"), scope="swarm")
    network = replace(place.network, spec=spec, driver_state=Driver(name="bridge"))
    return replace(task, networks_attachments=(replace(place, network=network),))


def start(node: Node, task: Task) -> Path:
    return node.create(task).namespace


def traces(node: Node) -> list[str]:
    found = sh_lines(node, "ip -o link | grep -v ': lo:\\|eth0' || true")
    return [*found, *sh_lines(node, "nft list tables"), *(str(path) for path in node.run_root.glob("netns/*"))]


def sh_lines(node: Node, command: str) -> list[str]:
    return node.sh(command).splitlines()


def test_tasks_of_one_node_reach_each_other_and_none_of_another(pair: list[Node]) -> None:
    here, there = pair
    one, two = (start(here, on_it(f"t{n}", f"10.0.7.{n}")) for n in (2, 3))
    far = start(there, on_it("t4", "10.0.7.4"))
    with backend(one), backend(two), backend(far):
        assert ask("10.0.7.3", 80, at=one) == "t3 10.0.7.2"
        assert ask("10.0.7.2", 80, at=two) == "t2 10.0.7.3"
        with pytest.raises(OSError):  # noqa: PT011  # However the kernel says it.
            ask("10.0.7.4", 80, at=one, timeout_s=0.3)
    assert "mtu 1500" in inside(one, lambda: sh("ip link show eth0"))
    assert "10.0.7.2/24" in inside(one, lambda: sh("ip -4 -o addr show eth0"))
    assert "default" in inside(one, lambda: sh("ip route")), "it has a way out"
    assert "vxlan" not in here.sh("ip -d link")


def test_an_internal_one_has_no_way_out(pair: list[Node]) -> None:
    one = start(pair[0], on_it("t2", "10.0.7.2", internal=True))
    assert "default" not in inside(one, lambda: sh("ip route"))


def test_it_lives_on_without_vaultd_and_leaves_with_its_last_task(pair: list[Node]) -> None:
    here, _ = pair
    before = traces(here)
    tasks = [on_it(f"t{n}", f"10.0.7.{n}") for n in (2, 3)]
    one, two = (start(here, task) for task in tasks)
    with backend(two):
        here.stop()
        assert ask("10.0.7.3", 80, at=one)
        here.start()
        assert ask("10.0.7.3", 80, at=one)
    for task in tasks:
        here.run(here.networks.remove(task.id))
    here.run(here.networks.settle())
    assert traces(here) == before

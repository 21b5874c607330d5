"""Overlay networks when vaultd ends, is killed half-way, or the machine was restarted; that nothing is left behind."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.network.hosts import ask, inside, scratch_host, sh
from tests.network.overlay_nodes import BACK, FRONT, VIP, Cluster, Node, endpoints_of, full_id, nodes, service, task_of
from tests.network.servers import backend
from vault.model.overlay import OverlayChange, OverlayEndpoint
from vault.network import node as node_module
from vault.network.kernel import namespaces, netlink, nftables
from vault.network.kernel.links import Netlink
from vault.network.kernel.namespaces import drop_namespace
from vault.network.kernel.programs import NetworkFailed
from vault.network.links.names import Names
from vault.network.overlay import device as overlay_device
from vault.network.overlay import network as overlay_network
from vault.network.overlay.listener import AttachedTask
from vault.network.overlay.state import OverlayState

pytestmark = pytest.mark.machine
ONE, TWO = "10.0.1.11", "10.0.1.12"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with scratch_host(), nodes(1, tmp_path) as (made,):
        yield made


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[Node]]:
    with scratch_host(), nodes(2, tmp_path) as made:
        yield made


def traces(node: Node) -> list[str]:
    """Return whatever a vaultd has in the node's kernel and files."""
    names = Names(node.run_root)
    found = [line for line in node.sh("ip -o link").splitlines() if names.link_prefix in line or "vxlan" in line]
    found += [line for line in node.sh("nft list tables").splitlines() if names.table in line]
    found += node.sh("ip route show type unreachable").splitlines()
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(node.run_root) in line]
    return found + [str(path) for path in node.run_root.rglob("*")]


def test_traffic_goes_on_while_vaultd_is_away_and_the_next_one_knows_all_without_a_manager(two: list[Node]) -> None:
    cluster = Cluster(two, services=(service(),))
    one, other = (cluster.run(n, f"w{i}", (f"10.0.1.1{i}",), service="web") for i, n in enumerate(two, 1))
    with backend(one), backend(other):
        told = two[0].networks.state
        two[0].stop()
        assert {ask(VIP, 80, at=one)[:2] for _ in range(2)} == {"w1", "w2"}
        two[0].start()
        assert two[0].networks.state == told
        assert {ask(VIP, 80, at=one)[:2] for _ in range(2)} == {"w1", "w2"}
        two[0].run(two[0].networks.reap({one.name}))
        assert {ask(VIP, 80, at=one)[:2] for _ in range(2)} == {"w1", "w2"}
        cluster.withdraw(two[1], "w2")
        assert {ask(VIP, 80, at=one)[:2] for _ in range(2)} == {"w1"}


def test_a_new_vaultd_mends_what_was_changed_while_there_was_none(two: list[Node]) -> None:
    cluster = Cluster(two, services=(service(),))
    one, other = (cluster.run(n, f"w{i}", (f"10.0.1.1{i}",), service="web") for i, n in enumerate(two, 1))
    two[0].stop()
    harm = (
        "nft flush ruleset; ip neigh flush dev vxlan0 nud permanent; bridge fdb del 02:42:0a:09:00:02 dev vxlan0 self; "
        "ip neigh add 10.0.1.77 lladdr 2:2:2:2:2:2 dev vxlan0"
    )
    inside(two[0].overlay(FRONT), lambda: sh(harm))
    with backend(one), backend(other):
        with pytest.raises(OSError, match=r"timed out|No route"):
            ask(VIP, 80, at=one, timeout_s=0.2)
        two[0].start()
        two[0].run(two[0].networks.settle())
        assert {ask(VIP, 80, at=one)[:2] for _ in range(2)} == {"w1", "w2"}
    assert "10.0.1.77" not in inside(two[0].overlay(FRONT), lambda: sh("ip neigh"))


def test_links_come_back_when_only_the_networks_namespace_was_lost(two: list[Node]) -> None:
    cluster = Cluster(two, services=(service(),))
    one, other = (cluster.run(n, f"w{i}", (f"10.0.1.1{i}",), service="web") for i, n in enumerate(two, 1))
    two[0].stop()
    drop_namespace(two[0].overlay(FRONT))
    with backend(one), backend(other):
        two[0].start()
        assert {ask(VIP, 80, at=one)[:2] for _ in range(2)} == {"w1", "w2"}


def test_after_a_restart_of_the_machine_nothing_old_is_left_and_tasks_run_again(two: list[Node]) -> None:
    cluster = Cluster(two, services=(service(),))
    one, other = (cluster.run(n, f"w{i}", (f"10.0.1.1{i}",), service="web") for i, n in enumerate(two, 1))
    two[0].stop()
    for path in two[0].run_root.glob("netns/*"):
        drop_namespace(path)
        path.touch()  # As a file that nothing is mounted on any more, should RUN_ROOT not be in memory.
    two[0].start()
    two[0].run(two[0].networks.reap(()))
    assert not one.exists()
    again = cluster.run(two[0], "w3", ("10.0.1.13",), service="web")
    with backend(again), backend(other):
        assert {ask(VIP, 80, at=again)[:2] for _ in range(3)} >= {"w2", "w3"}


def test_the_last_task_and_network_leave_nothing_behind(two: list[Node]) -> None:
    cluster = Cluster(two, FRONT, BACK, services=(service(),))
    paths = [cluster.run(n, f"w{i}", (f"10.0.1.1{i}",), (f"10.0.2.1{i}",), service="web") for i, n in enumerate(two, 1)]
    assert len(traces(two[0])) > 6
    for node, path in zip(two, paths, strict=True):
        node.run(node.networks.remove(path.name))
        node.tell(OverlayChange(full=True))
        assert traces(node) == []
        node.run(node.networks.remove(path.name))


def test_a_network_that_comes_back_at_once_works(two: list[Node]) -> None:
    """The old namespace's VXLAN id is still taken for a moment, and its end must not take the new one along."""
    cluster = Cluster(two)
    other = cluster.run(two[1], "w2", (TWO,))
    for turn in range(4):
        path = cluster.run(two[0], f"t{turn}", (ONE,))
        with backend(other):
            assert ask(TWO, 80, at=path) == f"w2 {ONE}"
        two[0].run(two[0].networks.remove(path.name))
        two[0].run(two[0].networks.apply(OverlayChange(full=True)))
        two[0].tell(two[1].networks.state.as_change())


def test_tasks_that_nobody_wants_are_reaped_and_the_others_kept(node: Node) -> None:
    cluster = Cluster([node], services=(service(),))
    kept, gone = (cluster.run(node, f"w{n}", (f"10.0.1.1{n}",), service="web") for n in (1, 2))
    node.stop()
    inside(node.overlay(FRONT), lambda: sh("ip link add tstranger type veth peer name other"))
    node.start()
    node.run(node.networks.reap({kept.name}))
    assert not gone.exists()
    names = inside(node.overlay(FRONT), lambda: [name for _, name in socket.if_nameindex()])
    assert names == ["lo", "vxlan0", "tw1xxxxxxxxxxxx"]
    with backend(kept):
        assert {ask(VIP, 80, at=kept)[:2] for _ in range(3)} == {"w1"}


def test_an_id_that_another_program_has_is_said_in_one_sentence_and_the_network_works_once_it_is_free(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay_device, "_ID_TAKEN_S", 0.0)
    monkeypatch.setattr(overlay_network, "RETRY_S", 0.05)
    node.sh("ip link add docker type vxlan id 4097 dstport 4789 nolearning")
    cluster = Cluster([node])
    words = "overlay front: another program of this machine has VXLAN id 4097 on UDP port 4789: remove its network"
    with pytest.raises(NetworkFailed, match=words):
        cluster.run(node, "w1", (ONE,))
    assert not list(node.run_root.glob("netns/w*"))
    node.sh("ip link del docker")
    node.run(node.networks.settle())
    path = node.create(task_of("w2", (TWO,))).namespace
    with backend(path):
        assert ask(TWO, 80, at=path) == f"w2 {TWO}"


def test_a_kernel_without_vxlan_is_said_in_one_sentence_and_nothing_is_left(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Unknown device type")

    monkeypatch.setattr(Netlink, "add_elsewhere", refuse)
    words = "overlay front: this kernel has no VXLAN: load the module vxlan, or install a kernel that has it"
    with pytest.raises(NetworkFailed, match=words):
        node.create(task_of("w1", (ONE,)))
    node.run(node.networks.settle())
    assert traces(node) == []


def test_a_link_to_other_nodes_that_somebody_deleted_is_made_again_with_the_next_change(node: Node) -> None:
    here = task_of("w1", ("10.0.1.11",))
    node.tell(OverlayChange(full=True, put_networks=(FRONT,), put_endpoints=endpoints_of(node, here)))
    node.create(here)
    inside(node.overlay(FRONT), lambda: sh("ip link delete vxlan0"))
    far = OverlayEndpoint(
        network_id=FRONT.id, task_id=full_id("far"), node_id="other", node_addr="10.9.0.9", addresses=("10.0.1.99",)
    )
    node.tell(OverlayChange(put_endpoints=(far,)))
    assert "10.0.1.99" in inside(node.overlay(FRONT), lambda: sh("ip neigh show dev vxlan0"))
    node.run(node.networks.remove(here.id))
    node.tell(OverlayChange(full=True))
    assert traces(node) == []


class Killed(BaseException):
    """Stands for SIGKILL."""


class Bomb:
    """Counts what is said to the kernel; at one step it kills."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None  # Steps until it goes off; None = never.
        self.steps = 0
        for owner, name in (
            (netlink.NetlinkSocket, "_send"),
            (nftables.Nftables, "run"),
            (namespaces, "_touch"),
            (namespaces, "_check"),
            (namespaces, "set_here"),
        ):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            self.steps += 1
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Killed
            return real(*arguments)

        return step


def test_a_vaultd_killed_at_any_step_leaves_what_the_next_one_repairs(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = Bomb(monkeypatch)
    one, two = (task_of(f"w{n}", (f"10.0.1.1{n}",)) for n in (1, 2))
    told = OverlayChange(
        full=True,
        put_networks=(FRONT,),
        put_endpoints=(*endpoints_of(node, one, service="web"), *endpoints_of(node, two, service="web")),
        put_services=(service(),),
    )

    def story() -> None:
        node.run(node.networks.apply(told))
        for task in (one, two):
            node.create(task)
        node.run(node.networks.settle())

    def end() -> None:
        for task in (one, two):
            node.run(node.networks.remove(task.id))
        node.tell(OverlayChange(full=True))

    story()
    end()
    assert traces(node) == []
    whole, bomb.steps = bomb.steps, 0
    assert whole > 30
    for step in range(0, whole, 5):
        bomb.left = step
        with suppress(Killed, NetworkFailed):
            story()
            end()
        node.crash()
        bomb.left = None
        node.start()
        story()
        with ExitStack() as served:
            paths = [node.run_root / "netns" / task.id for task in (one, two)]
            for path in paths:
                served.enter_context(backend(path))
            assert {ask(VIP, 80, at=paths[0])[:2] for _ in range(2)} == {"w1", "w2"}, f"step {step}"
        end()
        assert traces(node) == [], f"step {step}"


def test_a_large_change_is_taken_like_a_small_one_and_not_what_ended_meanwhile(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "MANY", 0)
    cluster = Cluster([node], services=(service(),))
    path = cluster.run(node, "w1", (ONE,), service="web")
    told = node.networks.state

    async def ends_meanwhile() -> None:
        applying = asyncio.create_task(node.networks.apply(told.as_change()))
        await asyncio.sleep(0)
        await node.networks.remove(path.name)
        await applying

    node.run(ends_meanwhile())
    assert len(told.overlays["front"].endpoints) == 1
    assert len(node.networks.state.overlays["front"].endpoints) == 0


class Ear:
    """A listener that remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def told(self, state: OverlayState) -> None:
        self.heard.append(f"told {sum(len(overlay.endpoints) for overlay in state)}")

    def opened(self, network_id: str, namespace: Path) -> None:
        self.heard.append(f"opened {network_id}")

    def attached(self, task: AttachedTask) -> None:
        self.heard.append(f"attached {task.task_id.rstrip('x')} to {task.networks} by {task.link_address[:4]}")

    def detached(self, task_id: str) -> None:
        self.heard.append(f"detached {task_id.rstrip('x')}")


def test_listeners_hear_all_in_order_and_a_new_vaultds_hear_all_there_is(node: Node) -> None:
    first, second = Ear(), Ear()
    node.stop()
    node.start(first)
    path = Cluster([node]).run(node, "w1", (ONE,))
    assert first.heard == ["told 0", "told 0", "told 1", "opened front", "attached w1 to ('front',) by 172."]
    node.stop()
    node.start(second)
    assert second.heard == ["told 1", "attached w1 to ('front',) by 172.", "opened front"]
    node.run(node.networks.remove(path.name))
    assert second.heard[3:] == ["detached w1", "told 0"]

"""Overlay networks on a real kernel: three machines, played by network namespaces on a bridge."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.network.hosts import ask, inside, scratch_host, sh
from tests.network.overlay_nodes import (
    BACK,
    BOTH_VERSIONS,
    FRONT,
    VIP,
    Cluster,
    Node,
    beside,
    nodes,
    service,
    task_of,
)
from tests.network.servers import backend
from vault.model.endpoint_options import IFNAME, SYSCTLS
from vault.model.overlay import OverlayChange
from vault.model.service import NetworkAttachmentConfig, PortConfig
from vault.network.kernel.programs import NetworkFailed

pytestmark = pytest.mark.machine


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Node]]:
    with scratch_host(), nodes(3, tmp_path) as made:
        yield made


@contextmanager
def web(cluster: Cluster, kind: str = "tcp") -> Iterator[list[Path]]:
    """Have a task of one service on each node, and yield their namespaces."""
    paths = [cluster.run(node, f"w{n}", (f"10.0.1.1{n}",), service="web") for n, node in enumerate(cluster.nodes, 1)]
    with ExitStack() as served:
        for path in paths:
            served.enter_context(backend(path, kind=kind))
        yield paths


def cluster_of(three: list[Node]) -> Cluster:
    return Cluster(three, services=(service(),))


def test_a_virtual_address_leads_to_each_task_in_turn_and_all_see_who_is_asking(three: list[Node]) -> None:
    cluster = cluster_of(three)
    with web(cluster):
        client = cluster.run(three[2], "c", ("10.0.1.99",))
        heard = [ask(VIP, 80, at=client) for _ in range(6)]
        assert sorted(heard[:3]) == sorted(heard[3:]) == [f"w{n} 10.0.1.99" for n in (1, 2, 3)]


def test_a_task_reaches_itself_and_the_others_through_its_services_virtual_address(three: list[Node]) -> None:
    with web(cluster_of(three)) as paths:
        heard = [ask(VIP, 80, at=paths[0]) for _ in range(3)]
        assert sorted(heard) == ["w1 10.0.1.1", "w2 10.0.1.11", "w3 10.0.1.11"], "only to itself it is the gateway"
        assert ask("10.0.1.11", 80, at=paths[0]) == "w1 10.0.1.11"


def test_tasks_reach_each_other_by_their_own_addresses_wherever_they_are(three: list[Node]) -> None:
    cluster = cluster_of(three)
    with web(cluster) as paths:
        beside = cluster.run(three[0], "c", ("10.0.1.99",))
        assert ask("10.0.1.11", 80, at=beside) == "w1 10.0.1.99"
        assert ask("10.0.1.12", 80, at=paths[0]) == "w2 10.0.1.11"


def test_a_virtual_address_without_tasks_refuses_at_once(three: list[Node]) -> None:
    cluster = cluster_of(three)
    client = cluster.run(three[0], "c", ("10.0.1.99",))
    with pytest.raises(ConnectionRefusedError):
        ask(VIP, 80, at=client)
    with pytest.raises(ConnectionRefusedError):
        ask(VIP, 80, "udp", at=client)


def test_a_task_that_no_longer_serves_gets_no_new_connections_and_keeps_those_it_has(three: list[Node]) -> None:
    cluster = cluster_of(three)
    one, two = (cluster.run(node, f"w{n}", (f"10.0.1.1{n}",), service="web") for n, node in enumerate(three[:2], 1))
    client = cluster.run(three[2], "c", ("10.0.1.99",))
    listeners = [inside(path, lambda: socket.create_server(("0.0.0.0", 81))) for path in (one, two)]
    talks = []
    for _ in range(2):
        talks.append(inside(client, lambda: socket.create_connection((VIP, 81), 2)))
    accepted = [listener.accept()[0] for listener in listeners]
    for node in three:
        state = node.networks.state.overlays["front"].endpoints.values()
        (leaving,) = (each for each in state if each.task_id.startswith("w1"))
        node.tell(OverlayChange(put_endpoints=(replace(leaving, serving=False),)))
    with backend(one), backend(two):
        assert {ask(VIP, 80, at=client) for _ in range(4)} == {"w2 10.0.1.99"}
    for each in accepted:
        each.sendall(b"still here")
    assert [talk.recv(20) for talk in talks] == [b"still here"] * 2
    for each in (*talks, *accepted, *listeners):
        each.close()


def test_udp_flows_leave_a_task_that_has_ended(three: list[Node]) -> None:
    cluster = cluster_of(three)
    with web(cluster, "udp"):
        client = cluster.run(three[2], "c", ("10.0.1.99",))

        def talk() -> socket.socket:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.settimeout(2)
            one.connect((VIP, 80))
            return one

        with inside(client, talk) as flow:
            first = exchanged(flow)
            assert exchanged(flow) == first, "a flow stays where it is"
            number = int(first[1])
            cluster.withdraw(three[number - 1], f"w{number}")
            assert exchanged(flow) != first


def exchanged(flow: socket.socket) -> str:
    flow.send(b"?")
    return flow.recv(100).decode()


def test_packets_of_1450_bytes_pass_whole_and_larger_ones_are_refused_where_they_begin(three: list[Node]) -> None:
    cluster = cluster_of(three)
    with web(cluster, "udp"):
        client = cluster.run(three[2], "c", ("10.0.1.99",))

        def sender() -> socket.socket:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: always DF.
            one.settimeout(2)
            one.connect(("10.0.1.11", 80))
            return one

        with inside(client, sender) as one:
            one.send(b"x" * (1450 - 28))
            assert one.recv(100) == b"w1 10.0.1.99"
            with pytest.raises(OSError, match="too long"):
                one.send(b"x" * (1450 - 27))


def test_a_networks_own_mtu_counts_when_it_is_smaller(three: list[Node]) -> None:
    small = replace(FRONT, mtu=1400)
    client = Cluster(three, small).run(three[0], "c", ("10.0.1.99",))
    assert inside(client, lambda: sh("cat /sys/class/net/eth0/mtu 2>/dev/null; ip -o link show eth0")).count("mtu 1400")


def test_two_networks_do_not_see_each_other_and_a_task_on_both_sees_both(three: list[Node]) -> None:
    cluster = Cluster(three, FRONT, BACK)
    front = cluster.run(three[0], "f", ("10.0.1.11",), networks=(FRONT,))
    back = cluster.run(three[1], "b", ("10.0.2.11",), networks=(BACK,))
    both = cluster.run(three[2], "both", ("10.0.1.13",), ("10.0.2.13",))
    with backend(front), backend(back), backend(both):
        assert ask("10.0.1.11", 80, at=both) == "f 10.0.1.13"
        assert ask("10.0.2.11", 80, at=both) == "b 10.0.2.13"
        assert ask("10.0.2.13", 80, at=back) == "both 10.0.2.11"
        inside(front, lambda: sh("ip route add 10.0.2.0/24 via 10.0.1.1 dev eth0"))
        inside(back, lambda: sh("ip route add 10.0.1.0/24 via 10.0.2.1 dev eth0"))
        for address, place in (("10.0.2.11", front), ("10.0.1.11", back)):
            with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
                ask(address, 80, at=place, timeout_s=0.3)


def test_a_task_cannot_send_under_another_tasks_address(three: list[Node]) -> None:
    cluster = cluster_of(three)
    with web(cluster) as paths:
        assert arrives("10.0.1.11", "10.0.1.12", paths[0], paths[1])
        assert not arrives("10.0.1.13", "10.0.1.12", paths[0], paths[1])


def arrives(own: str, address: str, at: Path, to: Path) -> bool:
    """Return whether a datagram that bears an address arrives; it is given one of the task's if it has not."""
    family = socket.AF_INET6 if ":" in own else socket.AF_INET

    def sender() -> socket.socket:
        sh(f"ip addr replace {own} dev lo {'nodad' if ':' in own else ''}")
        return bound(own, 0)

    def bound(address: str, port: int) -> socket.socket:
        one = socket.socket(family, socket.SOCK_DGRAM)
        one.bind((address, port))
        one.settimeout(0.3)
        return one

    with inside(to, lambda: bound(address, 7000)) as receiver, inside(at, sender) as one:
        one.sendto(b"?", (address, 7000))
        with suppress(TimeoutError):
            return receiver.recvfrom(10)[1][0] == own
        return False


def test_ipv6_works_like_ipv4(three: list[Node]) -> None:
    """Direct, through a virtual address, to oneself, and under no address but one's own."""
    vips = service("10.0.6.2", "fd00:6::2", network=BOTH_VERSIONS)
    cluster = Cluster(three, BOTH_VERSIONS, services=(vips,))
    paths = [
        cluster.run(node, f"w{n}", (f"10.0.6.1{n}", f"fd00:6::1{n}"), service="web") for n, node in enumerate(three, 1)
    ]
    with ExitStack() as served:
        for path in paths:
            served.enter_context(backend(path))
        assert ask6("fd00:6::12", paths[0]) == "w2 fd00:6::11"
        assert sorted(ask6("fd00:6::2", paths[0]) for _ in range(3)) == [
            "w1 fd00:6::1",
            "w2 fd00:6::11",
            "w3 fd00:6::11",
        ]
        assert ask("10.0.6.2", 80, at=paths[0])
        assert arrives("fd00:6::11", "fd00:6::12", paths[0], paths[1])
        assert not arrives("fd00:6::13", "fd00:6::12", paths[0], paths[1])


def ask6(address: str, at: Path) -> str:
    with inside(at, lambda: socket.create_connection((address, 80), 2)) as one:
        return one.recv(100).decode()


def test_a_task_gets_out_by_its_last_link_unless_all_its_networks_are_internal(three: list[Node]) -> None:
    inner = replace(BACK, internal=True)
    cluster = Cluster(three, FRONT, inner)
    sh("ip addr add 10.9.0.250/24 dev bridge")
    out = cluster.run(three[0], "o", ("10.0.1.11",), ("10.0.2.11",))
    kept = cluster.run(three[1], "k", ("10.0.2.12",), networks=(inner,))
    names = inside(out, lambda: [name for _, name in socket.if_nameindex()])
    assert names == ["lo", "eth0", "eth1", "eth2"]
    with socket.create_server(("10.9.0.250", 80)) as world:
        inside(out, lambda: socket.create_connection(("10.9.0.250", 80), 2)).close()
        assert world.accept()[1][0] == three[0].address
        with pytest.raises(OSError, match="unreachable"):
            inside(kept, lambda: socket.create_connection(("10.9.0.250", 80), 2))
    assert inside(kept, lambda: [name for _, name in socket.if_nameindex()]) == ["lo", "eth0"]


def test_a_task_s_link_has_the_name_and_the_settings_that_were_asked_for(tmp_path: Path) -> None:
    told = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.neigh.IFNAME.gc_stale_time=77"
    asked = (
        NetworkAttachmentConfig(target=FRONT.id),
        NetworkAttachmentConfig(target=BACK.id, driver_opts={IFNAME: "db.0", SYSCTLS: told}),
    )
    task = task_of("o", ("10.0.1.11",), ("10.0.2.11",), networks=(FRONT, BACK))
    task = replace(task, spec=replace(task.spec, networks=asked))
    below = Path("/proc/sys/net/ipv4")
    with scratch_host(), nodes(1, tmp_path) as (node,):
        at = node.create(task).namespace
        assert inside(at, lambda: [name for _, name in socket.if_nameindex()]) == ["lo", "eth0", "db.0", "eth1"]
        for setting, of_db, of_other in (("conf/{}/log_martians", "1", "0"), ("neigh/{}/gc_stale_time", "77", "60")):
            found = inside(at, lambda s=setting: [(below / s.format(d)).read_text().strip() for d in ("db.0", "eth0")])
            assert found == [of_db, of_other]


def test_a_setting_that_this_kernel_does_not_have_fails_the_task_by_name(tmp_path: Path) -> None:
    asked = (NetworkAttachmentConfig(target=FRONT.id, driver_opts={SYSCTLS: "net.ipv4.conf.IFNAME.not_there=1"}),)
    task = task_of("o", ("10.0.1.11",))
    refused = pytest.raises(NetworkFailed, match=r"sysctl net\.ipv4\.conf\.IFNAME\.not_there=1: no such file")
    with scratch_host(), nodes(1, tmp_path) as (node,), refused:
        node.create(replace(task, spec=replace(task.spec, networks=asked)))


def test_ports_in_host_mode_answer_for_a_task_on_overlay_networks(three: list[Node]) -> None:
    sh("ip addr add 10.9.0.250/24 dev bridge")
    port = PortConfig(protocol="tcp", published_port=8080, target_port=80, publish_mode="host")
    path = cluster_of(three).run(three[0], "w1", ("10.0.1.11",), ports=(port,))
    with backend(path):
        assert ask(three[0].address, 8080) == "w1 10.9.0.250"
    assert three[0].networks.published("w1".ljust(25, "x")) == (port,)


def test_a_task_that_ended_is_out_of_the_virtual_address_at_once_with_no_manager_there(three: list[Node]) -> None:
    cluster = cluster_of(three)
    with web(cluster) as paths:
        beside = cluster.run(three[0], "c", ("10.0.1.99",))
        node = three[0]
        node.run(node.networks.remove(paths[0].name))
        node.run(node.networks.settle())
        assert {ask(VIP, 80, at=beside)[:2] for _ in range(4)} == {"w2", "w3"}
        before, others = node.networks.state, three[1].networks.state
        assert len(others.overlays["front"].endpoints) == len(before.overlays["front"].endpoints) + 1
        for change in (others.as_change(), replace(others.as_change(), full=False)):
            node.tell(change)
            assert node.networks.state == before, "a manager that has not heard of it does not bring it back"


def test_what_others_still_send_to_a_task_that_ended_is_refused_at_once(three: list[Node]) -> None:
    with web(cluster_of(three)) as paths:
        assert ask("10.0.1.12", 80, at=paths[0])
        three[1].run(three[1].networks.remove(paths[1].name))
        with pytest.raises(ConnectionRefusedError):
            ask("10.0.1.12", 80, at=paths[0], timeout_s=1)


def test_nobody_is_reached_any_longer_where_a_task_was(three: list[Node]) -> None:
    cluster = cluster_of(three)
    with web(cluster) as paths:
        assert ask("10.0.1.12", 80, at=paths[0])
        cluster.withdraw(three[1], "w2")
        listed = inside(three[0].overlay(FRONT), lambda: sh("ip neigh show dev vxlan0; bridge fdb show dev vxlan0"))
        assert "10.0.1.12 lladdr" not in listed
        assert "02:42:0a:09:00:02" not in listed, "nobody else is on that node"
        assert "10.0.1.13 lladdr" in listed


def test_nodes_that_share_one_machine_on_loopback_addresses_have_the_same_networks(tmp_path: Path) -> None:
    with scratch_host(), nodes(1, tmp_path) as (first,), beside(first, tmp_path / "second") as second:
        for node, address in ((first, "127.5.0.1"), (second, "127.5.0.2")):
            node.address = address
        cluster = Cluster([first, second])
        one, two = (cluster.run(node, f"w{n}", (f"10.0.1.1{n}",)) for n, node in enumerate((first, second), 1))
        with backend(two):
            assert ask("10.0.1.12", 80, at=one) == "w2 10.0.1.11"

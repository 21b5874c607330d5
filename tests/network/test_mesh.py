"""The routing mesh on a real kernel: three nodes, each a network namespace, with overlays as vaultd makes them."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network.hosts import inside, scratch_host
from tests.network.mesh_world import (
    INGRESS,
    Swarm,
    answering,
    call,
    client,
    connected,
    datagrams,
    exchange,
    in_overlay,
    listen,
    listener,
    naming,
    own_address,
    record_of,
    traces,
    who,
    wire_of,
)
from tests.network.overlay_nodes import nodes
from tests.network.sctp import End, associate
from tests.network.servers import served
from vault.model.service import PortConfig
from vault.network.doctor.rules import published
from vault.network.links.names import Names
from vault.network.mesh import node as mesh

pytestmark = pytest.mark.machine

WEB = PortConfig(target_port=80, published_port=8080)
DNS = PortConfig(protocol="udp", target_port=53, published_port=53)


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    with scratch_host(), nodes(3, tmp_path) as made:
        one = Swarm(made)
        try:
            yield one
            for task_id in one.endpoints:
                for node in made:
                    node.run(node.networks.remove(task_id))
            one.services, one.endpoints = {}, {}
            one.tell()
            assert [traces(node) for node in made] == [[], [], []]
        finally:
            for node in made:
                one.end(node)


def test_a_published_port_answers_on_every_node_and_in_turn(swarm: Swarm) -> None:
    one, two, three = swarm.nodes
    tasks = [swarm.start(one, 1), swarm.start(two, 2)]
    swarm.publish("web", WEB)
    swarm.tell()
    with naming(*tasks):
        for node in swarm.nodes:
            for address in ("127.0.0.1", node.address):
                assert who(node, address, 4) == {"task1": 2, "task2": 2}, f"{address} of {node.number}"
        for node in (one, two):
            assert who(three, node.address, 4) == {"task1": 2, "task2": 2}, "from outside"


def test_a_task_of_the_node_called_sees_who_is_calling_and_others_see_the_node(swarm: Swarm) -> None:
    one, two, three = swarm.nodes
    task = swarm.start(one, 1)
    swarm.publish("web", WEB)
    swarm.tell()
    with answering(task):
        assert call(three, one.address) == three.address
        assert call(one, one.address) == one.address
        assert call(three, two.address) == own_address(two), "through the overlay, for the node that was called"
        assert call(two, "127.0.0.1") == own_address(two)


def test_udp_is_published_too(swarm: Swarm) -> None:
    one, two, three = swarm.nodes
    task = swarm.start(one, 1, "dns")
    swarm.publish("dns", DNS)
    swarm.tell()
    with answering(task, kind="udp", port=53):
        for node in swarm.nodes:
            assert call(node, "127.0.0.1", 53, "udp")
            assert call(two, node.address, 53, "udp")
        assert call(three, one.address, 53, "udp") == three.address


def test_sctp_is_published_too_whether_or_not_the_kernel_has_sockets_for_it(swarm: Swarm) -> None:
    one, two, three = swarm.nodes
    task = swarm.start(two, 2)
    swarm.publish("web", PortConfig(protocol="sctp", target_port=2905, published_port=9905))
    swarm.tell()
    assert [(port.protocol, port.taken) for port in record_of(one).ports] == [("sctp", False)]
    with (
        contextlib.closing(End(task.namespace, 2905)) as server,
        contextlib.closing(End(three.namespace, 40_001)) as client,
    ):
        for node, caller in ((two, three.address), (one, own_address(one))):
            seen, answered = associate(client, server, node.address, 9905)
            assert seen.source == caller
            assert (answered.source, answered.ports) == (node.address, (9905, 40_001))


def test_a_port_of_sctp_is_not_published_where_the_kernel_leads_it_nowhere(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh, "is_led", lambda protocol: protocol != "sctp")
    one, _, _ = swarm.nodes
    swarm.start(one, 1)
    swarm.publish("web", WEB, PortConfig(protocol="sctp", target_port=2905, published_port=9905))
    swarm.tell()
    sctp, tcp = record_of(one).ports
    assert (sctp.taken, tcp.taken) == (True, False)
    assert "sctp" not in one.sh("nft list tables; nft list ruleset")
    finding = published([sctp])[0]
    assert finding.said == "this kernel does not track connections of SCTP (CONFIG_NF_CT_PROTO_SCTP)"


def test_a_port_that_nobody_serves_is_refused_at_once_and_answers_when_somebody_does(swarm: Swarm) -> None:
    one, _, three = swarm.nodes
    swarm.publish("web", WEB)
    swarm.publish("dns", DNS)
    swarm.tell()
    for node, address in ((one, "127.0.0.1"), (one, one.address), (three, one.address)):
        with pytest.raises(ConnectionRefusedError):
            call(node, address)
        with pytest.raises(ConnectionRefusedError):
            call(node, address, 53, "udp")
    task = swarm.start(one, 1)
    swarm.tell()
    with answering(task):
        assert call(three, one.address) == three.address


def test_a_flow_that_began_before_its_port_was_published_finds_the_task(swarm: Swarm) -> None:
    one, _, three = swarm.nodes
    for number, (caller, address) in enumerate(((three, one.address), (one, "127.0.0.1"))):
        with connected(caller, address, 53, socket.SOCK_DGRAM) as waiting:
            with pytest.raises(ConnectionRefusedError):
                exchange(waiting)
            task = swarm.start(one, number, "dns")
            swarm.publish("dns", DNS)
            swarm.tell()
            with naming(task, kind="udp", port=53):
                assert exchange(waiting) == f"{task.name}:x"
        swarm.retire(task)
        swarm.publish("dns")
        swarm.tell()


@pytest.mark.parametrize("called", [0, 1, 2])
def test_connections_to_a_task_that_retires_go_on_and_new_ones_find_another(swarm: Swarm, called: int) -> None:
    one, two, three = swarm.nodes
    tasks = [swarm.start(one, 1), swarm.start(two, 2)]
    swarm.publish("web", WEB)
    swarm.tell()
    address = swarm.nodes[called].address
    with naming(*tasks), contextlib.ExitStack() as stack:
        pair = [stack.enter_context(connected(three, address, 8080)) for _ in range(2)]
        names = [exchange(each) for each in pair]
        assert sorted(names) == ["task1:x", "task2:x"]
        swarm.retire(tasks[0])
        swarm.tell()
        assert [exchange(each) for each in pair] == names, "established connections go on"
        assert who(three, address, 4) == {"task2": 4}


@pytest.mark.parametrize("called", [0, 1, 2])
def test_udp_flows_to_a_task_that_retires_find_another(swarm: Swarm, called: int) -> None:
    one, two, three = swarm.nodes
    tasks = [swarm.start(one, 1, "dns"), swarm.start(two, 2, "dns")]
    swarm.publish("dns", DNS)
    swarm.tell()
    address = swarm.nodes[called].address
    with naming(*tasks, kind="udp", port=53), contextlib.ExitStack() as stack:
        pair = [stack.enter_context(connected(three, address, 53, socket.SOCK_DGRAM)) for _ in range(2)]
        assert sorted(exchange(each) for each in pair) == ["task1:x", "task2:x"]
        swarm.retire(tasks[0])
        swarm.tell()
        assert [exchange(each) for each in pair] == ["task2:x", "task2:x"]


def test_only_the_chains_that_change_lose_their_turn(swarm: Swarm) -> None:
    one, two, _ = swarm.nodes
    tasks = [swarm.start(one, 1), swarm.start(two, 2)]
    swarm.publish("web", WEB)
    swarm.tell()
    with naming(*tasks):
        (first,) = who(one, "127.0.0.1", 1)
        swarm.publish("other", PortConfig(target_port=80, published_port=8081))
        swarm.tell()
        (second,) = who(one, "127.0.0.1", 1)
        assert {first, second} == {"task1", "task2"}


def test_a_port_of_another_program_stays_its_own_and_other_nodes_go_on(
    swarm: Swarm, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, three = swarm.nodes
    task = swarm.start(two, 1)
    swarm.publish("web", WEB, PortConfig(target_port=80, published_port=8081))
    with naming(task):
        with served(one.namespace, 8080):
            swarm.tell()
            assert call(three, one.address) == three.address, "the other program answers"
            assert who(three, one.address, 1, 8081) == {"task1": 1}, "its other port is published"
            assert who(three, two.address, 1) == {"task1": 1}
            (said,) = [each for each in caplog.records if each.msg == "port_not_published_on_this_node"]
            assert (said.port, said.service) == (8080, "web")  # type: ignore[attr-defined]
            assert [(port.published_port, port.taken) for port in record_of(one).ports] == [(8080, True), (8081, False)]
        swarm.remind(one)
        assert who(three, one.address, 1) == {"task1": 1}, "given back, it is published"
    assert not any(port.taken for port in record_of(one).ports)


def test_published_ports_are_taken_for_every_other_program_until_they_are_withdrawn(swarm: Swarm) -> None:
    one = swarm.nodes[0]
    swarm.publish("web", WEB)
    swarm.publish("dns", DNS)
    swarm.tell()
    for kind, port in ((socket.SOCK_STREAM, 8080), (socket.SOCK_DGRAM, 53)):
        with client(one, kind) as other, pytest.raises(OSError, match="Address already in use"):
            listen(other, port)
    swarm.publish("web")
    swarm.tell()
    with client(one) as other:
        listen(other, 8080)


def test_rules_stay_when_vaultd_ends_and_the_next_one_goes_on_with_them(swarm: Swarm) -> None:
    one, two, three = swarm.nodes
    tasks = [swarm.start(one, 1), swarm.start(two, 2)]
    swarm.publish("web", WEB)
    swarm.tell()
    with naming(*tasks), connected(three, one.address, 8080) as before:
        name = exchange(before)
        swarm.end(one)
        assert who(three, one.address, 2) == {"task1": 1, "task2": 1}, "while no vaultd is there"
        wire = one.sh("ip -o addr show | grep mesh")
        swarm.begin(one)
        swarm.tell(one)
        assert one.sh("ip -o addr show | grep mesh") == wire
        assert exchange(before) == name, "a connection from before goes on"
        swarm.retire(tasks[0])
        swarm.tell(one)
        assert who(three, one.address, 2) == {"task2": 2}


def test_what_an_earlier_vaultd_left_is_removed_when_nothing_is_published_any_more(swarm: Swarm) -> None:
    one = swarm.nodes[0]
    swarm.publish("web", WEB)
    swarm.tell()
    swarm.end(one)
    assert traces(one)
    swarm.begin(one)
    swarm.services = {}
    swarm.tell(one)
    assert traces(one) == []


def test_rules_that_somebody_flushed_come_back(swarm: Swarm) -> None:
    one, _, three = swarm.nodes
    task = swarm.start(swarm.nodes[1], 1)
    swarm.publish("web", WEB)
    swarm.tell()
    with naming(task):
        one.sh("nft flush ruleset")
        swarm.remind(one)
        assert who(three, one.address, 1) == {"task1": 1}
        in_overlay(one, "nft flush ruleset")
        swarm.remind(one)
        assert who(three, one.address, 1) == {"task1": 1}


def test_an_overlay_that_was_made_anew_is_joined_again(swarm: Swarm) -> None:
    one, two, three = swarm.nodes
    task = swarm.start(two, 1)
    swarm.publish("web", WEB)
    swarm.tell()
    wire, services = wire_of(one), swarm.services
    swarm.services = {}
    swarm.tell()
    assert traces(one) == []
    swarm.services = services
    swarm.tell()
    assert wire_of(one) == wire
    with naming(task):
        assert who(three, one.address, 1) == {"task1": 1}


def test_a_task_that_ends_is_led_nobody_any_more_though_no_manager_says_so(swarm: Swarm) -> None:
    one, two, three = swarm.nodes
    tasks = [swarm.start(one, 1), swarm.start(two, 2)]
    swarm.publish("web", WEB)
    swarm.tell()
    swarm.stop(tasks[0])
    swarm.settle(one)
    with naming(tasks[1]):
        assert who(three, one.address, 4) == {"task2": 4}


def test_nothing_gets_into_the_overlay_but_through_a_published_port(swarm: Swarm) -> None:
    one, two, three = swarm.nodes
    task = swarm.start(two, 1, "dns")
    swarm.publish("dns", DNS)
    swarm.tell()
    _, inner = wire_of(one)
    three.sh(f"ip route add {inner}/32 via {one.address} && ip route add {task.address}/32 via {one.address}")
    with listener(task.namespace, 53) as heard, client(three, socket.SOCK_DGRAM) as caller:
        for address in (inner, task.address):
            caller.sendto(b"by another way", (address, 53))
        caller.sendto(b"through the port", (one.address, 53))
        assert heard.recv(100) == b"through the port"
    three.sh(f"ip route del {inner}/32 && ip route del {task.address}/32")


def test_nothing_new_comes_out_of_the_overlay(swarm: Swarm) -> None:
    one, _, three = swarm.nodes
    swarm.publish("dns", DNS)
    swarm.tell()
    end, _ = wire_of(one)
    in_overlay(one, f"ip route add default via {end} dev mesh0")
    for node, address in ((one, end), (one, one.address), (three, three.address)):
        with listener(node.namespace, 9053) as heard, client(one, socket.SOCK_DGRAM) as own:
            with inside(one.overlay(INGRESS), datagrams) as out:
                out.sendto(b"out of the overlay", (address, 9053))
            own.sendto(b"of the node", (address, 9053))
            assert heard.recv(100) == b"of the node"


def test_other_tables_are_left_alone_and_a_drop_of_theirs_holds(swarm: Swarm) -> None:
    one, two, three = swarm.nodes
    task = swarm.start(two, 1)
    rules = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
    one.sh(f"nft '{rules}'")
    before = one.sh("nft list table ip filter")
    try:
        swarm.publish("web", WEB)
        swarm.tell()
        with naming(task):
            assert who(one, "127.0.0.1", 1) == {"task1": 1}, "what begins here is not forwarded"
            with pytest.raises(OSError, match="timed out"):
                call(three, one.address, timeout_s=0.3)
            link = Names(one.run_root).mesh_link
            for direction in ("iifname", "oifname"):
                one.sh(f"nft add rule ip filter FORWARD {direction} {link} accept")
            assert who(three, one.address, 1) == {"task1": 1}, "as the manual says"
            one.sh("nft flush chain ip filter FORWARD")
        swarm.services = {}
        swarm.tell()
        assert one.sh("nft list table ip filter") == before
    finally:
        one.sh("nft delete table ip filter")

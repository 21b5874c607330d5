"""Published ports on a real kernel, in a network namespace that plays the host."""

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.network.hosts import HOST_ADDRESS, OUTSIDE, ask, inside, neighbour, scratch_host, sh
from tests.network.sctp import End, associate
from tests.network.servers import served
from vault.model.service import PortConfig
from vault.network.kernel.namespaces import drop_namespace
from vault.network.kernel.programs import NetworkFailed
from vault.network.links import ports as links_ports
from vault.network.links.names import Names
from vault.network.links.network import NodeNetwork
from vault.network.links.ports import PortNotPublished

pytestmark = pytest.mark.machine

A, B, C = ("a" * 25, "b" * 25, "c" * 25)
Test = Callable[[NodeNetwork], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with scratch_host():
        yield


@pytest.fixture
def run_root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for each in tmp_path.rglob("netns/*"):
        drop_namespace(each)


def tcp(published: int, target: int = 80) -> PortConfig:
    return PortConfig(protocol="tcp", published_port=published, target_port=target, publish_mode="host")


def udp(published: int, target: int = 53) -> PortConfig:
    return PortConfig(protocol="udp", published_port=published, target_port=target, publish_mode="host")


def with_network(run_root: Path, test: Test) -> None:
    async def whole() -> None:
        await test(await NodeNetwork.open(run_root))

    asyncio.run(whole())


def traces(run_root: Path) -> list[str]:
    """Return whatever a vaultd with this run root has in kernel and file system."""
    names = Names(run_root)
    found = [name for _, name in socket.if_nameindex() if name.startswith(names.link_prefix)]
    found += [line for line in sh("nft list tables").splitlines() if names.table in line]
    found += sh("ip route show type unreachable").splitlines()
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(run_root) in line]
    return found + [str(path) for path in run_root.rglob("*")]


def test_a_published_port_answers_on_every_address_of_the_host(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        path = await network.create(A, ports=(tcp(8080), udp(5353)))
        with served(path, 80), served(path, 53, "udp"), neighbour() as outside:
            for address in ("127.0.0.1", HOST_ADDRESS):
                assert ask(address, 8080)
                assert ask(address, 5353, "udp")
            assert ask(HOST_ADDRESS, 8080, at=outside) == OUTSIDE, "the task sees who is calling"
            assert ask(HOST_ADDRESS, 5353, "udp", at=outside) == OUTSIDE
        await network.remove(A)

    with_network(run_root, test)


def test_tasks_reach_each_other_and_themselves_only_through_published_ports(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        one, two = await network.create(A, ports=(tcp(8080),)), await network.create(B, ports=(tcp(8081, 81),))
        address = inside(one, lambda: sh("ip -4 -o addr show eth0")).split()[3]
        with served(one, 80), served(one, 9999), neighbour() as outside:
            assert ask(HOST_ADDRESS, 8080, at=two)
            assert ask(HOST_ADDRESS, 8080, at=one)
            assert ask(address, 9999), "the host itself may"
            inside(outside, lambda: sh(f"ip route add default via {HOST_ADDRESS}"))
            for place in (two, outside):
                with pytest.raises(TimeoutError):
                    ask(address, 9999, at=place, timeout_s=0.2)
                with pytest.raises(TimeoutError):
                    ask(address, 80, at=place, timeout_s=0.2)

    with_network(run_root, test)


def test_a_task_reaches_the_world_under_the_hosts_address(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        path = await network.create(A, ports=(tcp(8080),))
        with neighbour() as outside, served(outside, 80):
            assert ask(OUTSIDE, 80, at=path) == HOST_ADDRESS

    with_network(run_root, test)


def test_a_task_reaches_its_node_at_the_address_that_is_told(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        assert network.gateway(A) == ""
        path = await network.create(A, ports=())
        with (
            socket.create_server(("0.0.0.0", 8081)) as own,
            inside(path, lambda: socket.create_connection((network.gateway(A), 8081), 2)) as task,
        ):
            assert own.accept()[1][0] == task.getsockname()[0]

    with_network(run_root, test)


def test_a_task_cannot_send_to_what_listens_on_the_hosts_loopback(run_root: Path) -> None:
    """`localhost:PORT` works by route_localnet on the link, which without our rule would let tasks in as well."""

    async def test(network: NodeNetwork) -> None:
        path = await network.create(A, ports=(tcp(8080),))
        address, host = inside(path, lambda: sh("ip -4 -o addr show eth0")).split()[3:6:2]
        sh_inside(path, "ip route del local 127.0.0.0/8 table local; ip route del local 127.0.0.1 table local")
        sh_inside(path, f"ip route add 127.0.0.1 via {host.split('/')[0]} dev eth0 src {address}")
        sh_inside(path, "echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet")
        with datagrams(None, "127.0.0.1", 7000) as service, datagrams(path, address, 0) as task:
            assert arrivals(task, service) == []

    with_network(run_root, test)


def test_a_task_cannot_send_under_another_address(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        sh("echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter")
        path = await network.create(A, ports=(tcp(8080),))
        address, host = inside(path, lambda: sh("ip -4 -o addr show eth0")).split()[3:6:2]
        sh_inside(path, "ip addr add 203.0.113.9/32 dev lo")
        with datagrams(None, host.split("/")[0], 7000) as service:
            with datagrams(path, "203.0.113.9", 0) as liar:
                assert arrivals(liar, service) == []
            with datagrams(path, address, 0) as honest:
                assert arrivals(honest, service) == [address]

    with_network(run_root, test)


@contextmanager
def datagrams(namespace: Path | None, address: str, port: int) -> Iterator[socket.socket]:
    """Yield a UDP socket of a namespace, bound to an address."""

    def make() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    with make() if namespace is None else inside(namespace, make) as one:
        one.bind((address, port))
        one.settimeout(0.2)
        yield one


def arrivals(sender: socket.socket, receiver: socket.socket) -> list[str]:
    """Send one datagram; return the addresses that the receiver sees datagrams from."""
    sender.sendto(b"?", receiver.getsockname())
    try:
        return [receiver.recvfrom(10)[1][0]]
    except TimeoutError:
        return []


def sh_inside(namespace: Path, command: str) -> None:
    inside(namespace, lambda: sh(command))


def test_loopback_inside_is_up_and_only_eth0_is_beside_it(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        path = await network.create(A, ports=(tcp(8080),))
        assert inside(path, lambda: [name for _, name in socket.if_nameindex()]) == ["lo", "eth0"]
        with served(path, 80, address="127.0.0.1"):
            assert ask("127.0.0.1", 80, at=path) == "127.0.0.1"

    with_network(run_root, test)


def test_after_the_last_task_nothing_is_left_and_nobody_elses_rules_were_touched(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        sh("nft 'add table ip other; add chain ip other c { type filter hook forward priority 0; policy drop; }'")
        sh("iptables -P FORWARD DROP")
        before = sh("nft list table ip other"), sh("iptables-save | grep -v '^#'"), sh("ip route")
        await asyncio.gather(*(network.create(i, ports=(tcp(8000 + n), udp(0))) for n, i in enumerate((A, B, C))))
        assert len(traces(run_root)) >= 3
        await asyncio.gather(*(network.remove(i) for i in (A, B, C)))
        assert traces(run_root) == []
        assert (sh("nft list table ip other"), sh("iptables-save | grep -v '^#'"), sh("ip route")) == before
        await network.remove(A)

    with_network(run_root, test)


def test_one_task_goes_and_the_others_ports_still_answer(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        path = await network.create(A, ports=(tcp(8080),))
        await network.create(B, ports=(tcp(8081),))
        await network.remove(B)
        with served(path, 80):
            assert ask("127.0.0.1", 8080)
            with pytest.raises(ConnectionRefusedError):
                ask("127.0.0.1", 8081)

    with_network(run_root, test)


def test_a_port_of_another_program_is_refused_in_dockers_words_and_nothing_is_left(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        words = "failed to bind host port for 0.0.0.0:8080/{}: address already in use"
        with served(None, 8080), pytest.raises(PortNotPublished, match=words.format("tcp")):
            await network.create(A, ports=(tcp(8081), tcp(8080)))
        with served(None, 8080, "udp"), pytest.raises(PortNotPublished, match=words.format("udp")):
            await network.create(A, ports=(udp(8080),))
        await network.remove(A)

    with_network(run_root, test)
    assert traces(run_root) == []


def test_a_port_of_another_task_is_refused_in_dockers_words(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        await network.create(A, ports=(tcp(8080),))
        words = "external connectivity on endpoint .*Bind for 0.0.0.0:8080 failed: port is already allocated"
        with pytest.raises(PortNotPublished, match=words):
            await network.create(B, ports=(tcp(8080),))
        with pytest.raises(PortNotPublished, match=words):
            await network.create(B, ports=(tcp(8082), tcp(8080)))
        await network.create(B, ports=(tcp(8082), udp(8080)))

    with_network(run_root, test)


def test_a_published_port_shows_as_taken_to_other_programs_until_its_task_is_gone(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        await network.create(A, ports=(tcp(8080),))
        with pytest.raises(OSError, match="already in use"):
            socket.create_server(("0.0.0.0", 8080))
        await network.remove(A)
        socket.create_server(("0.0.0.0", 8080)).close()

    with_network(run_root, test)


def test_port_zero_takes_a_free_one_and_says_which(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        path = await network.create(A, ports=(tcp(0), tcp(0, 81)))
        first, second = network.published(A)
        assert first.published_port != second.published_port
        with served(path, 80):
            assert ask("127.0.0.1", first.published_port)
        assert network.published(B) == ()

    with_network(run_root, test)


def test_another_protocol_is_refused(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        with pytest.raises(PortNotPublished, match="dccp is not supported: use tcp, udp or sctp"):
            await network.create(A, ports=(PortConfig(protocol="dccp", target_port=1),))

    with_network(run_root, test)


SCTP = PortConfig(protocol="sctp", target_port=2905, published_port=9905, publish_mode="host")


def test_where_the_kernel_has_no_sockets_for_sctp_a_port_of_the_host_says_what_to_do(
    run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(protocol: str, port: int) -> socket.socket:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(links_ports, "bound", unknown)

    async def test(network: NodeNetwork) -> None:
        with pytest.raises(PortNotPublished) as refusal:
            await network.create(A, ports=(SCTP,))
        assert refusal.value.why == (
            "failed to bind host port for 0.0.0.0:9905/sctp: protocol not supported: "
            "load the kernel module sctp on this node"
        )

    with_network(run_root, test)


def test_associations_of_sctp_reach_a_task_by_a_port_of_the_host(
    run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held by another socket where the kernel has none for it: what counts is where packets are led."""

    def held(protocol: str, port: int) -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("0.0.0.0", port))
        return one

    monkeypatch.setattr(links_ports, "bound", held)

    async def test(network: NodeNetwork) -> None:
        namespace = await network.create(A, ports=(SCTP,))
        with neighbour() as other, closing(End(namespace, 2905)) as server, closing(End(other, 40_001)) as client:
            seen, answered = associate(client, server, HOST_ADDRESS, 9905)
            assert seen.source == OUTSIDE
            assert (answered.source, answered.ports) == (HOST_ADDRESS, (9905, 40_001))

    with_network(run_root, test)


def test_a_kernel_that_does_not_track_sctp_leads_it_nowhere(tmp_path: Path) -> None:
    missing, tracking = tmp_path / "missing", tmp_path / "netfilter"
    tracking.mkdir()
    assert links_ports.is_led("sctp", missing), "nothing tracks connections yet"
    assert links_ports.is_led("tcp", tracking)
    assert not links_ports.is_led("sctp", tracking)
    (tracking / "nf_conntrack_sctp_timeout_established").touch()
    assert links_ports.is_led("sctp", tracking)


def test_the_next_vaultd_finds_holds_and_removes_the_links(run_root: Path) -> None:
    async def first(network: NodeNetwork) -> None:
        await network.create(A, ports=(tcp(8080),))
        await network.create(B, ports=(tcp(8081),))

    async def second(network: NodeNetwork) -> None:
        with served(network.namespace(A), 80):
            assert ask("127.0.0.1", 8080)
        assert [port.published_port for port in network.published(A)] == [8080]
        with pytest.raises(PortNotPublished):
            await network.create(C, ports=(tcp(8080),))
        await network.reap({B})
        await network.create(C, ports=(tcp(8080),))
        await network.remove(B)
        await network.remove(C)

    with_network(run_root, first)
    with_network(run_root, second)
    assert traces(run_root) == []


def test_reaping_removes_what_no_record_tells_of_and_restores_flushed_rules(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        path = await network.create(A, ports=(tcp(8080),))
        (path.parent / B).touch()
        stray = Names(run_root).link(C)
        sh(f"ip link add {stray} type veth peer name stray && nft flush ruleset")
        await network.reap({A})
        assert not (path.parent / B).exists()
        assert stray not in sh("ip link")
        with served(path, 80):
            assert ask("127.0.0.1", 8080)
        await network.reap(())

    with_network(run_root, test)
    assert traces(run_root) == []


def test_flushed_rules_do_not_keep_a_task_from_coming_or_going(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        await network.create(A, ports=(tcp(8080),))
        sh("nft flush ruleset")
        path = await network.create(B, ports=(tcp(8081),))
        with served(path, 80):
            assert ask("127.0.0.1", 8081)
        sh("nft flush ruleset")
        await network.remove(A)
        await network.remove(B)

    with_network(run_root, test)
    assert traces(run_root) == []


def test_after_a_restart_of_the_machine_its_records_are_forgotten(run_root: Path) -> None:
    async def first(network: NodeNetwork) -> None:
        await network.create(A, ports=(tcp(8080),))
        drop_namespace(network.namespace(A))
        network.namespace(A).touch()
        sh("nft flush ruleset; ip route flush type unreachable")

    async def second(network: NodeNetwork) -> None:
        assert network.published(A) == ()

    with_network(run_root, first)
    with_network(run_root, second)
    assert traces(run_root) == []


@pytest.mark.parametrize("bytes_", [b'{"task_id": 7', b'{"task_id": "\xff"}'])
@pytest.mark.parametrize("damaged", ["subnet", f"{A}.json"])
def test_a_damaged_record_costs_the_link_and_never_the_start(run_root: Path, damaged: str, bytes_: bytes) -> None:
    async def first(network: NodeNetwork) -> None:
        await network.create(A, ports=(tcp(8080),))

    async def second(network: NodeNetwork) -> None:
        await network.reap(())

    with_network(run_root, first)
    (run_root / "network" / damaged).write_bytes(bytes_)
    with_network(run_root, second)
    assert [each for each in traces(run_root) if "unreachable" not in each] == []


def test_a_creation_broken_off_at_any_moment_leaves_nothing(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34):
            job = asyncio.create_task(network.create(A, ports=(tcp(8080),)))
            for _ in range(turns):
                await asyncio.sleep(0)
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
            await network.remove(A)
            assert traces(run_root) == []

    with_network(run_root, test)


def test_a_creation_that_fails_half_way_leaves_nothing(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        sh(f"ip link add {Names(run_root).link(A)} type veth peer name stray")
        with pytest.raises(NetworkFailed, match=f"link {Names(run_root).link(A)}: File exists"):
            await network.create(A, ports=(tcp(8080),))

    with_network(run_root, test)
    assert traces(run_root) == []


def test_a_task_prepared_twice_gets_a_fresh_link(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        await network.create(A, ports=(tcp(8080),))
        path = await network.create(A, ports=(tcp(8080),))
        with served(path, 80):
            assert ask("127.0.0.1", 8080)

    with_network(run_root, test)


def test_two_vaultd_on_one_machine_stay_apart(run_root: Path) -> None:
    one_root, other_root = run_root / "one", run_root / "other"
    for root in (one_root, other_root):
        root.mkdir()

    async def test(network: NodeNetwork) -> None:
        other = await NodeNetwork.open(other_root)
        mine, theirs = await asyncio.gather(network.create(A, ports=(tcp(8080),)), other.create(A, ports=(tcp(8081),)))
        assert network._subnet != other._subnet
        with served(mine, 80), served(theirs, 80):
            assert ask("127.0.0.1", 8080)
            assert ask("127.0.0.1", 8081)
            with pytest.raises(PortNotPublished, match="address already in use"):
                await other.create(B, ports=(tcp(8080),))
            await network.reap(())
            assert ask("127.0.0.1", 8081)
        await other.remove(A)

    with_network(one_root, test)
    assert traces(one_root) == []
    assert traces(other_root) == []


def test_a_udp_flow_that_began_before_the_port_was_published_finds_the_task(run_root: Path) -> None:
    async def test(network: NodeNetwork) -> None:
        with neighbour() as outside:
            client = inside(outside, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.settimeout(2)
            client.connect((HOST_ADDRESS, 5353))
            await network.create(B, ports=(tcp(8080),))  # So that flows are tracked at all.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as early:
                early.bind((HOST_ADDRESS, 5353))
                client.send(b"?")
                assert early.recv(10) == b"?"
            path = await network.create(A, ports=(udp(5353),))
            with served(path, 53, "udp"):
                client.send(b"?")
                assert client.recv(100).decode() == OUTSIDE
            await network.remove(A)
            path = await network.create(C, ports=(udp(5353),))
            with served(path, 53, "udp"):
                client.send(b"?")
                assert client.recv(100).decode() == OUTSIDE
            client.close()

    with_network(run_root, test)


def test_a_missing_program_is_named_with_its_package(run_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(network: NodeNetwork) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(NetworkFailed, match="ip: not installed: install the package iproute2"):
            await network.create(A, ports=(tcp(8080),))

    with_network(run_root, test)


def test_creating_a_link_takes_milliseconds(run_root: Path) -> None:
    """15 ms is the aim (5 to 8 measured, most of it nft); the limit leaves room for a loaded machine."""

    async def test(network: NodeNetwork) -> None:
        await network.create(A, ports=(tcp(8080),))
        took = []
        for number in range(10):
            started = time.perf_counter()
            await network.create(f"{number}{B[1:]}", ports=(tcp(0),))
            took.append(time.perf_counter() - started)
        print("ms:", [round(each * 1000, 1) for each in took])
        assert min(took) < 0.1

    with_network(run_root, test)

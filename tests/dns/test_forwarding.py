"""Names that nobody here has: servers above are asked, those of the node from the node, a task's own from the task."""

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.dns.machine import RESOLVER, UPSTREAM, Node, asked, exchange, failing, records, soon, upstream
from tests.dns.world import BACK, directory, network, query, service
from tests.network.hosts import inside, scratch_host, sh
from vault.dns.forwarding import Forwarder
from vault.dns.messages import PORT, Served
from vault.dns.nodeservers import NodeServers, nameservers
from vault.dns.redirect import redirect_in
from vault.dns.serving import MAX_CONNECTIONS, MAX_FORWARDED, Resolver
from vault.dns.wire import with_id

pytestmark = pytest.mark.machine

ABOVE = ("NOERROR", ["192.0.2.1"])
SECOND = "127.0.0.54"
FAILED = ("SERVFAIL", [])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with scratch_host():
        made = Node(tmp_path / "run")
        yield made
        made.clean()


@contextlib.contextmanager
def serving(node: Node, *, outward: bool = True, own: Sequence[str] = ()) -> Iterator[Path]:
    """Serve a task in this process; must be called where a loop runs."""
    names = directory(network(), service("web", "10.0.1.2"))
    at = node.namespace("a")
    assert not inside(at, lambda: redirect_in(at))
    served = Served(task_id="a", namespace=str(at), networks=(BACK,), nameservers=tuple(own), outward=outward)
    resolver = Resolver(served, names, Forwarder(), NodeServers(node.resolv_conf))
    try:
        yield at
    finally:
        resolver.close()


def test_the_nodes_servers_are_asked_from_the_node_by_the_way_the_task_asked(node: Node) -> None:
    async def test() -> None:
        with serving(node) as at, upstream(records("192.0.2.1")) as above:
            assert await asked("Example.com", at=at) == ABOVE
            assert await asked("example.com", at=at, tcp=True) == ABOVE
            assert [kind for kind, _ in above.heard] == ["udp", "tcp"]
            assert await asked("web", at=at) == ("NOERROR", ["10.0.1.2"])
            assert len(above.heard) == 2, "what is known here is asked nobody"

    asyncio.run(test())


def test_a_query_goes_on_as_it_came_but_for_its_id(node: Node) -> None:
    async def test() -> None:
        message = dns.message.make_query("example.com", "TYPE65280", want_dnssec=True, payload=1400)
        with serving(node) as at, upstream(lambda heard: dns.message.make_response(heard)) as above:
            reply = await asyncio.to_thread(exchange, message, at=at)
        assert message.is_response(reply)
        heard = above.heard[0][1]
        assert heard.id != message.id
        assert with_id(heard.to_wire(), message.id) == message.to_wire()
        assert reply.edns == 0

    asyncio.run(test())


def test_no_such_name_is_what_the_server_says_it_is(node: Node) -> None:
    async def test() -> None:
        with serving(node) as at, upstream(failing(dns.rcode.NXDOMAIN)):
            assert await asked("nosuch", at=at) == ("NXDOMAIN", [])

    asyncio.run(test())


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_server_that_fails_is_passed_over_at_once(node: Node, rcode: dns.rcode.Rcode) -> None:
    async def test() -> None:
        node.servers(UPSTREAM, SECOND)
        with serving(node) as at, upstream(failing(rcode)), upstream(records("192.0.2.1"), SECOND):
            began = time.monotonic()
            assert await asked("example.com", at=at) == ABOVE
            assert await asked("example.com", at=at, tcp=True) == ABOVE
            soon(began, 1)

    asyncio.run(test())


def test_a_server_that_is_not_there_is_passed_over_at_once(node: Node) -> None:
    async def test() -> None:
        node.servers(UPSTREAM, SECOND)
        with serving(node) as at, upstream(records("192.0.2.1"), SECOND):
            began = time.monotonic()
            for tcp in (False, True):
                assert await asked("example.com", at=at, tcp=tcp) == ABOVE
            soon(began, 1)

    asyncio.run(test())


def test_a_server_that_is_silent_costs_one_wait_and_is_then_asked_last(node: Node) -> None:
    async def test() -> None:
        node.servers(UPSTREAM, SECOND)
        with serving(node) as at, upstream(lambda _: None), upstream(records("192.0.2.1"), SECOND):
            began = time.monotonic()
            assert await asked("example.com", at=at) == ABOVE
            soon(began, 3)
            began = time.monotonic()
            assert await asked("example.com", at=at) == ABOVE
            soon(began, 1)

    asyncio.run(test())


def test_when_no_server_answers_the_failure_is_told_before_a_client_gives_up(node: Node) -> None:
    async def test() -> None:
        with serving(node) as at:
            with upstream(lambda _: None) as above:
                began = time.monotonic()
                assert await asked("example.com", at=at) == FAILED
                soon(began, 5)
                assert len(above.heard) == 3
            with upstream(failing(dns.rcode.SERVFAIL)):
                began = time.monotonic()
                assert await asked("example.com", at=at) == FAILED
                soon(began, 1)
            node.servers()
        with serving(node) as at:
            assert await asked("example.com", at=at) == FAILED

    asyncio.run(test())


def test_only_an_answer_to_the_question_counts(node: Node) -> None:
    """What a third party could send: another id, another question, garbage, an echo."""

    async def test() -> None:
        def wire(heard: dns.message.Message, address: str) -> bytes:
            made = records(address)(heard)
            assert isinstance(made, dns.message.Message)
            return made.to_wire()

        def lies_first(heard: dns.message.Message) -> list[bytes]:
            lie, echo = wire(heard, "203.0.113.66"), heard.to_wire()
            lies = [with_id(lie, heard.id ^ 1), lie.replace(b"example", b"examplx"), echo, b"\xff" * 40]
            return [*lies, wire(heard, "192.0.2.1")]

        with serving(node) as at, upstream(lies_first):
            began = time.monotonic()
            assert await asked("example.com", at=at) == ABOVE
            soon(began, 1)

    asyncio.run(test())


def test_what_is_too_large_for_udp_is_said_to_be_so_and_comes_by_tcp(node: Node) -> None:
    many = [f"192.0.{n >> 8}.{n & 255}" for n in range(200)]

    async def test() -> None:
        with serving(node) as at, upstream(records(*many)):
            message = dns.message.make_query("example.com", "A")
            reply = await asyncio.to_thread(exchange, message, at=at)
            assert reply.flags & dns.flags.TC
            assert not reply.answer
            assert len((await asked("example.com", at=at, tcp=True))[1]) == 200
            message.use_edns(0, payload=4096)
            reply = await asyncio.to_thread(exchange, message, at=at)
            assert not reply.flags & dns.flags.TC
            assert len(reply.answer[0]) == 200

    asyncio.run(test())


def test_a_truncated_reply_is_passed_on_as_that(node: Node) -> None:
    def truncated(heard: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(heard)
        made.flags |= dns.flags.TC
        return made

    async def test() -> None:
        with serving(node) as at, upstream(truncated):
            reply = await asyncio.to_thread(exchange, dns.message.make_query("example.com", "A"), at=at)
            assert reply.flags & dns.flags.TC

    asyncio.run(test())


def test_a_task_on_internal_networks_only_learns_nothing_from_outside(node: Node) -> None:
    async def test() -> None:
        with upstream(records("192.0.2.1")) as above:
            with serving(node, outward=False) as at:
                assert await asked("example.com", at=at) == FAILED
                assert await asked("example.com", at=at, tcp=True) == FAILED
                assert not above.heard
            with serving(node) as at:
                assert await asked("example.com", at=at) == ABOVE

    asyncio.run(test())


def test_a_tasks_own_servers_are_asked_from_its_namespace_also_on_internal_networks(node: Node) -> None:
    async def test() -> None:
        node.servers(SECOND)
        with (
            upstream(records("192.0.2.9"), UPSTREAM) as of_node,
            serving(node, outward=False, own=("not an address", RESOLVER, UPSTREAM)) as at,
            upstream(records("192.0.2.1"), UPSTREAM, at=at),
        ):
            for tcp in (False, True):
                assert await asked("example.com", at=at, tcp=tcp) == ABOVE
            assert not of_node.heard

    asyncio.run(test())


def test_a_task_whose_own_server_is_the_resolver_asks_not_itself_but_the_nodes(node: Node) -> None:
    async def test() -> None:
        with serving(node, own=(RESOLVER,)) as at, upstream(records("192.0.2.1")):
            assert await asked("example.com", at=at) == ABOVE

    asyncio.run(test())


def test_a_task_that_asks_too_much_is_refused_more_and_others_are_not(node: Node) -> None:
    async def test() -> None:
        with serving(node) as at, upstream(lambda _: None):
            many = [query(f"n{number}.example") for number in range(MAX_FORWARDED + 20)]

            def flood() -> list[bytes]:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.settimeout(1)
                    one.connect((RESOLVER, 53))
                    for each in many:
                        one.send(each)
                    return [one.recv(512) for _ in range(20)]

            began = time.monotonic()
            replies = await asyncio.to_thread(inside, at, flood)
            soon(began, 1.4)
            assert {reply[3] & 15 for reply in replies} == {dns.rcode.SERVFAIL}
            assert await asked("web", at=at) == ("NOERROR", ["10.0.1.2"])

    asyncio.run(test())


def test_garbage_and_half_queries_hinder_nobody(node: Node) -> None:
    async def test() -> None:
        with serving(node) as at:

            def garbage() -> list[socket.socket]:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    for data in (b"", b"\xff" * 5000, query("web")[:20], bytes(range(256))):
                        one.sendto(data, (RESOLVER, 53))
                halves = [socket.create_connection((RESOLVER, 53)) for _ in range(MAX_CONNECTIONS)]
                for half in halves:
                    half.sendall(b"\0\x30half")
                return halves

            halves = await asyncio.to_thread(inside, at, garbage)
            assert await asked("web", at=at) == ("NOERROR", ["10.0.1.2"])
            with pytest.raises((OSError, EOFError)):
                await asked("web", at=at, tcp=True)
            for half in halves:
                half.close()
            async with asyncio.timeout(5):
                while True:
                    with contextlib.suppress(OSError, EOFError):
                        if await asked("web", at=at, tcp=True) == ("NOERROR", ["10.0.1.2"]):
                            break

    asyncio.run(test())


def test_queries_on_one_connection_are_answered_one_after_the_other(node: Node) -> None:
    async def test() -> None:
        with serving(node) as at, upstream(records("192.0.2.1")):
            whole = b"".join(struct.pack(">H", len(each)) + each for each in (query("example.com"), query("web")))

            def talk() -> bytes:
                with socket.create_connection((RESOLVER, 53), timeout=5) as one:
                    one.sendall(whole)
                    one.shutdown(socket.SHUT_WR)
                    return b"".join(iter(lambda: one.recv(65535), b""))

            data, replies = await asyncio.to_thread(inside, at, talk), []
            while data:
                size = int.from_bytes(data[:2], "big")
                replies.append(dns.message.from_wire(data[2 : 2 + size]))
                data = data[2 + size :]
            assert [str(each.answer[0][0]) for each in replies] == ["192.0.2.1", "10.0.1.2"]

    asyncio.run(test())


def test_nothing_stays_open_of_a_task_that_has_gone_or_whose_port_is_taken(node: Node) -> None:
    async def test() -> None:
        at = node.namespace("a")
        before = os.listdir("/proc/self/fd")
        with serving(node):
            pass
        assert os.listdir("/proc/self/fd") == before
        with inside(at, lambda: socket.create_server((RESOLVER, PORT))):
            with pytest.raises(OSError, match="in use"), serving(node):
                pass
            assert not inside(at, lambda: sh("ss -Huln"))
        assert os.listdir("/proc/self/fd") == before

    asyncio.run(test())


def test_the_nodes_servers_are_read_again_when_they_change(node: Node) -> None:
    servers = NodeServers(node.resolv_conf)
    assert servers() == (UPSTREAM,)
    node.servers("192.0.2.1", "192.0.2.2")
    deadline = time.monotonic() + 5
    while servers() == (UPSTREAM,) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert servers() == ("192.0.2.1", "192.0.2.2")
    assert NodeServers(node.run_root / "nothing")() == ()


def test_the_first_three_addresses_count() -> None:
    text = "# nameserver 9.9.9.9\nnameserver\nnameserver x\n nameserver 10.0.0.1 \nnameserver fe80::1%eth0\n"
    assert nameservers(text) == ("10.0.0.1", "fe80::1%eth0")
    assert len(nameservers("nameserver 10.0.0.1\n" * 5)) == 3


def test_a_server_that_says_nothing_of_the_question_has_failed(node: Node) -> None:
    async def test() -> None:
        with (
            serving(node) as at,
            upstream(lambda heard: heard.to_wire()[:2] + bytes.fromhex("8185 0000 0000 0000 0000")),
        ):
            began = time.monotonic()
            assert await asked("example.com", at=at) == FAILED
            soon(began, 1)

    asyncio.run(test())

"""vaultd's side and the process, on a real kernel: names in tasks' namespaces, whoever is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest

from tests.dns.machine import LIMIT_S, Node, ask, asked, records, until, until_told, upstream
from tests.dns.world import BACK, FRONT, INGRESS, network, service, shown, task, told
from tests.network.hosts import inside, scratch_host, sh
from vault.dns.client import Names, NamesFailed
from vault.dns.main import ALREADY
from vault.dns.messages import KEPT, LOG, SOCKET
from vault.dns.process import LINGER_S
from vault.model.overlay import OverlayChange
from vault.network.kernel.namespaces import drop_namespace
from vault.network.overlay.listener import AttachedTask
from vault.network.overlay.state import OverlayState

pytestmark = pytest.mark.machine

VIP = ("NOERROR", ["10.0.1.2"])
STATE = OverlayState().applied(
    told(
        network(),
        network(FRONT, "front", "10.0.2.0/24"),
        network(INGRESS),
        service("web", "10.0.1.2"),
        service("db"),
        *(task("db", n, f"10.0.1.2{n}") for n in (1, 2)),
        service("web", "10.0.2.2", on=FRONT),
        service("web", "10.255.0.2", on=INGRESS),
    )
)
Test = Callable[[Names], Awaitable[None]]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with scratch_host():
        made = Node(tmp_path / "run")
        yield made
        made.clean()


def run(node: Node, test: Test, state: OverlayState | None = STATE) -> None:
    """Run a test with a vaultd's names, which are told a state first."""

    async def whole() -> None:
        names = Names(node.run_root, resolv_conf=node.resolv_conf)
        if state is not None:
            names.told(state)
        try:
            await test(names)
        finally:
            await names.close()

    asyncio.run(whole())


def attached(path: Path, *networks: str, task_id: str = "a") -> AttachedTask:
    return AttachedTask(task_id=task_id, namespace=path, networks=networks or (BACK,), link_address="172.20.0.2")


async def opened(names: Names, node: Node, task_id: str = "a", *networks: str) -> Path:
    """Attach a task, and wait until it is served."""
    path = node.namespace(task_id)
    names.attached(attached(path, *networks, task_id=task_id))
    await names.ready(task_id)
    return path


def test_names_are_answered_in_the_tasks_namespace_by_udp_and_tcp(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        for tcp in (False, True):
            assert await asked("web", at=at, tcp=tcp) == VIP
            assert await asked("tasks.db", at=at, tcp=tcp) == ("NOERROR", ["10.0.1.21", "10.0.1.22"])
            assert await asked("web", "AAAA", at=at, tcp=tcp) == ("NOERROR", [])
        other = await opened(names, node, "b", FRONT, BACK)
        assert await asked("web", at=other) == ("NOERROR", ["10.0.2.2"])
        assert await asked("web", at=at) == VIP

    run(node, test)


def test_the_c_library_finds_a_service(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        conf = node.run_root / "resolv.conf"
        conf.write_text("nameserver 127.0.0.11\noptions ndots:0\n")
        command = f"unshare --mount sh -c 'mount --bind {conf} /etc/resolv.conf; getent ahosts $0' "

        def found(name: str) -> set[str]:
            return {line.split()[0] for line in inside(at, lambda: sh(command + name)).splitlines()}

        assert await asyncio.to_thread(found, "web") == {"10.0.1.2"}
        assert await asyncio.to_thread(found, "db.back") == {"10.0.1.21", "10.0.1.22"}

    run(node, test)


def test_what_changes_is_known_to_tasks_within_a_second(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        gone = STATE.applied(OverlayChange(remove_endpoints=((BACK, "db1", "node"),)))
        names.told(gone)
        await until_told(("NOERROR", ["10.0.1.22"]), "db", at=at, limit_s=1)
        names.told(gone.applied(told(network(FRONT, "new"), service("x", "10.0.1.9", aliases=("y",)))))
        await until_told(("NOERROR", ["10.0.1.9"]), "y", at=at, limit_s=1)
        names.told(gone.applied(OverlayChange(remove_networks=(FRONT,), remove_services=((BACK, "id-web"),))))
        with upstream(records("192.0.2.1")):
            await until_told(("NOERROR", ["192.0.2.1"]), "web", at=at, limit_s=1)

    run(node, test)


def test_a_task_opened_after_a_change_knows_it(node: Node) -> None:
    async def test(names: Names) -> None:
        await opened(names, node)
        names.told(STATE.applied(told(service("fresh", "10.0.1.9"))))
        at = await opened(names, node, "b")
        assert await asked("fresh", at=at) == ("NOERROR", ["10.0.1.9"])

    run(node, test)


def test_the_serving_process_killed_comes_back_with_what_it_knew_without_a_vaultd(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        await until(lambda: _so((node.run_root / KEPT).exists()))
        await names.close()
        parent, serving = node.processes()
        os.kill(serving, signal.SIGKILL)
        await until(lambda: _so(len(node.processes()) == 2 and serving not in node.processes()))
        await until_told(VIP, "web", at=at)
        assert node.processes()[0] == parent

    run(node, test)


def test_a_vaultd_that_is_killed_takes_no_names_with_it_and_the_next_goes_on_with_the_same_process(node: Node) -> None:
    at = node.namespace("a")
    script = (
        "import asyncio, sys, tests.dns.test_client as t; from pathlib import Path\n"
        "async def main():\n"
        "    names = t.Names(Path(sys.argv[1]))\n"
        "    names.told(t.STATE)\n"
        "    names.attached(t.attached(Path(sys.argv[2])))\n"
        "    await names.ready('a')\n"
        "    print('open', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(node.run_root), str(at)], stdout=subprocess.PIPE, text=True
    ) as vaultd:
        assert vaultd.stdout is not None
        assert vaultd.stdout.readline() == "open\n"
        vaultd.kill()
        assert vaultd.stdout.read() == "", "nobody holds what vaultd wrote to"
    before = node.processes()
    assert ask("web", at=at) == VIP
    assert {os.getsid(pid) for pid in before} == {before[0]} != {os.getsid(0)}

    async def test(names: Names) -> None:
        names.attached(attached(at))
        await opened(names, node, "b")
        assert node.processes() == before
        assert await asked("web", at=at) == VIP
        names.told(STATE.applied(told(service("web", "10.0.1.3"))))
        await until_told(("NOERROR", ["10.0.1.3"]), "web", at=at)

    run(node, test)


def test_vaultd_starts_it_again_when_all_of_it_was_killed(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        before = node.processes()
        (node.run_root / KEPT).unlink(missing_ok=True)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await until_told(VIP, "web", at=at)
        assert not set(before) & set(node.processes())

    run(node, test)


def test_a_process_that_hangs_is_replaced_before_tasks_fail_for_it(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        await until(lambda: _so((node.run_root / KEPT).exists()))
        hangs = node.processes()[1]
        os.kill(hangs, signal.SIGSTOP)
        await opened(names, node, "b")
        assert hangs not in node.processes()
        for path in (at, node.namespace("b")):
            assert await asked("web", at=path) == VIP

    run(node, test)


def test_it_ends_with_the_last_task_and_leaves_only_its_log(node: Node) -> None:
    async def test(names: Names) -> None:
        for task_id in ("a", "b"):
            await opened(names, node, task_id)
        assert (node.run_root / SOCKET).stat().st_mode & 0o777 == 0o600
        names.detached("a")
        await names.settle()
        with pytest.raises(OSError, match="refused"):
            await asked("web", at=node.namespace("a"), tcp=True)
        assert await asked("web", at=node.namespace("b")) == VIP
        await until(lambda: _so((node.run_root / KEPT).exists()))
        assert (node.run_root / KEPT).stat().st_mode & 0o777 == 0o600
        for _ in range(2):
            names.detached("b")
        await until(lambda: _so(not node.processes()))
        assert {path.name for path in node.run_root.iterdir()} == {"netns", LOG}
        log = (node.run_root / LOG).read_text()
        assert " info ended\n" in log
        assert "Traceback" not in log
        await opened(names, node, "b")
        assert await asked("web", at=node.namespace("b")) == VIP

    run(node, test)


def test_it_stays_while_there_is_a_task(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        before, deadline = node.processes(), time.monotonic() + LINGER_S + 0.5
        while time.monotonic() < deadline:
            assert await asked("web", at=at) == VIP
        assert node.processes() == before

    run(node, test)


def test_it_ends_when_it_is_told_to_and_leaves_only_its_log(node: Node) -> None:
    async def test(names: Names) -> None:
        await opened(names, node)
        await names.close()
        os.kill(node.processes()[0], signal.SIGTERM)
        await until(lambda: _so(not node.processes()))
        assert {path.name for path in node.run_root.iterdir()} == {"netns", LOG}

    run(node, test)


def test_tasks_that_nobody_knows_any_more_are_let_go_of(node: Node) -> None:
    async def first(names: Names) -> None:
        for task_id in ("a", "b"):
            await opened(names, node, task_id)

    async def second(names: Names) -> None:
        before = node.processes()
        await opened(names, node, "a")
        assert node.processes() == before
        assert await asked("web", at=node.namespace("a")) == VIP
        with pytest.raises(OSError, match="refused"):
            await asked("web", at=node.namespace("b"), tcp=True)

    async def third(names: Names) -> None:
        await names.settle()
        await until(lambda: _so(not node.processes()))

    for test in (first, second, third):
        run(node, test)


def test_without_a_task_no_process_is_started(node: Node) -> None:
    async def test(names: Names) -> None:
        names.detached("a")
        await names.settle()
        assert not node.processes()

    run(node, test)


def test_a_task_whose_namespace_is_none_is_refused_and_others_are_served(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        for path in (node.run_root / "nothing", node.resolv_conf):
            names.attached(attached(path, task_id="b"))
            with pytest.raises(NamesFailed, match=r"no name resolution for the task: .*(No such file|Invalid arg)"):
                await names.ready("b")
        assert await asked("web", at=at) == VIP

    run(node, test)


def test_a_task_in_a_new_namespace_of_the_same_name_is_served_there(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        old = os.open(at, os.O_RDONLY)
        drop_namespace(at)
        assert await asked("web", at=await opened(names, node)) == VIP
        with pytest.raises(OSError, match="refused"):
            await asked("web", at=Path(f"/proc/self/fd/{old}"), tcp=True)
        os.close(old)

    run(node, test)


def test_a_task_can_be_a_name_server_itself(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        with upstream(records("192.0.2.1"), "0.0.0.0", at=at):
            for tcp in (False, True):
                assert await asked("web", at=at, tcp=tcp) == VIP
            message = dns.message.make_query("web", "A")
            for send in (dns.query.udp, dns.query.tcp):
                own = await asyncio.to_thread(inside, at, lambda send=send: send(message, "127.0.0.1", timeout=5))
                assert shown(own.to_wire()) == ("NOERROR", ["192.0.2.1"])

    run(node, test)


def test_an_upgrade_of_vaultd_repeats_the_rules_and_nothing_is_double(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        before = inside(at, lambda: sh("nft list ruleset"))
        assert before.count("61153") == 4
        await opened(names, node)
        assert inside(at, lambda: sh("nft list ruleset")) == before

    run(node, test)


def test_a_process_of_another_release_is_replaced(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def first(names: Names) -> None:
        await opened(names, node)

    run(node, first)
    before = node.processes()
    monkeypatch.setattr("vault.dns.connection.RELEASE", "another")

    async def second(names: Names) -> None:
        with pytest.raises(NamesFailed, match="does not answer"):
            await opened(names, node)

    monkeypatch.setattr("vault.dns.client.READY_LIMIT_S", 1.0)
    run(node, second)
    monkeypatch.undo()
    run(node, first)
    assert not set(before) & set(node.processes())
    assert ask("web", at=node.namespace("a")) == VIP


def test_a_run_root_has_one_of_it(node: Node) -> None:
    async def test(names: Names) -> None:
        await opened(names, node)
        second = subprocess.run([sys.executable, "-m", "vault.dns.main", "--run-root", node.run_root], check=False)
        assert second.returncode == ALREADY
        assert len(node.processes()) == 2

    run(node, test)


def test_what_is_not_understood_on_its_socket_ends_that_connection_only(node: Node) -> None:
    async def test(names: Names) -> None:
        at = await opened(names, node)
        for garbage in (b"\xff" * 100, b"\0\0\0\x01\xc1", b"\0\0\0\x08half", b"", b"\0\0\0\0"):
            reader, writer = await asyncio.open_unix_connection(str(node.run_root / SOCKET))
            writer.write(garbage)
            writer.write_eof()
            async with asyncio.timeout(LIMIT_S):
                await reader.read()
            writer.close()
        names.told(STATE.applied(told(service("web", "10.0.1.3"))))
        await until_told(("NOERROR", ["10.0.1.3"]), "web", at=at)

    run(node, test)


def test_it_takes_little_memory(node: Node) -> None:
    async def test(names: Names) -> None:
        await opened(names, node)
        total = 0
        for pid in node.processes():
            smaps = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            sizes = {line.split()[0]: int(line.split()[1]) for line in smaps}
            assert sizes["Rss:"] < 25_000, sizes
            total += sizes["Pss:"]
        assert total < 25_000, "kB, with what both share counted once"

    run(node, test)


async def _so(value: bool) -> bool:
    return value

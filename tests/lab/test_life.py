"""A lab's nodes: made, killed, paused, cut off, and ended without a trace."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machine import traces
from vault.lab.errors import Broken, LabError, LabExists, NoSuchLab, NoSuchNode, ProgramFailed
from vault.lab.lab import Lab, NotRunning
from vault.lab.node import Node
from vault.lab.status import status
from vault.tmpfs.mount import mounts_under, unmount_all

pytestmark = pytest.mark.machine
ECHO = """
import socket
s = socket.create_server(("", 4000))
while True:
    c, _ = s.accept()
    while data := c.recv(100):
        c.sendall(data)
"""
TALK = """
import socket, sys
c = socket.create_connection((sys.argv[1], 4000), 2)
c.settimeout(float(sys.argv[2]))
for line in sys.stdin:
    try:
        c.sendall(line.encode())
        print(c.recv(100).decode(), end="", flush=True)
    except TimeoutError:
        print("lost", flush=True)
"""


@pytest.fixture(scope="module")
def echo(pair: Lab) -> Iterator[None]:
    """A server on the worker that answers with what it hears."""
    place = pair.node("worker1").place
    command = ["nsenter", f"--net={place.net}", sys.executable, "-c", ECHO]
    with subprocess.Popen(command) as server:
        manager = pair.node("manager1")
        while manager.run(sys.executable, "-c", TALK, "10.77.2.1", "1", stdin=b"hello\n").out != "hello\n":
            assert server.poll() is None
        yield
        server.kill()


class Talk:
    """A connection that stays open while links are cut and healed."""

    def __init__(self, node: Node, address: str, wait_s: float) -> None:
        command = ["nsenter", f"--net={node.place.net}", sys.executable, "-c", TALK, address, str(wait_s)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_each_node_has_its_name_its_address_and_a_vaultd_that_answers(pair: Lab) -> None:
    for node in pair.nodes:
        assert node.run("hostname").out == f"{node.name}\n"
        assert f"inet {node.address}/16" in node.run("ip", "-oneline", "address", "show", "eth0").out
        assert node.vault("info", "--format", "{{.Name}}").out == f"{node.name}\n"


def test_a_second_lab_of_the_name_is_refused_and_the_first_goes_on(pair: Lab) -> None:
    before = pair.node("manager1").pid("vaultd")
    with pytest.raises(LabExists, match="end it with `vault lab down --name pair`"):
        Lab("pair", pair.site.directory.parent).up(managers=1, workers=0, join=False)
    assert pair.node("manager1").pid("vaultd") == before


def test_a_killed_vaultd_is_gone_on_return_and_starts_again(pair: Lab) -> None:
    node = pair.node("manager1")
    before = node.pid("vaultd")
    pair.kill("manager1")
    assert node.pid("vaultd") is None
    with pytest.raises(NotRunning):
        pair.kill("manager1")
    pair.start("manager1")
    assert node.pid("vaultd") not in (None, before)
    with pytest.raises(LabError, match="already"):
        pair.start("manager1")


def test_a_paused_vaultd_does_not_answer_until_it_is_resumed(pair: Lab) -> None:
    node = pair.node("manager1")
    pair.pause("manager1")
    with pytest.raises(subprocess.TimeoutExpired):
        node.vault("version", timeout_s=0.5)
    pair.resume("manager1")
    node.vault("version")


def test_a_stopped_vaultd_ends_by_itself_even_when_it_was_paused(pair: Lab) -> None:
    pair.pause("worker1")
    pair.stop("worker1")
    assert pair.node("worker1").pid("vaultd") is None
    assert not (pair.node("worker1").run_root / "vault.sock").exists()
    pair.start("worker1")


def test_a_cut_loses_what_open_connections_carry_until_it_is_healed(pair: Lab, echo: None) -> None:
    talk = Talk(pair.node("manager1"), "10.77.2.1", 0.4)
    assert talk.say("one") == "one"
    pair.cut("manager1")
    assert talk.say("two") == "lost"
    pair.heal("manager1")
    assert "two" in talk.say("three")  # TCP sends again what was lost.
    talk.close()


def test_a_one_way_cut_lets_the_other_direction_through(pair: Lab) -> None:
    """A datagram from worker to manager arrives; one from manager to worker does not."""
    hear = "import socket; s = socket.socket(2, 2); s.bind(('', 4001)); s.settimeout(0.5); print(s.recv(9).decode())"
    tell = "import socket, sys; s = socket.socket(2, 2); [s.sendto(b'heard', (sys.argv[1], 4001)) for _ in range(3)]"

    def arrives(source: Node, target: Node) -> bool:
        listener = subprocess.Popen(
            ["nsenter", f"--net={target.place.net}", sys.executable, "-c", hear],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        while listener.poll() is None:
            source.run(sys.executable, "-c", tell, target.address)
        assert listener.stdout is not None
        with listener.stdout as out:
            return out.read() == "heard\n"

    manager, worker = pair.node("manager1"), pair.node("worker1")
    pair.cut("manager1", to="worker1", one_way=True)
    # The neighbours know each other: what is asked here is about the datagram.
    for node, other in ((manager, worker), (worker, manager)):
        mac = (
            other.run("cat", "/proc/net/arp").out
            and other.run("ip", "-oneline", "link", "show", "eth0").out.split()[-3]
        )
        node.run("ip", "neighbour", "replace", other.address, "lladdr", mac, "dev", "eth0", "nud", "permanent")
    assert arrives(worker, manager)
    assert not arrives(manager, worker)
    pair.heal()
    assert arrives(manager, worker)
    for node, other in ((manager, worker), (worker, manager)):
        node.run("ip", "neighbour", "delete", other.address, "dev", "eth0")


def test_unknown_names_are_refused_in_one_sentence(pair: Lab) -> None:
    with pytest.raises(NoSuchNode, match="use one of manager1, worker1"):
        pair.kill("manager9")
    with pytest.raises(LabError, match="cut from itself"):
        pair.cut("manager1", to="manager1")
    with pytest.raises(NoSuchLab, match="there is no lab named 'none'"):
        Lab("none", pair.site.directory.parent).heal()


def test_a_power_cut_leaves_the_data_root_and_nothing_else(base: Path) -> None:
    lab = Lab("power", base)
    lab.up(managers=1, workers=0, join=False)
    node = lab.node("manager1")
    node.vault("swarm", "init")
    lab.kill("manager1", "all")
    assert list(node.run_root.iterdir()) == []
    assert node.pid("vaultd") is None
    lab.start("manager1")
    assert "manager1" in node.vault("node", "ls").out
    lab.down()


def test_down_leaves_no_trace_even_of_a_dead_vaultd_a_full_disk_and_a_shell_inside(base: Path) -> None:
    lab = Lab("gone", base)
    before = traces(lab)
    lab.up(managers=1, workers=1, disk_bytes=16 << 20, join=False)
    lab.clock("worker1", 60)
    during = traces(lab)
    assert all(len(during[kind]) > len(before[kind]) for kind in during if kind != "links")
    assert during["links"] == before["links"]
    lab.kill("worker1")
    lab.cut("manager1")
    place = lab.node("manager1").place
    shell = subprocess.Popen(["nsenter", f"--net={place.net}", "sleep", "1000"])
    with pytest.raises(OSError, match="No space left"):
        (place.data_root / "full").write_bytes(bytes(17 << 20))
    assert lab.down()
    assert traces(lab) == before
    assert shell.wait() == -signal.SIGKILL
    assert not lab.down()


def test_an_up_that_fails_half_way_leaves_nothing(base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab = Lab("half", base)
    before = traces(lab)
    for name in ("vaultd", "vault"):
        (tmp_path / name).write_text(f"#!/bin/sh\n[ {name} = vaultd ] && exec sleep 1000\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("vault.lab.launching.START_LIMIT_S", 0.3)
    said: list[str] = []
    with pytest.raises(LabError, match="vaultd on manager1"):
        lab.up(managers=1, workers=1, disk_bytes=16 << 20, join=False, say=said.append)
    assert said[-1] == "Failed: removing what was made"
    assert traces(lab) == before


def test_a_lab_whose_up_was_killed_is_refused_by_up_and_ended_by_down(base: Path) -> None:
    lab = Lab("killed", base)
    before = traces(lab)
    script = "import os, sys; from pathlib import Path; from vault.lab.lab import Lab; from vault.lab import starting\n"
    script += "starting.make_swarm = lambda *_: os.kill(os.getpid(), 9)\n"
    script += "Lab('killed', Path(sys.argv[1])).up(managers=1, workers=0)\n"
    assert subprocess.run([sys.executable, "-c", script, base], check=False).returncode == -signal.SIGKILL
    with pytest.raises(LabExists):
        lab.up(managers=1, workers=0, join=False)
    assert lab.down()
    assert traces(lab) == before


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    tools = base.parent / f"{base.name}-path"
    tools.mkdir()
    for name in ("nsenter", "sh", "ip"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    try:
        monkeypatch.setenv("PATH", str(tools))
        with pytest.raises(ProgramFailed, match="install the package e2fsprogs"):
            Lab("bare", base).up(managers=1, workers=0, disk_bytes=16 << 20, join=False)
    finally:
        for each in tools.iterdir():
            each.unlink()
        tools.rmdir()
    assert not (base / "bare").exists()
    assert os.listdir(base) == [] or "bare" not in os.listdir(base)


def test_a_lab_that_a_restart_of_the_machine_took_apart_says_so_and_can_be_ended(base: Path) -> None:
    lab = Lab("restart", base)
    before = traces(lab)
    lab.up(managers=1, workers=0, disk_bytes=16 << 20, join=False)
    lab.kill("manager1", "all")
    for each in reversed(mounts_under(lab.site.directory)):
        unmount_all(each.point)
    # A loop device that nothing frees by itself.
    subprocess.run(["losetup", "--find", lab.node("manager1").place.disk], check=True)
    assert [(row.vaultd, row.pid) for row in status(lab)] == [("down", None)]
    for change in (lambda: lab.start("manager1"), lambda: lab.living("manager1"), lab.outside, lab.heal):
        with pytest.raises(Broken, match="end it with `vault lab down --name restart`"):
            change()
    assert lab.down()
    assert traces(lab) == before

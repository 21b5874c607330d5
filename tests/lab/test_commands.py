"""`vault lab` as a person types it: what it prints, its exit codes, and commands inside a node."""

import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vault.lab.lab import Lab
from vault.lab.node_commands import bits_per_second
from vault.lab.state import locked

pytestmark = pytest.mark.machine
VAULT = Path(sys.executable).with_name("vault")
Said = subprocess.CompletedProcess[str]
Type = Callable[..., Said]


@pytest.fixture
def typed(pair: Lab) -> Type:
    """Run `vault lab VERB --name pair …`."""

    def run(verb: str, *words: str, stdin: str = "", name: str = "pair") -> Said:
        return subprocess.run(
            [VAULT, "lab", verb, "--name", name, *words],
            input=stdin, capture_output=True, text=True, timeout=60, env=environment(pair), check=False,
        )  # fmt: skip

    return run


def environment(lab: Lab) -> dict[str, str]:
    return dict(os.environ) | {"VAULT_LAB_ROOT": str(lab.site.directory.parent)}


def in_terminal(lab: Lab, *words: str) -> tuple[int, int]:
    """Start `vault lab exec` on a terminal of its own; return its pid and the terminal's other end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(VAULT, ["vault", "lab", "exec", "--name", "pair", "worker1", "--", *words], environment(lab))
    return pid, terminal


def read_until(terminal: int, text: str) -> str:
    seen = ""
    while text not in seen:
        seen += os.read(terminal, 1000).decode()
    return seen


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_plain_vault_inside_a_node_talks_to_that_node(typed: Type) -> None:
    for node in ("manager1", "worker1"):
        assert typed("exec", node, "--", "vault", "info", "--format", "{{.Name}}").stdout == f"{node}\n"


def test_input_output_and_exit_code_are_the_commands_own(typed: Type) -> None:
    done = typed("exec", "worker1", "--", "sh", "-c", "cat; echo wrong >&2; exit 7", stdin="a\nb")
    assert (done.stdout, done.stderr, done.returncode) == ("a\nb", "wrong\n", 7)


def test_everything_behind_the_node_is_the_commands_own(typed: Type) -> None:
    assert typed("exec", "worker1", "echo", "--name", "x", "--", "-h").stdout == "--name x -- -h\n"
    assert typed("exec", "worker1", "--", "echo", "--", "-h").stdout == "-- -h\n"


def test_a_command_that_cannot_be_run_says_so_with_the_shells_exit_codes(typed: Type) -> None:
    missing = typed("exec", "worker1", "--", "no-such-command")
    assert (missing.stderr, missing.returncode) == ("no-such-command: command not found\n", 127)
    assert typed("exec", "worker1", "--", "/etc/passwd").returncode == 126
    nothing = typed("exec", "worker1", "--")
    assert nothing.stderr == "say what to run: vault lab exec --name pair worker1 -- COMMAND\n"
    assert nothing.returncode == 1


def test_a_command_outside_visits_the_nodes_from_an_address_that_is_none_of_theirs(typed: Type, pair: Lab) -> None:
    listening = "import socket; s = socket.create_server(('', 4010)); print(flush=True); print(s.accept()[1][0])"
    place = pair.node("worker1").place
    command = ["nsenter", f"--net={place.net}", sys.executable, "-c", listening]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        connect = "import socket; socket.create_connection(('10.77.2.1', 4010), 5)"
        done = typed("exec", "outside", "--", sys.executable, "-c", connect)
        if done.returncode != 0:
            server.kill()
        assert (done.stderr, done.returncode) == ("", 0)
        assert server.stdout.read() == "10.77.0.1\n"


def test_outside_has_the_machines_own_host_name(typed: Type) -> None:
    assert typed("exec", "outside", "hostname").stdout.strip() == socket.gethostname()


def test_a_command_that_nobody_reads_from_ends_by_sigpipe(typed: Type) -> None:
    """Python ignores SIGPIPE; what it becomes must not."""
    assert typed("exec", "worker1", "--", "bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}").stdout == "y\n141\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command(pair: Lab, number: signal.Signals) -> None:
    script = f"trap 'echo caught; exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.02; done"
    pid, terminal = in_terminal(pair, "sh", "-c", script)
    read_until(terminal, "ready")
    os.kill(pid, number)
    read_until(terminal, "caught")
    assert exit_code(pid) == 9
    os.close(terminal)


def test_the_terminal_is_the_commands_own_with_its_keys_and_its_size(pair: Lab) -> None:
    traps = "trap 'stty size' WINCH; trap 'echo broken off; exit 3' INT"
    pid, terminal = in_terminal(pair, "sh", "-c", f"{traps}; test -t 0 && echo ready; while :; do sleep 0.02; done")
    read_until(terminal, "ready")
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    read_until(terminal, "33 77")
    os.write(terminal, b"\x03")
    read_until(terminal, "broken off")
    assert exit_code(pid) == 3
    os.close(terminal)


def test_status_shows_what_was_done_to_each_node(typed: Type, pair: Lab) -> None:
    pair.cut("manager1", to="worker1", one_way=True)
    pair.pause("worker1")
    shown = typed("status").stdout.splitlines()
    assert shown[0].split() == ["NODE", "ADDRESS", "VAULTD", "ETCD", "STATE", "PID"]
    pids = [str(node.pid("vaultd")) for node in pair.nodes]
    assert shown[1].split() == ["manager1", "10.77.1.1", "running", "-", "cut", "to", "worker1", pids[0]]
    assert shown[2].split() == ["worker1", "10.77.2.1", "paused", "-", "deaf", "to", "manager1", pids[1]]
    rows = [json.loads(line) for line in typed("status", "--format", "json").stdout.splitlines()]
    assert [(row["Node"], row["Vaultd"], row["PID"]) for row in rows] == [
        ("manager1", "running", int(pids[0])),
        ("worker1", "paused", int(pids[1])),
    ]
    assert rows[0]["Host"] == pair.node("manager1").host
    pair.resume("worker1")
    pair.heal()


def test_verbs_do_what_they_say(typed: Type, pair: Lab) -> None:
    node = pair.node("worker1")
    before = node.pid("vaultd")
    for verb, *words in (
        ("kill", "worker1"), ("start", "worker1"), ("pause", "worker1", "--all"), ("resume", "worker1"),
        ("cut", "worker1", "--to", "manager1"), ("slow", "worker1", "--delay", "5ms", "--rate", "1mbit", "--cpu", ".5"),
    ):  # fmt: skip
        done = typed(verb, *words)
        assert (done.stdout, done.stderr, done.returncode) == ("", "", 0), verb
    assert node.pid("vaultd") not in (None, before)
    assert "cut, delay 5ms, rate 1000kbit, cpu 0.5" in typed("status").stdout
    assert typed("heal").returncode == 0
    assert "delay" not in typed("status").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("kill", "worker7"), "vault lab: there is no node 'worker7' in the lab: use one of manager1, worker1"),
        (("kill", "worker1", "--etcd"), "vault lab: etcd does not run on worker1: see `vault lab status`"),
        (("kill", "worker1", "--etcd", "--all"), "--etcd and --all exclude each other: name one"),
        (("start", "worker1"), "vault lab: vaultd runs on worker1 already: `vault lab stop worker1` ends it"),
        (("slow", "worker1"), "say what to slow: --delay, --rate or --cpu"),
        (("slow", "worker1", "--delay", "-1s"), "--delay and --cpu cannot be negative"),
        (("clock", "worker1"), "say how far the clock is to be off: --offset +1h"),
        (("up",), "vault lab: a lab named 'pair' is there already: use it, end it with `vault lab down --name pair`"),
        (("up", "--managers", "0"), "vault lab: a lab has 1 to 50 managers and 0 to 50 workers"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(typed: Type, words: tuple[str, ...], sentence: str) -> None:
    done = typed(*words)
    assert (done.stdout, done.stderr, done.returncode) == ("", f"{sentence}\n", 1)


def test_no_lab_of_the_name_is_an_error_but_for_down(typed: Type) -> None:
    assert typed("status", name="none").stderr == (
        "vault lab: there is no lab named 'none': start it with `vault lab up --name none`\n"
    )
    assert typed("down", name="none").stdout == "There was no lab named 'none'.\n"
    assert typed("down", name="No").returncode == 1


def test_an_up_that_is_interrupted_leaves_nothing(pair: Lab) -> None:
    command = [
        VAULT,
        "lab",
        "up",
        "--name",
        "broken",
        "--managers",
        "1",
        "--workers",
        "0",
        "--disk",
        "16M",
        "--no-join",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(pair)) as up:
        assert up.stdout is not None
        while "Starting vaultd" not in (line := up.stdout.readline()):
            assert line
        up.send_signal(signal.SIGTERM)
        assert "Failed: removing what was made" in up.stdout.read()
    assert up.returncode == 128 + signal.SIGTERM
    assert not (pair.site.directory.parent / "broken").exists()


def test_a_command_waits_for_another_that_changes_the_lab(typed: Type, pair: Lab) -> None:
    with locked(pair.site):
        command = [VAULT, "lab", "heal", "--name", "pair"]
        healing = subprocess.Popen(command, env=environment(pair))
        began = time.monotonic()
        assert typed("status").returncode == 0  # Looking changes nothing.
        with pytest.raises(subprocess.TimeoutExpired):
            healing.wait(max(0.3, time.monotonic() - began))
    assert healing.wait(30) == 0


@pytest.mark.parametrize(
    ("text", "rate"), [("8", 8), ("512kbit", 512_000), ("1.5mbit", 1_500_000), ("2gbit", 2_000_000_000), ("0", 0)]
)
def test_rates_are_bits_a_second(text: str, rate: int) -> None:
    assert bits_per_second(text) == rate


@pytest.mark.parametrize("text", ["", "kbit", "-1kbit", "1/2mbit", "1MB", "1 mbit", "nan", "1e3kbit "])
def test_other_texts_are_no_rates(text: str) -> None:
    with pytest.raises(ValueError, match="such as 512kbit"):
        bits_per_second(text)

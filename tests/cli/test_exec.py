"""`vault exec`: bytes, sizes and signals over a real WebSocket and a real pty, and the exit code of the command."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import Server, ServerConnection, unix_serve

from tests.cli.conftest import FakeDaemon, Vault
from vault.cli import terminal
from vault.cli.client import Client
from vault.cli.errors import ApiError, CannotConnect, ConnectionLost

Handler = Callable[[ServerConnection], None]
EXIT_0 = b'\x04{"code": 0}'


@pytest.fixture
def attach_to(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Handler], Client]]:
    """Serve a WebSocket by a function, and return a client of it."""
    servers: list[Server] = []

    def serve(handler: Handler) -> Client:
        path = tmp_path_factory.mktemp("w") / "s"
        server = unix_serve(handler, str(path), compression=None)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Client(f"unix://{path}")

    yield serve
    for server in servers:
        server.shutdown()


def test_output_goes_where_it_was_written_and_the_code_is_returned(
    attach_to: Callable[[Handler], Client], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def command(web: ServerConnection) -> None:
        web.send(b"\x01to-out\n\xff\x00")
        web.send(b"\x02to-err\n")
        web.send(b"\x09unknown channels are ignored")
        web.send(b'\x04{"code": 5}')

    assert terminal.attach(attach_to(command), "/x", interactive=False, tty=False) == 5
    captured = capfdbinary.readouterr()
    assert (captured.out, captured.err) == (b"to-out\n\xff\x00", b"to-err\n")


def test_standard_input_is_sent_and_then_its_end(attach_to: Callable[[Handler], Client], tmp_path: Path) -> None:
    seen: list[bytes] = []

    def cat(web: ServerConnection) -> None:
        while (message := web.recv()) != b"\x00":
            assert isinstance(message, bytes)
            seen.append(message)
        web.send(EXIT_0)

    (tmp_path / "in").write_bytes(b"line1\nline2\n\xff")
    before = os.dup(0)
    descriptor = os.open(tmp_path / "in", os.O_RDONLY)
    os.dup2(descriptor, 0)
    try:
        assert terminal.attach(attach_to(cat), "/x", interactive=True, tty=False) == 0
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(descriptor)
    assert b"".join(message[1:] for message in seen) == b"line1\nline2\n\xff"
    assert {message[0] for message in seen} == {0}


def test_a_connection_that_ends_without_an_exit_code_is_an_error(attach_to: Callable[[Handler], Client]) -> None:
    with pytest.raises(ConnectionLost, match="before the command ended"):
        terminal.attach(attach_to(lambda web: web.close()), "/x", interactive=False, tty=False)


def test_a_refusal_is_the_daemons_sentence(daemon: FakeDaemon) -> None:
    daemon.refuse("GET", "/vault/v1/exec/e/start", 409, "container c is not running")
    client = Client(f"unix://{daemon.socket}")
    with pytest.raises(ApiError, match="Error response from daemon: container c is not running"):
        terminal.attach(client, "/vault/v1/exec/e/start", interactive=False, tty=False)


def test_a_missing_daemon_is_named() -> None:
    with pytest.raises(CannotConnect, match="Is vaultd running"):
        terminal.attach(Client("unix:///no/such/socket"), "/x", interactive=False, tty=False)


PTY_CHILD = """
import sys
from vault.cli import terminal
from vault.cli.client import Client
sys.exit(terminal.attach(Client(sys.argv[1]), "/x", interactive=True, tty=True))
"""


def test_a_terminal_is_raw_while_the_command_runs_follows_its_size_and_is_restored(
    attach_to: Callable[[Handler], Client],
) -> None:
    """The other end of a pty: keys reach the command unchanged, Ctrl-C among them."""
    seen: list[bytes] = []
    resized = threading.Event()

    def shell(web: ServerConnection) -> None:
        assert web.request is not None
        seen.append(web.request.path.encode())
        seen.append(bytes(web.recv()))  # The first size.
        web.send(b"\x01$ ")
        seen.append(bytes(web.recv()))  # A key.
        resized.wait(10)
        seen.append(bytes(web.recv()))  # The second size.
        web.send(b'\x04{"code": 7}')

    client = attach_to(shell)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (33, 99))
    before = termios.tcgetattr(theirs)
    child = subprocess.Popen([sys.executable, "-c", PTY_CHILD, client.host], stdin=theirs, stdout=theirs, stderr=theirs)
    assert os.read(ours, 10) == b"$ "
    os.write(ours, b"\x03")
    while len(seen) < 3 and child.poll() is None:
        threading.Event().wait(0.01)
    termios.tcsetwinsize(theirs, (10, 20))
    child.send_signal(signal.SIGWINCH)
    resized.set()
    assert child.wait(10) == 7
    assert seen[0] == b"/x?h=33&w=99"
    assert (json.loads(seen[1][1:]), seen[2], json.loads(seen[3][1:])) == (
        {"h": 33, "w": 99},
        b"\x00\x03",
        {"h": 10, "w": 20},
    )
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_without_a_terminal_a_signal_is_passed_on(attach_to: Callable[[Handler], Client]) -> None:
    def command(web: ServerConnection) -> None:
        web.send(b"\x01attached")
        web.send(b'\x04{"code": 3}' if web.recv() == b"\x05SIGTERM" else b'\x04{"code": 9}')

    client = attach_to(command)
    program = PTY_CHILD.replace("tty=True", "tty=False").replace("interactive=True", "interactive=False")
    child = subprocess.Popen([sys.executable, "-c", program, client.host], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.read(8) == b"attached"
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 3
    child.stdout.close()


def test_signals_are_still_passed_on_after_standard_input_has_ended() -> None:
    class Web:
        def __init__(self) -> None:
            self.sent: list[bytes] = []

        def send(self, message: bytes) -> None:
            self.sent.append(message)
            if message == b"\x00":
                os.write(wake_writing, b"t")
            else:
                raise OSError("gone")

        def recv(self) -> bytes:
            return b""

    wake, wake_writing = os.pipe()
    stdin, stdin_writing = os.pipe()
    os.close(stdin_writing)
    web = Web()
    terminal.pump(web, wake, interactive=True, tty=False, stdin=stdin)
    assert web.sent == [b"\x00", b"\x05SIGTERM"]
    for descriptor in (wake, wake_writing, stdin):
        os.close(descriptor)


def test_the_keyboard_thread_ends_with_the_command() -> None:
    class Web:
        def send(self, message: bytes) -> None:
            raise AssertionError("nothing was typed")

        def recv(self) -> bytes:
            return b""

    wake, wake_writing = os.pipe()
    os.close(wake_writing)
    terminal.pump(Web(), wake, interactive=False, tty=False)
    os.close(wake)


def test_exec_posts_what_docker_posts_and_detach_starts_without_attaching(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.on("POST", "/containers/c/exec", {"Id": "e"}, status=201)
    daemon.on("POST", "/exec/e/start", None)
    result = vault("exec", "-d", "-e", "FOO=bar", "-w", "/tmp", "-u", "1:2", "c", "sh", "-c", "exit 3", "-t")
    assert (result.code, result.out, result.err) == (0, "", "")
    asked: dict[str, Any] = daemon.asked("POST", "/containers/c/exec")[0].body
    assert asked == {
        "User": "1:2",
        "Privileged": False,
        "Tty": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Detach": True,
        "Env": ["FOO=bar"],
        "WorkingDir": "/tmp",
        "Cmd": ["sh", "-c", "exit 3", "-t"],
    }


def test_an_unknown_container_is_named(daemon: FakeDaemon, vault: Vault) -> None:
    daemon.refuse("POST", "/containers/nosuch/exec", 404, "No such container: nosuch")
    result = vault("exec", "nosuch", "ls")
    assert (result.code, result.err) == (1, "Error response from daemon: No such container: nosuch\n")
    assert vault("exec", "-it", "c", "sh").err == "the input device is not a TTY\n"

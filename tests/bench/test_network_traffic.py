"""What asks and answers while networks are measured: real connections on the loopback, and answers about names."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from bench import network_traffic
from bench.network_traffic import addresses, resolve

PROGRAM = (sys.executable, "-m", "bench.network_traffic")
QUESTION = b"\x04task\x03net\0\0\x01\0\x01"
HEAD = 12


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def said(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, timeout=30, check=False)


def record(kind: int, data: bytes, name: bytes = b"\xc0\x0c") -> bytes:
    return name + kind.to_bytes(2, "big") + b"\0\x01\0\0\0\0" + len(data).to_bytes(2, "big") + data


def answer(*records: bytes) -> bytes:
    return b"\0\0\x81\x80\0\x01" + len(records).to_bytes(2, "big") + b"\0\0\0\0" + QUESTION + b"".join(records)


@pytest.mark.parametrize("connections", ["1", "4"])
def test_a_load_counts_what_was_answered_and_how_soon(connections: str) -> None:
    port = free_port()
    with subprocess.Popen([*PROGRAM, "serve", str(port)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "serving\n"
        done = said("load", "127.0.0.1", str(port), connections, "0.3")
        server.kill()
    assert done.stderr == ""
    figures = json.loads(done.stdout)
    assert figures["rate"] > 10
    assert 0 < figures["p50"] <= figures["p99"] < 300


def test_a_server_that_never_answers_is_an_error_and_no_figure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = said("load", "127.0.0.1", str(silent.getsockname()[1]), "1", "0.1")
    assert (done.stdout, done.stderr) == ("", "connections were lost or never answered\n")


def test_addresses_are_read_from_between_other_records() -> None:
    alias = record(5, b"\x01x\0")
    long_name = record(1, bytes([10, 0, 1, 3]), name=b"\x01x\x03net\0")
    assert addresses(answer(alias, record(1, bytes([10, 0, 1, 2])), long_name), HEAD + len(QUESTION)) == [
        "10.0.1.2",
        "10.0.1.3",
    ]
    assert addresses(answer(), HEAD + len(QUESTION)) == []


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket in the place of the resolver."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        monkeypatch.setattr(network_traffic, "RESOLVER", sock.getsockname())
        monkeypatch.setattr(network_traffic, "ASK_S", 2.0)
        yield sock


def test_a_name_is_asked_for_and_its_addresses_returned(resolver: socket.socket) -> None:
    def reply() -> None:
        query, asker = resolver.recvfrom(1000)
        assert query[HEAD:] == QUESTION
        resolver.sendto(answer(record(1, bytes([10, 0, 1, 2]))), asker)

    thread = threading.Thread(target=reply)
    thread.start()
    assert resolve("task.net") == ["10.0.1.2"]
    thread.join()


def test_silence_is_told_from_no_address(resolver: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a resolver that is busy would look like a name that has gone."""
    monkeypatch.setattr(network_traffic, "ASK_S", 0.05)
    assert resolve("task.net") is None

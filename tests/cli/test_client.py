"""HTTP over the socket: versions, broken and hostile answers, and the daemon that is not there."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.conftest import FakeDaemon, Request
from vault.cli.client import Client
from vault.cli.errors import ApiError, CannotConnect, CommandError, ConnectionLost
from vault.cli.hosts import default_host, place_of
from vault.cli.wire import filters, query_text, quoted

Serve = Callable[[bytes], Client]


@pytest.fixture
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server that answers every connection's first request with given bytes and closes."""
    made: list[socket.socket] = []

    def serve(answer: bytes) -> Client:
        path = tmp_path_factory.mktemp("r") / "s"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        made.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(65_536)
                connection.sendall(answer)
                connection.close()

        threading.Thread(target=accept, daemon=True).start()
        return Client(f"unix://{path}")

    yield serve
    for listener in made:
        listener.close()


def test_a_daemon_that_is_older_is_spoken_to_in_its_version(daemon: FakeDaemon) -> None:
    too_new = "client version 1.50 is too new. Maximum supported API version is 1.44"
    daemon.refuse("GET", "/secrets", 400, too_new)
    daemon.on("GET", "/v1.44/secrets", [])
    client = Client(f"unix://{daemon.socket}")
    assert client.get("/secrets") == []
    assert client.get("/secrets") == []
    assert [request.path for request in daemon.requests] == ["/secrets", "/v1.44/secrets", "/v1.44/secrets"]


def test_a_chunked_answer_is_put_together(raw: Serve) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw(head + b'5\r\n{"a":\r\n2;x=y\r\n1}\r\n0\r\nTrailer: x\r\n\r\n').get("/x") == {"a": 1}


def test_an_answer_without_a_length_ends_with_the_connection(raw: Serve) -> None:
    assert raw(b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}').get("/x") == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "the daemon closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "the daemon closed the connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", "the answer is not HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<a>", "the answer is not JSON"),
        (b"x" * 70_000, "the answer is not HTTP"),
    ],
)
def test_a_broken_answer_is_a_sentence(raw: Serve, answer: bytes, problem: str) -> None:
    with pytest.raises(ConnectionLost, match=problem):
        raw(answer).post("/x")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 X\r\n\r\n"]))
def test_no_answer_breaks_the_client(raw: Serve, tail: bytes, head: bytes) -> None:
    client = raw(head + tail)
    try:
        client.post("/x")
    except CommandError as error:
        assert str(error)  # noqa: PT017 - any other exception fails the test


def test_an_error_without_json_shows_its_text_or_status(raw: Serve) -> None:
    with pytest.raises(ApiError, match=r"^Error response from daemon: gone wrong$"):
        raw(b"HTTP/1.1 500 X\r\nContent-Length: 10\r\n\r\ngone wrong").get("/x")
    with pytest.raises(ApiError, match="status 502"):
        raw(b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n").get("/x")


@pytest.mark.parametrize("reference", ["", "..", ".", "../services/web", "a//b"])
def test_a_reference_that_would_ask_for_something_else_is_refused_here(daemon: FakeDaemon, reference: str) -> None:
    with pytest.raises(ApiError, match=r"^invalid reference '[.]*': use a name or an id$"):
        Client(f"unix://{daemon.socket}").delete(f"/secrets/{reference}")
    assert daemon.requests == []


def test_a_missing_socket_a_dead_one_and_a_foreign_address_are_told_apart(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        with pytest.raises(CannotConnect) as caught:
            Client(f"unix://{path}").get("/x")
        assert str(caught.value) == f"Cannot connect to the vault daemon at unix://{path}. Is vaultd running?"
    for host in (
        "tcp://",
        "tcp://:2376",
        "tcp://a:0",
        "tcp://a:70000",
        "tcp://a:b",
        "http://a",
        "/run/x",
        "unix://",
        "",
    ):
        with pytest.raises(CommandError, match="unable to parse daemon host"):
            place_of(host)


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_HOST", raising=False)
    assert default_host() == "unix:///run/vault/vault.sock"
    monkeypatch.setenv("VAULT_HOST", "unix:///x")
    assert default_host() == "unix:///x"


def test_a_body_that_comes_in_pieces_arrives_whole(daemon: FakeDaemon) -> None:
    got: list[bytes] = []

    def take(request: Request) -> None:
        got.append(request.body)

    daemon.on("POST", "/images/load", take)
    pieces = [b"a" * 70_000, b"", b"b"]
    b"".join(Client(f"unix://{daemon.socket}").stream("POST", "/images/load", {}, pieces).body)
    assert got == [b"a" * 70_000 + b"b"]


def test_names_and_queries_are_percent_encoded(daemon: FakeDaemon) -> None:
    assert quoted("a b/ü%", b"/") == "a%20b/%C3%BC%25"
    assert query_text({"a": True, "b": None, "c": ["x", "y&z"], "d": 3}) == "a=true&c=x&c=y%26z&d=3"
    assert filters([]) is None
    assert filters([("name", "a"), ("name", "b"), ("id", "c")]) == '{"name":{"a":true,"b":true},"id":{"c":true}}'
    daemon.on("GET", "/secrets/a%20b", {})
    Client(f"unix://{daemon.socket}").get("/secrets/a b")
    assert daemon.requests[0].path == "/secrets/a%20b"


@given(st.text(max_size=20))
def test_a_quoted_text_unquotes_to_itself(text: str) -> None:
    from urllib.parse import unquote

    if text.isprintable():
        assert unquote(quoted(text)) == text


def test_an_argument_that_is_no_text_is_not_sent(daemon: FakeDaemon) -> None:
    client = Client(f"unix://{daemon.socket}")
    with pytest.raises(CommandError) as raised:
        client.post("/services/create", {"Name": "ü", "Env": ["PASSWORD=\udcff"]})
    assert str(raised.value) == "an argument holds bytes that are not UTF-8 text: write it in UTF-8"
    assert daemon.requests == []

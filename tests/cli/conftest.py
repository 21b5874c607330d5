"""A scripted daemon on a unix socket, and the command line run against it."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from vault.cli.main import run

Reply = tuple[int, Any]
API = "/v1.50"


@dataclass(frozen=True)
class Request:
    """What the daemon was asked."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]

    @property
    def filters(self) -> dict[str, list[str]]:
        """The filters as a map of lists."""
        return {name: sorted(values) for name, values in json.loads(self.query.get("filters", "{}")).items()}


@dataclass
class FakeDaemon:
    """Answers by a table of (method, path); the last of several answers stays."""

    socket: Path
    answers: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def on(self, method: str, path: str, *replies: Any, status: int = 200) -> None:
        """Answer `path` with each reply in turn: JSON, bytes, or a function of the request, which may give a status."""
        self.answers[(method, path)] = [(status, reply) for reply in replies]

    def refuse(self, method: str, path: str, status: int, message: str) -> None:
        """Answer with an error."""
        self.on(method, path, {"message": message}, status=status)

    def reply(self, request: Request) -> tuple[int, Any]:
        """Return the next answer to a request."""
        replies = self.answers.get((request.method, request.path))
        if not replies:
            return 404, {"message": f"page not found: {request.method} {request.path}"}
        status, reply = replies.pop(0) if len(replies) > 1 else replies[0]
        answer = reply(request) if callable(reply) else reply
        return answer if isinstance(answer, tuple) else (status, answer)

    def asked(self, method: str, path: str) -> list[Request]:
        """Return the requests of that kind."""
        return [request for request in self.requests if (request.method, request.path) == (method, path)]


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    fake: FakeDaemon

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A command line may leave before its answer has gone; that is no failure of the daemon."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix(API)
        data = self._body()
        request = Request(
            self.command,
            path,
            {name: values[0] for name, values in parse_qs(parts.query).items()},
            json.loads(data) if data[:1] in (b"{", b"[") else data,
            {name.lower(): value for name, value in self.headers.items()},
        )
        self.server.fake.requests.append(request)
        status, reply = self.server.fake.reply(request)
        body = b"" if reply is None else reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    do_GET = do_POST = do_DELETE = _answer

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDaemon]:
    """A daemon that answers what a test told it to."""
    fake = FakeDaemon(tmp_path_factory.mktemp("s") / "s")
    server = _Server(str(fake.socket), _Handler)
    server.fake = fake
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Result:
    """What a command line did."""

    code: int
    out: str
    err: str


Vault = Callable[..., Result]


@pytest.fixture
def vault(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> Vault:
    """Run `vault WORDS…` against the fake daemon."""

    def call(*words: str) -> Result:
        code = run(["-H", f"unix://{daemon.socket}", *words])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call

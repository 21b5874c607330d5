"""A small HTTP client over a unix socket: one keep-alive connection, so that the client's cost stays small."""

import base64
import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

API = "/v1.41"
TIMEOUT_S = 180


class Failed(Exception):
    """A request was not answered as it should be."""


def request(method: str, path: str, body: object = None) -> bytes:
    """Return the bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    kind = "Content-Type: application/json\r\n" if body is not None else ""
    head = f"{method} {API}{path} HTTP/1.1\r\nHost: bench\r\n{kind}Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


class Connection:
    """One connection to a server."""

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        self._socket.connect(path)
        self._buffer = b""

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def raw(self, sent: bytes) -> tuple[int, bytes]:
        """Send a request's bytes; return status and body."""
        self._socket.sendall(sent)
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        status, lower = int(head[9:12]), head.lower()
        if status in (204, 304):
            return status, b""
        if b"transfer-encoding: chunked" in lower:
            return status, self._chunks()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
        return status, self._take(length)

    def json(self, method: str, path: str, body: object = None) -> Any:
        """Send a request; return its decoded answer.  Raises `Failed` for a status of 400 or more."""
        status, answer = self.raw(request(method, path, body))
        if status >= 400:
            raise Failed(f"{method} {path}: {status} {answer[:300]!r}")
        return json.loads(answer) if answer.strip() else None

    def _fill(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise Failed("the server closed the connection")
        self._buffer += data

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._fill()
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def _chunks(self) -> bytes:
        parts = []
        while True:
            while b"\r\n" not in self._buffer:
                self._fill()
            size, self._buffer = self._buffer.split(b"\r\n", 1)
            parts.append(self._take(int(size.split(b";")[0], 16)))
            self._take(2)
            if not parts[-1]:
                return b"".join(parts)


@dataclass(frozen=True)
class Load:
    """What a load run gave."""

    latencies_s: list[float]
    wall_s: float
    answers: list[bytes]


def load(path: str, requests: list[bytes], clients: int) -> Load:
    """Send `requests` over `clients` connections as fast as they are answered.  Raises `Failed` for any refusal."""
    connections = [Connection(path) for _ in range(clients)]
    latencies: list[float] = [0.0] * len(requests)
    answers: list[bytes] = [b""] * len(requests)
    failures: list[str] = []
    todo, turn, start = iter(range(len(requests))), threading.Lock(), threading.Barrier(clients + 1)

    def work(connection: Connection) -> None:
        start.wait()
        while True:
            with turn:
                number = next(todo, None)
            if number is None:
                return
            begun = time.perf_counter()
            status, answers[number] = connection.raw(requests[number])
            latencies[number] = time.perf_counter() - begun
            if status >= 400:
                failures.append(f"{status} {answers[number][:200]!r}")

    threads = [threading.Thread(target=work, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    start.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begun
    for connection in connections:
        connection.close()
    if failures:
        raise Failed(failures[0])
    return Load(latencies, wall, answers)


def create_secret(name: str, size_bytes: int, labels: dict[str, str] | None = None) -> bytes:
    """Return the request that creates a secret of random bytes."""
    value = base64.b64encode(os.urandom(size_bytes)).decode()
    return request("POST", "/secrets/create", {"Name": name, "Labels": labels or {}, "Data": value})

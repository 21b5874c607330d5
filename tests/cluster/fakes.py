"""A manager that keeps secrets in memory, and can be told to misbehave: what the load and the checker must notice."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

BUGS = (
    "",
    "loses a create",  # Acknowledged, and not kept.
    "reads behind",  # Reads are answered from a state that is one write old.
    "forgets a version",  # An update is done whatever version it names.
    "brings back",  # A removed secret returns with the next write.
    "keeps what it refuses",  # A create is refused with 503, and kept.
    "goes back",  # Versions of new writes are below those of old ones, as of a leader that should not lead.
)


class FakeManager:
    """One manager on a unix socket; `bug` names its misbehaviour, shown once in a while."""

    def __init__(self, socket: Path, bug: str = "") -> None:
        self.socket = socket
        self._bug = bug
        self._secrets: dict[str, dict[str, Any]] = {}
        self._before: dict[str, dict[str, Any]] = {}
        self._removed: dict[str, Any] = {}
        self._writes = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve while the body runs."""
        server = await asyncio.start_unix_server(self._connection, self.socket)
        try:
            yield
        finally:
            server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target, _ = head.split(" ", 2)
                length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
                body = json.loads(await reader.readexactly(length) or b"{}")
                await asyncio.sleep(0)
                status, content = self.answer(method, target, body)
                sent = json.dumps(content).encode() if content is not None else b""
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent)
        writer.close()

    def answer(self, method: str, target: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return the answer to a request."""
        url = urlsplit(target)
        words = url.path.removeprefix("/v1.41/secrets").strip("/").split("/")
        if method == "GET" and words == [""]:
            return 200, list(self._secrets.values())
        if words == ["create"]:
            return self._create(body)
        seen = self._before if self._bug == "reads behind" and method == "GET" else self._secrets
        secret = next((one for one in seen.values() if words[0] in (one["ID"], one["Spec"]["Name"])), None)
        if secret is None:
            return 404, {"message": f"secret {words[0]} not found"}
        if method == "GET":
            return 200, secret
        name = secret["Spec"]["Name"]
        if method == "DELETE":
            self._write()
            self._removed[name] = self._secrets.pop(name)
            return 204, None
        version = int(parse_qs(url.query)["version"][0])
        if version != secret["Version"]["Index"] and self._bug != "forgets a version":
            return 500, {"message": "rpc error: code = Unknown desc = update out of sequence"}
        self._write()
        self._secrets[name] = {"ID": secret["ID"], "Version": {"Index": self._index()}, "Spec": body}
        return 200, None

    def _create(self, body: dict[str, Any]) -> tuple[int, Any]:
        name, spec = body["Name"], {"Name": body["Name"], "Labels": body["Labels"]}
        if name in self._secrets:
            return 409, {"message": f"rpc error: code = AlreadyExists desc = secret {name} already exists"}
        self._write()
        made = {"ID": f"id{self._writes}", "Version": {"Index": self._index()}, "Spec": spec}
        seldom = self._writes % 20 == 0
        if self._bug == "loses a create" and seldom:
            return 201, {"ID": made["ID"]}
        self._secrets[name] = made
        if self._bug == "keeps what it refuses" and seldom:
            return 503, {"message": "The swarm does not have a leader."}
        return 201, {"ID": made["ID"]}

    def _write(self) -> None:
        self._writes += 1
        self._before = dict(self._secrets)
        if self._bug == "brings back" and self._writes % 10 == 0:
            self._secrets |= {name: one for name, one in self._removed.items() if name not in self._secrets}

    def _index(self) -> int:
        return 1000 - self._writes if self._bug == "goes back" and self._writes > 40 else 1000 + self._writes

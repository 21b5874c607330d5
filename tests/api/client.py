"""A daemon's API over fakes, called as ASGI: no socket, no server."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from tests.api.fakes import START_S, MemoryManager, MemoryNode, check_driver, counting_ids
from vault.api.app import create_app
from vault.api.ports import InitRequest
from vault.model.cluster import DEFAULT_SPEC

LIMIT_S = 10


@dataclass(slots=True)
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The sentence of an error."""
        text: str = self.json()["message"]
        return text


class Daemon:
    """The API over fakes, and a client of it."""

    def __init__(self, first_id: int = 1) -> None:
        new_id = counting_ids(first_id)
        self.manager = MemoryManager(new_id)
        self.node = MemoryNode()
        self.clock_s = START_S
        self.app = create_app(
            self.manager, self.node, check_driver=check_driver, new_id=new_id, now_s=lambda: self.clock_s
        )

    def with_swarm(self) -> "Daemon":
        """Return this daemon after `swarm init`."""
        run(self.manager.init(InitRequest(spec=DEFAULT_SPEC)))
        return self

    def get(self, url: str, **more: Any) -> Answer:
        return self.request("GET", url, **more)

    def post(self, url: str, posted: object = None, **more: Any) -> Answer:
        return self.request("POST", url, b"" if posted is None else json.dumps(posted).encode(), **more)

    def delete(self, url: str, **more: Any) -> Answer:
        return self.request("DELETE", url, **more)

    def filtered(self, url: str, filters: object) -> Any:
        """Return the list that `filters` leave of a path."""
        answer = self.get(f"{url}?filters={quote(json.dumps(filters))}")
        assert answer.status == 200, answer.text
        return answer.json()

    def request(self, method: str, url: str, body: bytes = b"", **more: Any) -> Answer:
        """Send one request and return the whole answer."""
        return run(self.call(method, url, [body], **more))

    async def call(
        self,
        method: str,
        url: str,
        chunks: list[bytes],
        headers: dict[str, str] | None = None,
        hang_up: bool = False,
        into: Answer | None = None,
    ) -> Answer:
        """Send one request; `chunks` is used up as it is read.

        `hang_up` lets the client go once the body is sent, `into` shows the answer as it comes.
        """
        path, _, query = url.partition("?")
        sent = {"host": "vault", **(headers or {})}
        if method != "GET":
            sent.setdefault("content-length", str(sum(map(len, chunks))))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(key.encode(), value.encode()) for key, value in sent.items()],
            "client": None,
            "server": ("/run/vault/vault.sock", None),  # As uvicorn has it on a unix socket.
        }
        answer = into or Answer()

        async def receive() -> dict[str, Any]:
            if chunks:
                chunk = chunks.pop(0)
                return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}
            if not hang_up:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {key.decode(): value.decode() for key, value in message["headers"]}
                return
            answer.body += message.get("body", b"")
            answer.complete = not message.get("more_body", False)

        async with asyncio.timeout(LIMIT_S):
            await self.app(scope, receive, send)
        return answer


_RUNNER = asyncio.Runner()


def run(coroutine: Any) -> Any:
    """Run a coroutine in the one event loop of these tests."""
    return _RUNNER.run(coroutine)

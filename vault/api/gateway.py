"""The way in for every request: version, headers, errors, and the shortest path to a handler.

A pure ASGI middleware around FastAPI.  It finds the handler by itself, in an index made of FastAPI's own routes
(`vault.api.index`), and takes what is the cluster's business to the manager that leads (`vault.api.relay`).  FastAPI's
own way to a handler costs 120 to 180 µs a request here and this one 4; FastAPI still serves WebSockets and the OpenAPI
document.  `except Exception` stands here because a request ends here.
"""

import logging
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vault.api import answers
from vault.api.context import Reach
from vault.api.index import Index
from vault.api.ports import Manager
from vault.api.relay import Relay
from vault.api.streams import Streamed
from vault.api.version import MAX_TEXT, MAX_VERSION, SERVER, split_version
from vault.model.errors import VaultError

log = logging.getLogger(__name__)
NOT_FOUND = "page not found"
INTERNAL = "internal error: the daemon's log says more"
HEADERS = (
    (b"api-version", MAX_TEXT.encode()),
    (b"docker-experimental", b"false"),
    (b"ostype", b"linux"),
    (b"server", SERVER.encode()),
)


class Gateway:
    """Answers each request with one handler, here or at the manager that leads, or hands it to FastAPI."""

    def __init__(self, app: ASGIApp, index: Index, manager: Manager, relay: Relay) -> None:
        self.app = app
        self.index = index
        self.manager = manager
        self.relay = relay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                started = True
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            serve = self._serve if scope["type"] == "http" else self.app
            await serve(scope, receive, note_start)
        except VaultError as error:
            if not started:
                await answers.failed(error)(scope, receive, note_start)
        except ClientDisconnect:
            return
        except Exception as error:
            log_fault(scope, error)
            if not started and scope["type"] == "http":
                await answers.refused(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL)(scope, receive, note_start)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        parts = path.split("/", 2)
        version = split_version(parts[1]) if len(parts) > 1 else None
        if version is not None:
            path = "/" + (parts[2] if len(parts) > 2 else "")
            scope["path"] = path
        scope["api_version"] = version or MAX_VERSION
        found = self.index.find(scope["method"], path) if len(parts) > 1 else None
        if found is None:
            await self.app(scope, receive, send)
            return
        endpoint, scope["path_params"] = found
        if endpoint.reach is Reach.NODE:
            response: Response = await endpoint.handler(Request(scope, receive))
        else:
            response, receive = await self.relay.respond(endpoint, scope, receive)
            if endpoint.beside is not None and isinstance(response, Streamed):
                response = endpoint.beside(Request(scope, receive), response)
        await response(scope, receive, send)


def log_fault(scope: Scope, error: Exception) -> None:
    """Log where a bug is: type and line, but not the error's text, which may hold what was posted."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown"
    method = scope.get("method", "WEBSOCKET")
    found = {"method": method, "path": scope["path"], "error": type(error).__name__, "where": where}
    log.error("api.fault", extra=found)

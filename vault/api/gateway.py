"""The way in for every request: version, headers, errors, and the shortest path to a handler.

A pure ASGI middleware around FastAPI.  It finds the handler by itself, in an index made of FastAPI's own routes,
because FastAPI's way to one costs 120 to 180 µs a request here and this one 4; FastAPI still serves WebSockets and the
OpenAPI document.  `except Exception` stands here because a request ends here.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vault.api import answers
from vault.api.context import Handler
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
Params = dict[str, str]
NO_PARAMS: Params = {}


@dataclass(frozen=True, slots=True)
class Index:
    """Handlers by method and path."""

    exact: dict[tuple[str, str], Handler] = field(default_factory=dict)
    patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Handler]]] = field(default_factory=dict)

    def find(self, method: str, path: str) -> tuple[Handler, Params] | None:
        """Return the handler of a path without its version, and what the path names; None when there is none."""
        handler = self.exact.get((method, path))
        if handler is not None:
            return handler, NO_PARAMS
        for pattern, candidate in self.patterns.get((method, path.split("/", 2)[1]), ()):
            found = pattern.fullmatch(path)
            if found is not None:
                return candidate, found.groupdict()
        return None


def index_of(routes: Sequence[BaseRoute]) -> Index:
    """Return an index of FastAPI's routes, in their order."""
    index = Index()
    for route in routes:
        if not isinstance(route, APIRoute):
            continue
        for method in route.methods or ():
            if "{" in route.path:
                key = (method, route.path.split("/", 2)[1])
                index.patterns.setdefault(key, []).append((route.path_regex, route.endpoint))
            else:
                index.exact[method, route.path] = route.endpoint
    return index


class Gateway:
    """Answers each request with one handler, or hands it to FastAPI."""

    def __init__(self, app: ASGIApp, index: Index) -> None:
        self.app = app
        self.index = index

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
            _log_fault(scope, error)
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
        handler, scope["path_params"] = found
        response: Response = await handler(Request(scope, receive))
        await response(scope, receive, send)


def _log_fault(scope: Scope, error: Exception) -> None:
    """Log where a bug is: type and line, but not the error's text, which may hold what was posted."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown"
    method = scope.get("method", "WEBSOCKET")
    found = {"method": method, "path": scope["path"], "error": type(error).__name__, "where": where}
    log.error("api.fault", extra=found)

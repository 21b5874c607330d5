"""The HTTP API: all handlers under one FastAPI application.

Called by `vault.daemon`, which binds the socket and runs uvicorn (httptools, uvloop), and by tests over ASGI.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from vault import __version__
from vault.api import answers
from vault.api.backups import Backups
from vault.api.configs import Configs
from vault.api.containers import Containers
from vault.api.context import Context, Endpoint
from vault.api.data_key import DataKey
from vault.api.event_stream import Events
from vault.api.exec import Exec
from vault.api.exec_sessions import Sessions
from vault.api.exec_socket import ExecSocket
from vault.api.gateway import NOT_FOUND, Gateway
from vault.api.images import Images
from vault.api.index import index_of
from vault.api.logs import Logs
from vault.api.networks import Networks
from vault.api.nodes import Nodes
from vault.api.not_offered import sentence_for
from vault.api.openapi import described, schemas_of
from vault.api.ports import LocalNode, Manager
from vault.api.rebalance import Rebalance
from vault.api.relay import Relay
from vault.api.secrets import Secrets
from vault.api.services import Services
from vault.api.stacks import Stacks
from vault.api.swarm import Swarm
from vault.api.system import System
from vault.api.tasks import Tasks
from vault.api.version import MAX_TEXT
from vault.api.volumes import Volumes
from vault.crypto.ids import new_id as random_id
from vault.model.ids import NewID

# FastAPI's own would export errors with their messages, and whatever they hold, where the environment says.
NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)
EXEC_SOCKET = "/vault/v1/exec/{id}/start"
TITLE = "Vault for Swarm"
DESCRIPTION = "The Docker Engine API as far as Swarm goes, served by vaultd.  Paths may begin with /v1.40 to /v1.50."


def create_app(
    manager: Manager,
    node: LocalNode,
    *,
    check_driver: Callable[[str], Awaitable[None]],
    new_id: NewID = random_id,
    now_s: Callable[[], float] = time.time,
) -> Gateway:
    """Return the ASGI application that serves `manager` and `node`: FastAPI behind our own way in."""
    context = Context(manager=manager, node=node, check_driver=check_driver, new_id=new_id, now_s=now_s)
    sessions = Sessions(node)
    endpoints = endpoints_of(context, sessions)
    app = FastAPI(redirect_slashes=False, openapi_url=None, telemetry=NO_TELEMETRY)
    for endpoint in endpoints:
        app.add_api_route(
            endpoint.path,
            endpoint.handler,
            methods=[endpoint.method],
            status_code=endpoint.status,
            response_model=None,
            include_in_schema=False,
        )
    app.add_api_route("/openapi.json", _document_of(endpoints), methods=["GET"], include_in_schema=False)
    app.add_api_websocket_route(EXEC_SOCKET, ExecSocket(sessions).serve)
    app.add_exception_handler(HTTPException, _not_found)
    return Gateway(app, index_of(app.routes, endpoints), manager, Relay(manager, new_id))


def endpoints_of(context: Context, sessions: Sessions) -> list[Endpoint]:
    """Return all endpoints; where two paths fit a request, the first wins."""
    return [
        *Secrets(context).endpoints(),
        *Configs(context).endpoints(),
        *Logs(context).endpoints(),
        *Services(context).endpoints(),
        *Tasks(context).endpoints(),
        *Rebalance(context).endpoints(),
        *Nodes(context).endpoints(),
        *Networks(context).endpoints(),
        *Stacks(context).endpoints(),
        *Swarm(context).endpoints(),
        *Backups(context).endpoints(),
        *DataKey(context).endpoints(),
        *Events(context).endpoints(),
        *Containers(context).endpoints(),
        *Exec(context, sessions).endpoints(),
        *Images(context).endpoints(),
        *Volumes(context).endpoints(),
        *System(context).endpoints(),
    ]


def _document_of(endpoints: list[Endpoint]) -> Callable[[Request], Any]:
    """Return the handler of the OpenAPI document."""
    made: list[bytes] = []

    async def document(request: Request) -> Response:
        """Show the OpenAPI document."""
        if not made:
            made.append(answers.encode(openapi_of(endpoints)))
        return answers.json_bytes(made[0])

    return document


def openapi_of(endpoints: list[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of `endpoints`."""
    schemas, components = schemas_of(endpoints)
    documented = FastAPI(title=TITLE, version=__version__, description=DESCRIPTION)
    for endpoint in endpoints:
        documented.add_api_route(
            endpoint.path,
            endpoint.handler,
            methods=[endpoint.method],
            status_code=endpoint.status,
            response_model=None,
            tags=[endpoint.path.split("/")[1]],
            summary=(endpoint.handler.__doc__ or "").strip().splitlines()[0],
            openapi_extra=described(endpoint, schemas),
        )
    document = get_openapi(
        title=TITLE, version=f"{__version__} (Engine API {MAX_TEXT})", description=DESCRIPTION, routes=documented.routes
    )
    document.setdefault("components", {}).setdefault("schemas", {}).update(components)
    return document


async def _not_found(request: Request, error: Exception) -> Response:
    """Say why something of Docker's is not here; else answer as Docker does for unknown paths and methods alike."""
    sentence = sentence_for(request.method, request.scope["path"])  # A URL would need a host.
    return answers.refused(404, NOT_FOUND) if sentence is None else answers.refused(501, sentence)

"""The leader's half of forwarding: answers what another manager's client asked.

Not pure.  Called by `vault.daemon` for the methods `manager.forward` and `manager.stream` of the control plane, whose
callers it has checked to be managers.  What comes in here is never forwarded again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from vault.api import answers
from vault.api.gateway import INTERNAL, NOT_FOUND, Gateway, log_fault
from vault.api.leading import lead
from vault.model.errors import NotLeading, OutcomeUnknown, VaultError
from vault.rpc.messages_forward import MAX_BODY_BYTES, ForwardedAnswer, ForwardedRequest, Outcome

NOTHING_DONE = ForwardedAnswer(outcome=Outcome.NOTHING_DONE)
UNKNOWN = ForwardedAnswer(outcome=Outcome.UNKNOWN)
TOO_LONG = ForwardedAnswer(outcome=Outcome.TOO_LONG)
Send = Callable[[ForwardedAnswer], Awaitable[None]]
Gone = Callable[[], Awaitable[object]]


async def answer_forwarded(gateway: Gateway, request: ForwardedRequest) -> ForwardedAnswer:
    """Return the whole answer to `request`; raises nothing that a client may be told."""
    response = await _respond(gateway, request, _scope_of(request), _body_of(request, None))
    if isinstance(response, ForwardedAnswer):
        return response
    if not isinstance(response, answers.Answer) or len(response.body) > MAX_BODY_BYTES:
        return TOO_LONG
    return _whole(response)


async def serve_forwarded(gateway: Gateway, request: ForwardedRequest, send: Send, gone: Gone | None = None) -> None:
    """Send the answer to `request`: a head, and parts as they come; the last says that no more follow.

    gone: returns, or raises a `VaultError`, when the one who asked waits no more; what goes on for him ends then.
    Cancelling this ends it, too.
    """
    scope, receive = _scope_of(request), _body_of(request, gone)
    response = await _respond(gateway, request, scope, receive)
    if isinstance(response, ForwardedAnswer):
        await send(response)
        return
    if isinstance(response, answers.Answer) and len(response.body) <= MAX_BODY_BYTES:
        await send(_whole(response))
        return

    async def pass_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(ForwardedAnswer(status=message["status"], headers=tuple(message["headers"]), more=True))
            return
        body = message.get("body", b"")
        for start in range(0, max(1, len(body)), MAX_BODY_BYTES):
            more = message.get("more_body", False) or start + MAX_BODY_BYTES < len(body)
            await send(ForwardedAnswer(body=body[start : start + MAX_BODY_BYTES], more=more))

    await response(scope, receive, pass_on)


async def _respond(
    gateway: Gateway, request: ForwardedRequest, scope: Scope, receive: Receive
) -> Response | ForwardedAnswer:
    """Run the handler if this manager leads."""
    found = gateway.index.find(request.method, request.path)
    if found is None:
        return answers.refused(HTTPStatus.NOT_FOUND, NOT_FOUND)
    endpoint, scope["path_params"] = found
    try:
        if not _leads(gateway):
            return NOTHING_DONE
        return await lead(gateway.manager, endpoint, scope, receive)
    except NotLeading:
        return NOTHING_DONE
    except OutcomeUnknown:
        return UNKNOWN
    except VaultError as error:
        return answers.failed(error)
    except Exception as error:  # A request ends here.
        log_fault(scope, error)
        return answers.refused(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL)


def _leads(gateway: Gateway) -> bool:
    try:
        return gateway.manager.standing() is None
    except VaultError:
        return False


def _whole(response: answers.Answer) -> ForwardedAnswer:
    return ForwardedAnswer(status=response.status_code, headers=tuple(response.raw_headers), body=bytes(response.body))


def _scope_of(request: ForwardedRequest) -> Scope:
    """Return a request as a handler sees one."""
    return {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": request.method,
        "path": request.path,
        "root_path": "",
        "query_string": request.query,
        "headers": request.headers,
        "client": None,
        "server": None,
        "api_version": request.api_version,
        "caller": request.caller,
        "node_id": request.node_id,
        "new_id": request.new_id,
        "sent_since": request.sent_since,
    }


def _body_of(request: ForwardedRequest, gone: Gone | None) -> Receive:
    """Return what gives the body once, and then waits for the one who asked to go."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": request.body, "more_body": False}
        if gone is None:
            await asyncio.Event().wait()
        else:
            with suppress(VaultError):
                await gone()
        return {"type": "http.disconnect"}

    return receive

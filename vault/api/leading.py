"""What a manager that leads does with one request: its own clients' and those that other managers forward.

Not pure.  Called by `vault.api.relay` and `vault.api.forwarded`.
"""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from vault.api.context import Endpoint
from vault.api.ports import Manager
from vault.model.errors import NoLeader, NotLeading, OutcomeUnknown, VaultError

BARRIER_LIMIT_S: Final = 5.0  # For more than half of the managers to say where the store is.


async def lead(manager: Manager, endpoint: Endpoint, scope: Scope, receive: Receive) -> Response:
    """Return the handler's answer, which is no older than the request.

    Reads wait for a barrier first.  A refusal of a write was judged by what this manager knew, so it is believed only
    when a barrier after it says that nobody else leads.  Raises `NotLeading` when somebody does: nothing was done.
    """
    if endpoint.reads:
        await _barrier(manager)
        return await endpoint.handler(Request(scope, receive))
    try:
        return await endpoint.handler(Request(scope, receive))
    except (NotLeading, OutcomeUnknown):
        raise
    except VaultError:
        await _barrier(manager)
        raise


async def _barrier(manager: Manager) -> None:
    barrier = manager.barrier
    if barrier is None:
        return
    try:
        async with asyncio.timeout(BARRIER_LIMIT_S):
            await barrier()
    except TimeoutError:
        raise NoLeader from None

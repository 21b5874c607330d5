"""Requests on their way from a manager that follows to the one that leads, over the control plane, and back.

Not pure.  `Forwarding` implements `vault.api.ports.Forwarder`, one object for each leadership; `Forwarded` answers
at the other end.  Called by `vault.daemon.managing`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from vault.api.forwarded import answer_forwarded, serve_forwarded
from vault.api.gateway import Gateway
from vault.api.ports import AnswerLost, Unreached
from vault.model.errors import VaultError
from vault.rpc.call import Call
from vault.rpc.client import Client
from vault.rpc.errors import CallEnded, CannotReach, NotLeader
from vault.rpc.messages_forward import ForwardedAnswer, ForwardedRequest

FORWARD: Final = "manager.forward"
STREAM: Final = "manager.stream"
LIMIT_S: Final = 60.0  # The one who asks gives up earlier, or learns that another manager leads.


class Forwarding:
    """The way to one leader in one leadership."""

    def __init__(self, client: Client, address: str) -> None:
        self.address = address
        self._client = client

    async def ask(self, request: ForwardedRequest) -> ForwardedAnswer:
        """Return the whole answer.  Raises `Unreached` or `AnswerLost`."""
        try:
            return await self._client.ask(self.address, FORWARD, request, ForwardedAnswer, LIMIT_S)
        except (CannotReach, NotLeader):
            raise Unreached from None
        except VaultError:
            raise AnswerLost from None

    async def stream(self, request: ForwardedRequest) -> AsyncGenerator[ForwardedAnswer, None]:
        """Yield an answer's head and parts.  Raises `Unreached` or `AnswerLost`."""
        asked = False
        try:
            async with self._client.call(self.address, STREAM) as call:
                asked = True
                await call.send(request)
                while True:
                    answer = await call.receive(ForwardedAnswer)
                    yield answer
                    if not answer.more:
                        return
        except (CannotReach, NotLeader):
            raise Unreached from None
        except VaultError:
            raise (AnswerLost if asked else Unreached) from None


class Forwarded:
    """Answers what other managers forward; their calls are refused unless the store says that they are managers."""

    def __init__(self, gateway: Callable[[], Gateway]) -> None:
        self._gateway = gateway

    async def answer(self, call: Call) -> None:
        """Answer `manager.forward`: one message for one message."""
        request = await call.receive(ForwardedRequest)
        await call.send(await answer_forwarded(self._gateway(), request))

    async def serve(self, call: Call) -> None:
        """Answer `manager.stream`: parts as they come, until the one who asked goes."""
        request = await call.receive(ForwardedRequest)

        async def gone() -> object:
            return await call.receive(ForwardedRequest)  # Nothing more is said: this ends with the call.

        serving = asyncio.ensure_future(serve_forwarded(self._gateway(), request, call.send, gone))
        try:
            await serving
        except CallEnded:
            return
        finally:
            serving.cancel()

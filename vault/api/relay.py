"""How a request about the cluster reaches the manager that leads, through the change of leaders.

Not pure.  Called by `vault.api.gateway` on the manager that a client asked.  While this manager leads it serves the
request itself; while it follows it forwards.  When that fails it looks again who leads, until `LEADER_WAIT_S` after the
first failure:

- what certainly was not done is always done again;
- reads, and creates, whose id is drawn once and recognised, are done again when an answer was lost; what was made and
  removed since is not made again (`vault.store.removals`);
- other writes whose answer was lost are answered 503 "outcome unknown".
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from vault.api import answers
from vault.api.bodies import TooLarge, read
from vault.api.context import Endpoint, Reach, id_for
from vault.api.leading import lead
from vault.api.patience import Patience
from vault.api.ports import AnswerLost, Forwarder, Manager, Unreached
from vault.api.streams import Streamed, Write
from vault.model.errors import NoLeader, NotAManager, NotLeading, OutcomeUnknown, VaultError
from vault.model.ids import NewID
from vault.rpc.messages_forward import ForwardedAnswer, ForwardedRequest, Outcome

LEADER_WAIT_S: Final = 12.0  # How long a request waits for a leader in all; a new one takes 3 s, 10 at the most.
LEAST_PAUSE_S: Final = 0.02  # Between looks at who leads,
LOOK_AGAIN_S: Final = 0.1  # and when nothing is told.
PASSED_ON: Final = frozenset({b"content-type", b"x-registry-auth", b"x-registry-config"})
LOCAL_CALLER: Final = "socket"


class Kept:
    """The body of a request, kept as it is read, so that it can be read again."""

    __slots__ = ("_kept", "_next", "_receive", "size_bytes")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Message] = []
        self._next = 0
        self.size_bytes = 0

    async def receive(self) -> Message:
        """Return the next message: one that was kept, or what comes."""
        if self._next < len(self._kept):
            message = self._kept[self._next]
        else:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._kept.append(message)
            self.size_bytes += len(message.get("body", b""))
        self._next += 1
        return message

    def rewind(self) -> None:
        """Begin again."""
        self._next = 0


class Relayed(Streamed):
    """An answer that comes in parts from the manager that leads."""

    def __init__(self, head: ForwardedAnswer, parts: AsyncGenerator[ForwardedAnswer, None]) -> None:
        super().__init__(self._copy, b"")
        self.status_code = head.status
        self.raw_headers = list(head.headers)
        self._head = head
        self._parts = parts

    async def _copy(self, write: Write) -> None:
        async with aclosing(self._parts):
            if self._head.body:
                await write(self._head.body)
            async for part in self._parts:
                if part.body:
                    await write(part.body)
                if not part.more:
                    return
        raise AnswerLost  # The connection ends without its last chunk, as the answer did.


class Relay:
    """Takes each request about the cluster to whoever leads."""

    def __init__(self, manager: Manager, new_id: NewID) -> None:
        self.manager = manager
        self.new_id = new_id

    async def respond(self, endpoint: Endpoint, scope: Scope, receive: Receive) -> tuple[Response, Receive]:
        """Return the answer, and what to listen to for the client's going while it is sent."""
        kept = Kept(receive)
        deadline: float | None = None
        first_index = self._index() if endpoint.creates else 0
        while True:
            forwarder: Forwarder | None = None
            try:
                forwarder = self.manager.standing()
                if forwarder is None:
                    return await lead(self.manager, endpoint, scope, kept.receive), kept.receive
                return await self._forwarded(forwarder, endpoint, scope, kept), kept.receive
            except NotAManager:
                if endpoint.reach is not Reach.BOTH:
                    raise
                return await endpoint.handler(Request(scope, kept.receive)), kept.receive
            except (NoLeader, NotLeading, Unreached):
                failure: type[NoLeader | OutcomeUnknown] = NoLeader
            except (OutcomeUnknown, AnswerLost):
                if not endpoint.repeatable:
                    raise OutcomeUnknown from None
                failure = NoLeader if endpoint.reads else OutcomeUnknown
                scope["sent_since"] = first_index
            now = asyncio.get_running_loop().time()
            deadline = deadline or now + LEADER_WAIT_S
            if now >= deadline:
                raise failure
            await self._until_looking_helps(kept, endpoint.limit_bytes)

    async def _forwarded(self, forwarder: Forwarder, endpoint: Endpoint, scope: Scope, kept: Kept) -> Response:
        request = await self._request_of(endpoint, scope, kept)
        patience = Patience(self.manager, forwarder)
        if not endpoint.streams:
            answer = await patience.wait(forwarder.ask(request))
            if answer.outcome is Outcome.ANSWERED:
                return answers.Answer(answer.body, answer.status, list(answer.headers))
            if answer.outcome is not Outcome.TOO_LONG:
                raise _failure_of(answer)
        parts = forwarder.stream(request)
        try:
            head = await patience.wait(anext(parts, None))
            if head is None or head.outcome is not Outcome.ANSWERED:
                raise AnswerLost if head is None else _failure_of(head)
        except BaseException:  # Cancelled too: the leader is to stop an answer that nobody waits for.
            await parts.aclose()
            raise
        return Relayed(head, parts)

    async def _request_of(self, endpoint: Endpoint, scope: Scope, kept: Kept) -> ForwardedRequest:
        """Return a client's request as it is forwarded; a body that is too long is only announced."""
        kept.rewind()
        client = Request(scope, kept.receive)
        try:
            body = await read(client, endpoint.limit_bytes) if scope["method"] != "GET" else b""
            length = len(body)
        except TooLarge:
            body, length = b"", endpoint.limit_bytes + 1
        headers = [(name, value) for name, value in scope["headers"] if name in PASSED_ON]
        return ForwardedRequest(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=(*headers, (b"content-length", str(length).encode())),
            body=body,
            api_version=scope["api_version"],
            caller=scope.get("caller", LOCAL_CALLER),
            node_id=self.manager.membership().node_id,
            new_id=id_for(client, self.new_id) if endpoint.creates else "",
            sent_since=scope.get("sent_since"),
        )

    def _index(self) -> int:
        """Return a commit index that is no newer than what this moment's requests will do."""
        try:
            return self.manager.store().committed.index
        except VaultError:
            return 0

    async def _until_looking_helps(self, kept: Kept, limit_bytes: int) -> None:
        """Wait until another manager may lead, for a moment; raise `ClientDisconnect` when the client waits no more."""
        await asyncio.sleep(LEAST_PAUSE_S)
        waits = [
            asyncio.ensure_future(self.manager.standing_changed()),
            asyncio.ensure_future(_gone(kept, limit_bytes)),
        ]
        try:
            await asyncio.wait(waits, timeout=LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            ended = await asyncio.gather(*waits, return_exceptions=True)
            kept.rewind()
        for outcome in ended:
            if isinstance(outcome, ClientDisconnect):
                raise outcome


async def _gone(kept: Kept, limit_bytes: int) -> None:
    """Read what is left of the body, and on until the client goes."""
    while kept.size_bytes <= limit_bytes:
        if (await kept.receive())["type"] == "http.disconnect":
            raise ClientDisconnect
    await asyncio.Event().wait()  # More than will be read: it stays with the client.


def _failure_of(answer: ForwardedAnswer) -> Unreached | AnswerLost:
    return Unreached() if answer.outcome is Outcome.NOTHING_DONE else AnswerLost()

"""Logs of tasks, wherever they run: the node is asked on its session, and answers with a call of its own.

Not pure.  Called by `vault.dispatcher.service` and, for readers, by the daemon.  The call carries no more than its
reader takes: a slow reader slows the node's sending, and nothing gathers here.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from vault.dispatcher.session import Notice
from vault.rpc.call import Call
from vault.rpc.errors import CallEnded
from vault.rpc.messages import LogLine, LogLines, LogQuery, LogsHere, LogsUnwanted, LogsWanted, NotUnderstood

OPEN_S: Final = 10.0  # A node that was asked answers within this time.


@dataclass(slots=True, kw_only=True)
class _Wish:
    """One reader of one log."""

    node_id: str
    call: "asyncio.Future[tuple[Call, Mapping[str, str]]]"  # With what goes with each line.
    over: asyncio.Event = field(default_factory=asyncio.Event)


class LogBroker:
    """Brings readers and nodes together."""

    def __init__(self, ask: Callable[[str, Notice], bool]) -> None:
        self._ask = ask  # Tells a node something; False when it is not connected.
        self._wishes: dict[str, _Wish] = {}

    async def lines(
        self, task_id: str, node_id: str, query: LogQuery
    ) -> AsyncGenerator[tuple[LogLine, Mapping[str, str]], None]:
        """Yield the log of a task on a node, each line with its details; nothing when the node does not answer.

        To be closed (`aclose`) by a reader that stops before the end.
        """
        wish_id, wish = secrets.token_hex(16), _Wish(node_id=node_id, call=asyncio.get_running_loop().create_future())
        if not self._ask(node_id, LogsWanted(id=wish_id, task_id=task_id, query=query)):
            return
        self._wishes[wish_id] = wish
        try:
            async with asyncio.timeout(OPEN_S):
                call, details = await wish.call
            while True:
                for line in (await call.receive(LogLines)).lines:
                    yield line, details
        except (CallEnded, TimeoutError):
            return
        finally:
            del self._wishes[wish_id]
            wish.over.set()
            self._ask(node_id, LogsUnwanted(id=wish_id))

    async def serve(self, call: Call) -> None:
        """Hand a node's call to the reader who waits for it; return when that one has read enough."""
        try:
            async with asyncio.timeout(OPEN_S):
                here = await call.receive(LogsHere)
        except TimeoutError:
            raise NotUnderstood("no word came of which log this is") from None
        wish = self._wishes.get(here.id)
        if wish is None or call.peer is None or call.peer.node_id != wish.node_id or wish.call.done():
            raise NotUnderstood("nobody asked this node for that log")
        wish.call.set_result((call, here.details))
        await wish.over.wait()

"""How long to wait for another manager's answer: until it stops leading, and a moment more.

Not pure.  Called by `vault.api.relay`.  A manager that hangs keeps its connections open; that another leads by now is
what tells that its answer will not come.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from vault.api.ports import AnswerLost, Forwarder, Manager
from vault.model.errors import VaultError

T = TypeVar("T")
ANSWER_LIMIT_S: Final = 20.0  # Docker's own limit for a request about the swarm.
LOOK_S: Final = 0.5
GRACE_S: Final = 0.5  # For the answer of one who has just stopped leading, which says whether anything was done.


class Patience:
    """Waits for one answer of one leader."""

    def __init__(self, manager: Manager, forwarder: Forwarder) -> None:
        self.manager = manager
        self.forwarder = forwarder

    async def wait(self, answer: Awaitable[T]) -> T:
        """Return the answer; raises `AnswerLost` after `ANSWER_LIMIT_S`, or when its giver leads no more."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S) as limit:
                looking = loop.call_later(LOOK_S, self._look, limit, loop)
                self._looking = looking
                try:
                    return await answer
                finally:
                    self._looking.cancel()
        except TimeoutError:
            raise AnswerLost from None

    def _look(self, limit: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
        try:
            leads = self.manager.standing() is self.forwarder
        except VaultError:
            leads = False
        if leads:
            self._looking = loop.call_later(LOOK_S, self._look, limit, loop)
        else:
            limit.reschedule(loop.time() + GRACE_S)

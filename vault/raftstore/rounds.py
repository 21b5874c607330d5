"""Shared rounds: who arrives while one is under way waits for the next, and one question answers all of them.

A round begins after each of its members has arrived, so what it finds is no older than any of their questions.
Lives on one event loop.  Called by `vault.raftstore.leadership` for linearizable reads.
"""

import asyncio
from collections.abc import Awaitable, Callable

from vault.model.errors import VaultError
from vault.raftstore.engine import EngineStopped


class Rounds:
    """Asks one question for all who wait."""

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        self._ask = ask
        self._next: asyncio.Future[None] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Wait for a round that begins after this call; raises the `VaultError` that it ends with."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._asking is None:
                self._asking = asyncio.create_task(self._run(), name="rounds")
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        """Ask as long as somebody waits."""
        try:
            while (waiting := self._next) is not None:
                self._next = None
                error: VaultError | None = EngineStopped("a round was broken off")
                try:
                    await self._ask()
                    error = None
                except VaultError as raised:
                    error = raised
                finally:
                    _settle(waiting, error)
        finally:
            self._asking = None
            if self._next is not None:
                _settle(self._next, EngineStopped("a round was broken off"))
                self._next = None


def _settle(waiting: "asyncio.Future[None]", error: VaultError | None) -> None:
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(error)
        waiting.exception()  # Who waited may be gone.

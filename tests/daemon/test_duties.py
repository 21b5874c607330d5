"""What a leader does besides deciding: when it looks at members again, and what that costs."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

from vault.daemon.duties import Duties
from vault.model.secret import Secret, SecretSpec
from vault.raftstore.store import Store
from vault.store.changes import Put
from vault.store.snapshot import LOG_COMMITS, Snapshot


class Passing:
    """A store in which one secret after the other is made, and then nothing."""

    epoch = (1, 1)

    def __init__(self, secrets: int) -> None:
        self.committed = Snapshot()
        self.seen = asyncio.Event()
        self._secrets = secrets

    def now_s(self) -> float:
        return 0.0

    async def barrier(self) -> None:
        """Nobody else leads."""

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        yield self.committed
        for number in range(1, self._secrets + 1):
            secret = Secret(id=f"s{number}", spec=SecretSpec(name=f"n{number}"))
            self.committed = self.committed.apply([Put(secret)], index=number, now_s=0)
            yield self.committed
        self.seen.set()
        await asyncio.Event().wait()


def test_secrets_however_many_are_no_reason_to_look_at_members_again() -> None:
    async def run() -> None:
        store = Passing(LOG_COMMITS + 10)
        duties = Duties(cast(Store, store), "me", leader=lambda: ("", ""))
        waiting = asyncio.create_task(duties._until_nodes_change(store.committed))
        await asyncio.wait({waiting, looked := asyncio.create_task(store.seen.wait())}, return_when="FIRST_COMPLETED")
        assert looked.done()
        assert not waiting.done()
        waiting.cancel()

    asyncio.run(run())

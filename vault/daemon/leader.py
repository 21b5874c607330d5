"""The leader's loops: each decider is shown every new snapshot, and its decision is proposed.

Not pure.  Called by `vault.daemon.membership` while this node leads.  A loop that fails ends the leadership, loudly.
"""

import asyncio
from collections.abc import Callable, Sequence

from vault.model.ids import NewID
from vault.raftstore.store import Store
from vault.store.decision import Decider
from vault.store.snapshot import Snapshot

RETRY_S = 0.05  # After a decision that was refused as stale and no new snapshot to decide on.


async def lead(store: Store, deciders: Sequence[Decider], *, now: Callable[[], float], new_id: NewID) -> None:
    """Run the deciders until cancelled."""
    async with asyncio.TaskGroup() as group:
        for decide in deciders:
            group.create_task(control(store, decide, now=now, new_id=new_id))


async def control(store: Store, decide: Decider, *, now: Callable[[], float], new_id: NewID) -> None:
    """Decide and propose until cancelled; what was refused as stale is decided again."""
    before: Snapshot | None = None
    after: Snapshot | None = None
    wait_s: float | None = None
    snapshots = store.snapshots()
    coming = asyncio.ensure_future(anext(snapshots))
    try:
        while True:
            await asyncio.wait({coming}, timeout=wait_s)
            if coming.done():
                after = coming.result()
                coming = asyncio.ensure_future(anext(snapshots))
            assert after is not None, "the first wait has no limit"
            decision = decide(before, after, now_s=now(), new_id=new_id)
            refused = await store.propose(decision.changes) if decision.changes else ()
            if refused:
                wait_s = RETRY_S
                continue
            before = after
            wait_s = None if decision.ask_again_s is None else max(0.0, decision.ask_again_s - now())
    finally:
        coming.cancel()

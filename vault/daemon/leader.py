"""The leader's loop: its decider is shown the newest snapshot, and what it decides is proposed.

Not pure.  Called by `vault.daemon.membership` while this node leads.  A loop that fails ends the leadership, loudly.

Of a large cluster a decision can take long: a look at a whole service, or all that a new leader reads.  Then it is made
in a thread, one at a time, which leaves the event loop its turns: deciders are pure and snapshots do not change.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vault.model.ids import Kind, NewID
from vault.raftstore.store import Store
from vault.store.decision import Decider
from vault.store.snapshot import Snapshot

LARGE = 2_000  # Tasks, from which on a decision may take longer than the event loop may be held: 10 us for each.
TURN_S = 0.0005  # How long a thread that decides goes on while others wait.
RETRY_S = 0.05  # After a decision that was refused as stale and no new snapshot to decide on.


# Nothing that is decided depends on these.
UNDECIDED = frozenset({Kind.SECRET, Kind.CONFIG, Kind.STACK, Kind.REGISTRY_AUTH})


def concerns_deciders(before: Snapshot, after: Snapshot) -> bool:
    """Whether anything changed that a decider looks at; a burst of new secrets need not wake it."""
    kinds = after.kinds_changed_since(before)
    return kinds is None or not kinds <= UNDECIDED


class Turns:
    """How soon the event loop has its turn again while threads decide: it waits for one at each of its own turns."""

    def __init__(self) -> None:
        self._deciding = 0
        self._usual_s = 0.0

    @contextmanager
    def short(self) -> Iterator[None]:
        """Let threads take turns quickly meanwhile."""
        if not self._deciding:
            self._usual_s = sys.getswitchinterval()
            sys.setswitchinterval(TURN_S)
        self._deciding += 1
        try:
            yield
        finally:
            self._deciding -= 1
            if not self._deciding:
                sys.setswitchinterval(self._usual_s)


_turns = Turns()  # Of this process.


async def control(
    store: Store, decide: Decider, *, now: Callable[[], float], new_id: NewID, brief: bool = False
) -> None:
    """Decide and propose until cancelled; what was refused as stale is decided again.

    Each decision is about the newest committed snapshot, which holds what was proposed before it.
    brief: all but the first decision take little time, however many tasks there are.
    """
    before: Snapshot | None = None
    wait_s: float | None = None
    snapshots = store.snapshots()
    coming = asyncio.ensure_future(anext(snapshots))
    try:
        while True:
            await asyncio.wait({coming}, timeout=wait_s)
            if coming.done():
                coming.result()
                coming = asyncio.ensure_future(anext(snapshots))
            after = store.committed
            if before is not None and wait_s is None and not concerns_deciders(before, after):
                before = after
                continue
            if len(after.tasks) < LARGE or (brief and before is not None):
                decision = decide(before, after, now_s=now(), new_id=new_id)
            else:
                with _turns.short():
                    decision = await asyncio.to_thread(decide, before, after, now_s=now(), new_id=new_id)
            refused = await store.propose(decision.changes) if decision.changes else ()
            if refused:
                wait_s = RETRY_S
                continue
            before = after
            wait_s = None if decision.ask_again_s is None else max(0.0, decision.ask_again_s - now())
    finally:
        coming.cancel()

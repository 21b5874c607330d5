"""The one store of a simulated cluster: commits in one order, each judged as it is made.

Like `vault.raftstore`: of a proposal it applies what is still true and hands back the rest; a client's write is all or
nothing; a leader of the past is refused whatever it brings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vault.store.changes import Atomic, Change
from vault.store.snapshot import Snapshot, Stale

if TYPE_CHECKING:
    from tests.sim.leader import Leader
    from tests.sim.world import World

Build = Callable[[Snapshot], Sequence[Change | Atomic]]


class Store:
    """The committed snapshot, and the leader that may add to it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.snap = Snapshot()
        self.leader: Leader | None = None
        self.epoch = 0
        self.watchers: list[Callable[[Snapshot], bool]] = []  # Asked after each commit, until they have seen enough.

    def propose(self, leader: Leader, changes: Sequence[Change | Atomic]) -> list[Change | Atomic]:
        """Commit those of a decision that are still true; return the others."""
        if leader is not self.leader:
            return list(changes)
        try:
            self._commit("leader", self._applied(self.snap, changes))
        except Stale:
            return self._propose_each(changes)
        return []

    def submit(self, who: str, build: Build) -> bool:
        """Commit what `build` makes of the snapshot, all of it; False when nobody leads.  Raises what `build` does."""
        if self.leader is None:
            return False
        if changes := build(self.snap):
            self._commit(who, self._applied(self.snap, changes))
        return True

    def _propose_each(self, changes: Sequence[Change | Atomic]) -> list[Change | Atomic]:
        snap, refused = self.snap, []
        for change in changes:
            try:
                snap = self._applied(snap, (change,))
            except Stale:
                refused.append(change)
        if snap is not self.snap:
            self._commit("leader", snap)
        return refused

    def _applied(self, snap: Snapshot, changes: Sequence[Change | Atomic]) -> Snapshot:
        return snap.apply(changes, index=self.snap.index + 1, now_s=self._world.clock.now_s)

    def _commit(self, who: str, after: Snapshot) -> None:
        before, self.snap = self.snap, after
        touched = after.changed_since(before)
        assert touched is not None
        changes = [(key, before.get(*key), after.get(*key)) for key in sorted(touched)]
        for _, old, new in changes:
            self._world.story.changed(who, old, new)
        self._world.judge.committed(who, before, after, changes)
        if self.leader is not None:
            self.leader.noticed(before, after)
        self.watchers = [watch for watch in self.watchers if not watch(after)]

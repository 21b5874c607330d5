"""A leadership: the loop of `vault.daemon.leader` around the real decider, in virtual time.

It may end at any moment: between a decision and its commit, or with half of a decision committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.sim.desk import Desk
from vault.daemon.leader import RETRY_S, concerns_deciders
from vault.orchestrator.control import new_control
from vault.store.changes import Atomic, Change
from vault.store.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.sim.world import World

Changes = Sequence[Change | Atomic]
SPINS = 60  # Decisions within a second about one snapshot, none of which changes anything,
READ_AT_ONCE = 5  # but for those in which a new leader reads what there is: so many tasks at least.


class Leader:
    """One manager, while it leads."""

    def __init__(self, world: World, epoch: int) -> None:
        self.world = world
        self.clock = world.clock
        self.epoch = epoch
        self.alive = True
        self.control = new_control()
        self.desk = Desk(self)
        self._before: Snapshot | None = None  # What the decider was shown last.
        self._seen: Snapshot | None = None  # The snapshot the loop woke for last.
        self._again_s: float | None = None  # When to decide again though nothing has changed.
        self._busy = False  # A decision is being made or proposed.
        self._rests = 0
        self._spins, self._spinning_since_s = 0, 0.0

    def begin(self) -> None:
        """Take the lead."""
        self.desk.open()
        self._wake()

    def end(self) -> None:
        """Lead no more: what is under way is lost, and who was connected will notice."""
        self.alive = False
        self.desk.close()

    def noticed(self, before: Snapshot, after: Snapshot) -> None:
        """A commit was made."""
        self.desk.noticed(before, after)
        self._wake()

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            self.clock.after(self.clock.between(0.0, 0.005), self._decide)

    def _decide(self) -> None:
        if not self.alive:
            return
        before, after = self._before, self.world.store.snap
        if after is not self._seen:
            self._spins, self._spinning_since_s = 0, self.clock.now_s
        self._seen = after
        if before is not None and self._again_s is None and not concerns_deciders(before, after):
            self._before = after
            self._rest(None)
            return
        decision = self.control(before, after, now_s=self.clock.now_s, new_id=self.world.new_id)
        self.world.judge.decided(before, after, decision)
        if decision.changes:
            self._propose(after, self._pieces(decision.changes), 0, decision.ask_again_s)
            return
        self._spins += 1
        if self._spins > SPINS + len(after.tasks) // READ_AT_ONCE and self.clock.now_s - self._spinning_since_s < 1.0:
            raise self.world.story.fail("the decider asks to be asked again at once, for ever")
        self._before = after
        self._rest(decision.ask_again_s)

    def _pieces(self, changes: Changes) -> list[Changes]:
        """Return a decision as it is proposed: all at once, or in parts between which anything may happen."""
        if len(changes) < 2 or not self.world.faulty or not self.clock.chance(0.2):
            return [changes]
        cut = self.clock.random.randrange(1, len(changes))
        return [changes[:cut], changes[cut:]]

    def _propose(self, basis: Snapshot, pieces: list[Changes], refused: int, ask_again_s: float | None) -> None:
        if not pieces and refused:
            self._rest(self.clock.now_s + RETRY_S)  # As the real loop: decided again since the last good decision.
        elif not pieces:
            self._before = basis
            self._rest(ask_again_s)
        elif self.world.faulty and self.clock.chance(0.004):
            self.world.story.tell("leader", "dies before it commits what it has decided")
            self.world.lose_leader()
        else:
            delay_s = self.clock.between(0.001, 0.02)
            self.clock.after(delay_s, self._arrive, basis, pieces, refused, ask_again_s)

    def _arrive(self, basis: Snapshot, pieces: list[Changes], refused: int, ask_again_s: float | None) -> None:
        if not self.alive:
            return
        piece, store = pieces[0], self.world.store
        kept = piece
        if self.world.faulty and self.clock.chance(self.world.refused):  # A full disk takes some of it.
            kept = [change for change in piece if self.clock.chance(0.5)]
        alone = store.snap is basis
        stale = store.propose(self, kept)
        if stale and alone:
            raise self.world.story.fail(f"a decision contradicts itself: {stale[0]}")
        self._propose(basis, pieces[1:], refused + len(stale) + len(piece) - len(kept), ask_again_s)

    def _rest(self, ask_again_s: float | None) -> None:
        """Wait for news or for a moment."""
        self._busy = False
        self._again_s = ask_again_s
        self._rests += 1
        if self.world.store.snap is not self._seen:
            self._wake()
        elif ask_again_s is not None:
            self.clock.after(max(ask_again_s - self.clock.now_s, 0.0005), self._time, self._rests)

    def _time(self, rest: int) -> None:
        if rest == self._rests and self.alive:
            self._wake()

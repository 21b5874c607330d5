"""The vigil over whoever leads: when is its silence long enough to take its place?  Pure; the caller says the time.

Safety does not depend on any of this: the condition on head is the fence.  These rules are for speed and quiet.

- A manager beside the engine's own leader takes over when the beat has been silent for 1.2 s (two were missed) and its
  member has been that leader for 0.3 s.  So a leader that was killed is replaced right after the engine's own
  election; one that lives on after an election elsewhere has its next beat through before it is replaced.
- Any other manager takes over after 2.5 s of silence: when the engine's leader has no vaultd, or a stopped one.
- A leader that is healthy is never replaced.  If the engine's leader is elsewhere for 5 s and more, the manager there
  hands the engine's lead to the member beside the leader; the leadership itself, with its sessions, stays put.
- A leader that gives way says so in its last beat, and then nobody waits for silence.
- Beats of older epochs count for nothing.  A manager that was stopped itself (suspended, overloaded) has heard nothing
  for reasons of its own, and listens anew.

Called by `vault.raftstore.leadership`.
"""

from struct import Struct
from typing import Final, NamedTuple

from vault.raftstore.head import Epoch

BEAT_S: Final = 0.5
BESIDE_S: Final = 1.2
SETTLED_S: Final = 0.3
ELSEWHERE_S: Final = 2.5
VACANT_S: Final = 0.3  # What a manager elsewhere leaves the one beside, when the place is free.
DEAF_S: Final = 1.0  # A longer pause between two looks means that this process was stopped.
HAND_OVER_S: Final = 5.0
_EPOCH: Final = Struct(">QQ")


class Pulse(NamedTuple):
    """What a beat says."""

    epoch: Epoch
    node_id: str  # "" = this leadership has ended, and the place is free.

    def encode(self) -> bytes:
        """Return the payload of a beat: generation (8), counter (8), node id."""
        return _EPOCH.pack(self.epoch.generation, self.epoch.counter) + self.node_id.encode()


def read_pulse(payload: bytes) -> Pulse | None:
    """Undo `Pulse.encode`; None for anything else."""
    if not _EPOCH.size <= len(payload) <= 64 or not payload[_EPOCH.size :].isascii():
        return None
    generation, counter = _EPOCH.unpack_from(payload)
    return Pulse(Epoch(generation, counter), payload[_EPOCH.size :].decode("ascii"))


class Vigil:
    """Who leads as far as is known, and since when it has been silent.  Times are seconds of one monotonic clock."""

    def __init__(self, epoch: Epoch, now: float) -> None:
        self._epoch = epoch
        self._leader = ""
        self._heard_at = now
        self._vacant = False
        self._looked_at = now
        self._beside_since: float | None = None

    def leader(self, now: float) -> str:
        """Return the node id of who leads, "" if that is not known or it has been silent for too long."""
        return self._leader if now - self._heard_at < ELSEWHERE_S else ""

    def hear(self, payload: bytes, now: float) -> None:
        """Take note of a beat."""
        pulse = read_pulse(payload)
        if pulse is None or pulse.epoch < self._epoch:
            return
        self.see(pulse.epoch, now)
        self._leader, self._vacant, self._heard_at = pulse.node_id, not pulse.node_id, now

    def see(self, epoch: Epoch, now: float) -> None:
        """Take note of the epoch of a commit; a new one is a sign of life of whoever began it."""
        if epoch > self._epoch:
            self._epoch, self._leader, self._vacant, self._heard_at = epoch, "", False, now

    def listen_anew(self, now: float) -> None:
        """Take note that nothing could be heard until now."""
        self._heard_at = now

    def is_due(self, now: float, *, beside: bool) -> bool:
        """Return whether to take over.  beside: our member leads the engine's own consensus."""
        if now - self._looked_at > DEAF_S:
            self.listen_anew(now)
        self._looked_at = now
        if not beside:
            self._beside_since = None
        elif self._beside_since is None:
            self._beside_since = now
        silent_s = now - self._heard_at
        if self._vacant:
            return beside or silent_s >= VACANT_S
        if self._beside_since is not None and now - self._beside_since >= SETTLED_S:
            return silent_s >= BESIDE_S
        return silent_s >= ELSEWHERE_S

    def to_hand_to(self, now: float) -> str:
        """Return the node to hand the engine's lead to, "" for none; asking starts the wait anew."""
        leader = self.leader(now)
        if not leader or self._beside_since is None or now - self._beside_since < HAND_OVER_S:
            return ""
        self._beside_since = now
        return leader

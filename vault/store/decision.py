"""What a decider is: a pure function from two snapshots to changes."""

from dataclasses import dataclass
from typing import Protocol

from vault.model.ids import NewID
from vault.store.changes import Atomic, Change
from vault.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a decider wants changed, and when it wants to be asked again (seconds since 1970; None = on change)."""

    changes: tuple[Change | Atomic, ...] = ()
    ask_again_s: float | None = None


NOTHING = Decision()


class Decider(Protocol):
    """Decides from what changed between `before` and `after`; `before=None` means: look at everything."""

    def __call__(self, before: Snapshot | None, after: Snapshot, *, now_s: float, new_id: NewID) -> Decision:
        """Return changes to `after`; no clock, chance, log or I/O."""
        ...

"""Which objects were removed lately, so that a create whose answer was lost is not done a second time.  Pure.

An id is drawn for one create and never again.  One that was made and removed meanwhile is told from one that was never
made only by this; a leader that does not look far enough back says that the outcome is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rpds import HashTrieSet

KEPT: Final = 16_384  # Ids of each of two sets, some 2 MiB; requests are repeated for seconds only.


@dataclass(frozen=True, slots=True, kw_only=True)
class Removals:
    """The ids removed by all commits after `since`; older ones are forgotten, a set at a time."""

    since: int = 0
    recent_since: int = 0
    recent: HashTrieSet[str] = field(default_factory=HashTrieSet)
    before: HashTrieSet[str] = field(default_factory=HashTrieSet)

    @classmethod
    def from_now(cls, index: int) -> Removals:
        """Return what is known of removals by one who has just loaded commit `index`."""
        return cls(since=index, recent_since=index)

    def __contains__(self, object_id: str) -> bool:
        return object_id in self.recent or object_id in self.before

    def with_one(self, object_id: str, index: int) -> Removals:
        """Return these removals and that of an object by commit `index`."""
        if len(self.recent) < KEPT:
            return Removals(
                since=self.since,
                recent_since=self.recent_since,
                recent=self.recent.insert(object_id),
                before=self.before,
            )
        # The fresh set may lack some of this very commit, which are in the set before until that goes.
        return Removals(
            since=self.recent_since, recent_since=index, recent=HashTrieSet([object_id]), before=self.recent
        )

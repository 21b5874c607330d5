"""Which changes of a decision belong together, all or nothing.  Pure.

Used by one decision while it is being made.
"""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")


class Groups(Generic[K]):
    """A partition of keys that only ever grows together, kept in the order of first mention."""

    def __init__(self) -> None:
        self._group_of: dict[K, dict[K, None]] = {}

    def join(self, keys: Iterable[K]) -> None:
        """Put `keys`, and whatever any of them is already with, into one group."""
        merged: dict[K, None] = {}
        for key in keys:
            merged.update(self._group_of.get(key) or {key: None})
        for key in merged:
            self._group_of[key] = merged

    def __iter__(self) -> Iterator[tuple[K, ...]]:
        """Yield each group once."""
        seen: set[int] = set()
        for group in self._group_of.values():
            if id(group) not in seen:
                seen.add(id(group))
                yield tuple(group)

    def __bool__(self) -> bool:
        return bool(self._group_of)

    def keys(self) -> Iterable[K]:
        """Return every key that was ever joined."""
        return self._group_of.keys()

"""Which manager to try next.

Pure but for its memory; chance is an argument.  Used by `vault.agent.connection`.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from vault.rpc.messages import ManagerAddress

FIRST_S: Final = 0.1  # Pause after a round of failures; each is twice as long as the one before.
LAST_S: Final = 2.0
ELECTING_S: Final = 0.5  # While managers answer that they know of no leader, it is worth asking again soon.


class Candidates:
    """The managers that are known, and what was learned by trying them."""

    def __init__(self, managers: Iterable[ManagerAddress], random: Random) -> None:
        self.managers = tuple(managers)  # The last known leader first.
        self._random = random
        self._hint = ""
        self._silent: set[str] = set()

    def know(self, managers: Iterable[ManagerAddress], *, leader: str = "") -> tuple[ManagerAddress, ...]:
        """Replace the list, with the leader (host:port) first; an empty list is no list.  Return the list."""
        listed = {manager.addr: manager for manager in managers} or {m.addr: m for m in self.managers}
        self.managers = tuple(sorted(listed.values(), key=lambda manager: manager.addr != leader))
        self._silent.intersection_update(listed)
        return self.managers

    def hint(self, address: str) -> None:
        """Try this one first: a manager said that it leads."""
        self._hint = address
        self._silent.discard(address)

    def answered(self, address: str) -> None:
        """Note that a manager is there, whatever it said."""
        self._silent.discard(address)

    def unanswered(self, address: str) -> None:
        """Note that a manager did not answer in time; it is tried after those that do."""
        self._silent.add(address)

    def round(self) -> list[str]:
        """Return the addresses in the order to try: who is said to lead, who led, the others; silent ones last."""
        addresses = [manager.addr for manager in self.managers]
        first, others = addresses[:1], addresses[1:]
        self._random.shuffle(others)
        hint, self._hint = self._hint, ""
        order = dict.fromkeys(([hint] if hint else []) + first + others)
        return sorted(order, key=lambda address: address in self._silent)


class Backoff:
    """Pauses between rounds of tries: 100 ms, then twice as long each time up to 2 s, drawn from the upper half."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw  # From [0, 1).
        self._next_s = FIRST_S

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._next_s = FIRST_S

    def pause_s(self, *, electing: bool = False) -> float:
        """Return how long to wait now."""
        whole_s = min(self._next_s, ELECTING_S) if electing else self._next_s
        self._next_s = min(self._next_s * 2, LAST_S)
        return whole_s * (0.5 + self._draw() / 2)

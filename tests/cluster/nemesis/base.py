"""What a fault is."""

import random
from typing import ClassVar

from tests.cluster.world import World


class Fault:
    """One fault: `do` it, `undo` it, `check` what is particular to it.  A fresh one for each run."""

    name: ClassVar[str]
    goes_on: ClassVar[bool] = True  # Whether the cluster must take writes while the fault lasts.
    lingers_s: ClassVar[tuple[float, float]] = (0.5, 3.0)  # How long it lasts after writes go on, or altogether.
    rate: ClassVar[float] = 60.0  # Operations a second of the load of every operation.

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self.node = ""  # Which node suffers, once it is known.
        self.said = ""  # What it measured itself, in words.

    def do(self) -> None:
        """Break something."""
        raise NotImplementedError

    def undo(self) -> None:
        """Mend it, from whatever state; the cluster then has to become whole by itself."""

    def check(self) -> None:
        """Check what this fault must leave behind, once the cluster is whole.  Raises `AssertionError`."""

    def some(self, names: list[str]) -> str:
        """Return one of several nodes."""
        return self.chance.choice(sorted(names))

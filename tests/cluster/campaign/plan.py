"""Which runs a campaign is made of, and which are left.  Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# How often each fault is run; what is not named here, `OTHERS` times.
TIMES = {
    "leader killed": 20,
    "all nodes killed at once": 8,
    "leader cut off": 8,
    "leader stopped and woken": 8,
    "all processors busy for 10 minutes, heartbeat 1 s": 2,
    "all managers away for 3 minutes, traffic between tasks": 2,
    "200 services created and removed in a row": 2,
}
OTHERS = 4
SEED_STEP = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One run to be made."""

    fault: str
    seed: int


def plan(faults: Sequence[str], *, base: int, factor: float = 1.0) -> list[Planned]:
    """Return all runs, in turns, so that a campaign that ends early has some of each.

    base: the first seed; every run has its own.
    """
    times = {fault: max(1, round(TIMES.get(fault, OTHERS) * factor)) for fault in faults}
    return [
        Planned(fault=fault, seed=base + turn * SEED_STEP + number)
        for turn in range(max(times.values(), default=0))
        for number, fault in enumerate(faults)
        if turn < times[fault]
    ]


def left(planned: Iterable[Planned], done: Iterable[tuple[str, int]]) -> list[Planned]:
    """Return the runs that were not made yet."""
    made = Counter(done)
    return [one for one in planned if not made[one.fault, one.seed]]

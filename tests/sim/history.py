"""One history: a cluster of a seed, people and faults for a while, then peace: does it come to rest?"""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from unittest.mock import patch

from tests.sim.faults import Faults
from tests.sim.judge.settled import complaint, untouched
from tests.sim.limits import small
from tests.sim.people import People
from tests.sim.story import Violation
from tests.sim.themes import theme_of
from tests.sim.world import World
from vault.orchestrator import orphans

ACTS = (6, 13)  # Of people and faults, fewest and most,
LONG, MANY_ACTS = 0.1, (30, 60)  # and in one history of ten.
DAY_S, SHORT_DAY_S = 86_400.0, 9.0  # After so long a node that is down is given up; most histories are shorter.
FEWEST_STEPS = 200
REST_S = 20.0  # Looked whether it is settled so often,
LIMIT_S = 900.0  # and so long at most.


def play(seed: int) -> World:
    """Return the world of a seed after trouble, peace, and a last rebalance.  Raises `Violation`."""
    world = World(seed, nodes=3 + seed % 4, day_s=SHORT_DAY_S if seed % 5 < 2 else DAY_S)
    try:
        with (
            patch.object(orphans, "DOWN_LIMIT", timedelta(seconds=world.day_s)),
            small() if seed % 3 == 1 else nullcontext(),
        ):
            trouble(world)
            settle(world)
            if People(world).level():
                settle(world)
            untouched(world)
    except Violation:
        raise
    except Exception as error:  # A decider that breaks down is a violation with a story, like any other.
        raise world.story.fail(f"{type(error).__name__}: {error}") from error
    return world


def trouble(world: World) -> None:
    """Let people and faults have their way, then mend everything."""
    clock, people, faults = world.clock, People(world), Faults(world)
    world.run(1.0)
    for driven in (False, False, True):
        people.create_secret(driven)
    people.create_config()
    for _ in range(clock.random.randint(1, 4)):
        people.create_service()
    world.run(clock.between(0.0, 5.0))
    world.faulty = True
    acts = MANY_ACTS if clock.chance(LONG) else ACTS
    left, calm = clock.random.randint(*acts), theme_of(world.seed).calm
    while left > 0 or clock.steps < FEWEST_STEPS:
        left -= 1
        (people.act if clock.chance(calm) else faults.strike)()
        world.run(min(clock.random.expovariate(0.6), 12.0))
    faults.heal()
    world.run(1.5)  # What people were about to write is written.


def settle(world: World) -> None:
    """Wait until the cluster is as it should be and nothing moves.  Raises `Violation`."""
    for _ in range(int(LIMIT_S / REST_S)):
        People(world).mend()  # Also what an update goes back to by itself.
        before = world.store.snap
        world.run(REST_S)
        if world.store.snap is before and complaint(world) is None:
            return
    sentence, about = complaint(world) or ("something always changes", ())
    raise world.story.fail(f"it never comes to rest: {sentence}", *about)

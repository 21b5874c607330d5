"""`python -m tests.sim`: play histories, and say how many a minute; a violation prints its seed and a short story."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time

from tests.sim.history import play
from tests.sim.story import Violation

LONGEST_S = 20.0  # Of processor time, for one history.
RARELY = (20_000, 20, 100)  # Garbage of one history is collected about once.


def too_long(*_: object) -> None:
    """Break a history off: something in it goes on for ever."""
    raise TimeoutError(f"a history that takes more than {LONGEST_S:.0f} s never ends")


def main() -> int:
    """Play what is asked for; return 1 when a history violates something."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--histories", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--told", action="store_true", help="print what happened last in each history")
    parser.add_argument("--go-on", action="store_true", help="play the others though one has failed")
    asked = parser.parse_args()
    steps, commits, failed, played = 0, 0, 0, 0
    gc.freeze()  # What is there by now stays: no use in looking at it again and again.
    gc.set_threshold(*RARELY)
    began_s, began_wall_s = time.process_time(), time.monotonic()
    signal.signal(signal.SIGPROF, too_long)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for seed in range(asked.seed, asked.seed + asked.histories):
        signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
        try:
            world = play(seed)
            played += 1
        except KeyboardInterrupt:
            break  # What was played so far is told.
        except Violation as violation:
            played, failed = played + 1, failed + 1
            print(violation, flush=True)
            if not asked.go_on:
                break
            continue
        steps, commits = steps + world.clock.steps, commits + world.store.snap.index
        if asked.told:
            print(world.story.told())
    took_s, took_wall_s = time.process_time() - began_s, time.monotonic() - began_wall_s
    good = max(played - failed, 1)
    print(
        f"{played} histories, {failed} failed; {steps / good:.0f} steps and {commits / good:.0f} commits each; "
        f"{played / took_s * 60:.0f} a minute of processor time, {played / took_wall_s * 60:.0f} a minute by the clock"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

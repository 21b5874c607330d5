"""One run: clients write, a fault happens, it is mended, the cluster becomes whole, and the history is judged.

The same run is a test and a step of the campaign; what came of it is a `Run`, which says everything that counts.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tests.cluster.checker import history
from tests.cluster.checker.verdict import judge
from tests.cluster.load.background import Background
from tests.cluster.load.creates import Creates
from tests.cluster.load.mixed import Mixed
from tests.cluster.load.recorder import Recorder
from tests.cluster.nemesis.base import Fault
from tests.cluster.world import RECOVERS_S, World

WARM_ACKNOWLEDGED = 40  # Creates before the fault.
CALM_ACKNOWLEDGED = 40  # And after it.
JUDGE_S = 60.0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run."""

    fault: str
    seed: int
    commit: str = ""
    node: str = ""  # Which node suffered.
    operations: int = 0
    acknowledged: int = 0  # Creates that were acknowledged, and checked on every manager.
    unknown: int = 0  # Creates without an answer;
    unknown_there: int = 0  # of these, how many are there.
    first_s: float | None = None  # From the fault to the first write that began after it and was acknowledged.
    whole_s: float | None = None  # From the mending until every manager took a write.
    said: str = ""  # What the fault itself measured.
    problems: tuple[str, ...] = ()  # Empty: survived.
    took_s: float = 0.0

    @property
    def survived(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems


class Survival:
    """Makes one run."""

    def __init__(self, world: World, fault: type[Fault], seed: int, *, mark: bytes = b"", commit: str = "") -> None:
        self.world = world
        self.seed = seed
        self.recorder = Recorder(world.sockets, seed=seed, mark=mark)
        self.fault = fault(world, random.Random(seed))
        self._commit = commit
        prefix = f"{seed:x}-{time.monotonic_ns() % 10**9:x}"
        self._mixed = Mixed(self.recorder, prefix=f"m{prefix}", rate=fault.rate)
        self._creates = Creates(self.recorder, prefix=f"c{prefix}", pause_s=1.2 / fault.rate)
        self.problems: list[str] = []
        self._first_s: float | None = None
        self._whole_s: float | None = None

    def run(self, keep: Path | None = None) -> Run:
        """Run and judge.  keep: a directory for the history of a run that shows a problem."""
        begun = time.monotonic()
        with Background(self._mixed, self._creates) as loads:
            self._until_acknowledged(WARM_ACKNOWLEDGED)
            self._suffer(loads)
            if not self.problems:
                self._until_acknowledged(self.recorder.acknowledged() + CALM_ACKNOWLEDGED)
            loads.stop()
            silent = loads.do(self._mixed.settle(timeout_s=RECOVERS_S))
            missing, count = loads.do(self._creates.check(timeout_s=RECOVERS_S))
        self.problems += [f"{node} does not answer reads" for node in silent]
        self.problems += [*missing, *dict.fromkeys(self.recorder.unexpected)]
        verdict = judge(self.recorder.history, limit_s=JUDGE_S)
        self.problems += [*verdict.violations, *(f"could not decide on {key}" for key in verdict.undecided)]
        if self.problems and keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            history.write(keep / f"{self.fault.name.replace(' ', '-')}-{self.seed}.jsonl", self.recorder.history)
        return Run(
            fault=self.fault.name, seed=self.seed, commit=self._commit, node=self.fault.node,
            operations=verdict.operations, acknowledged=count.acknowledged, unknown=count.unknown,
            unknown_there=count.unknown_there, first_s=self._first_s, whole_s=self._whole_s,
            said=self.fault.said, problems=tuple(self.problems), took_s=time.monotonic() - begun,
        )  # fmt: skip

    def _suffer(self, loads: Background) -> None:
        """Do the fault, watch writes go on, undo it, and wait until all is whole; each even if one before failed."""
        fault = self.fault
        self._noting(lambda: self._last(loads))
        mended = time.monotonic()
        self._noting(fault.undo)
        if self._noting(lambda: self.world.until_whole(timeout_s=RECOVERS_S)):
            self._whole_s = time.monotonic() - mended
            # A manager that came meanwhile has to tell the same as those that were asked before.
            self.recorder.nodes |= self.world.sockets
        if not self.problems:
            self._noting(fault.check)

    def _last(self, loads: Background) -> None:
        fault = self.fault
        fault.do()
        # A fault that takes its time is done when `do` is: the first write is counted from then.
        done_ns = time.monotonic_ns()
        if fault.goes_on:
            waiting = self._creates.until_acknowledged(after_ns=done_ns, timeout_s=RECOVERS_S)
            self._first_s = loads.do(waiting, timeout_s=2 * RECOVERS_S)
            if self._first_s is None:
                self.problems.append(f"no write was acknowledged within {RECOVERS_S:.0f} s of the fault")
        # What lasts a while is part of the fault: the node must not notice too early that it is well again.
        threading.Event().wait(fault.chance.uniform(*fault.lingers_s))

    def _noting(self, work: Callable[[], object]) -> bool:
        """Do one step; whatever goes wrong is a problem of this run, whose history is judged all the same."""
        try:
            work()
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}")
            return False
        return True

    def _until_acknowledged(self, count: int) -> None:
        self.world.until(lambda: self.recorder.acknowledged() >= count, f"{count} creates are acknowledged")


def shown(runs: Sequence[Run]) -> str:
    """Return runs with problems, for people."""
    return "\n".join(f"{run.fault}, seed {run.seed}:\n  " + "\n  ".join(run.problems) for run in runs if run.problems)

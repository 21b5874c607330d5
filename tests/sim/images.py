"""What containers do, by the name of their image: `crashes:v3` is the third version of one that crashes."""

from dataclasses import dataclass

from vault.model.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """A kind of image.  Pairs of seconds are the bounds of what is drawn for each container."""

    pull_s: tuple[float, float] = (0.02, 0.5)  # The first time on a node.
    found: bool = True  # Else no registry has it.
    starts: bool = True
    ends: float = 0.0  # How many of its containers end by themselves, of 1,
    life_s: tuple[float, float] = (0.0, 0.0)  # after so long,
    code: int = 1  # with this exit code.
    heals: bool = False  # Whether it ends only while there are faults.
    stop_s: tuple[float, float] = (0.0, 0.4)  # Between the signal and the end; the grace time ends it, too,
    killable: bool = True  # unless it cannot be killed.
    unwell: float = 0.0  # How many of its probes fail, of 1, while there are faults.


BEHAVIOURS = {
    "steady": Behaviour(ends=0.04, life_s=(0.1, 60.0), heals=True),
    "unwell": Behaviour(unwell=0.3),
    "slow": Behaviour(pull_s=(2.0, 40.0)),
    "flaky": Behaviour(ends=0.5, life_s=(0.0, 12.0), heals=True),
    "stubborn": Behaviour(stop_s=(60.0, 60.0)),
    "hung": Behaviour(stop_s=(62.0, 90.0), killable=False),
    "finishes": Behaviour(ends=1.0, life_s=(0.3, 8.0), code=0),
    "lingers": Behaviour(ends=1.0, life_s=(1.0, 8.0), code=0, stop_s=(5.0, 60.0)),
    "crashes": Behaviour(ends=1.0, life_s=(0.05, 4.0)),
    "missing": Behaviour(found=False, pull_s=(0.1, 1.0)),
    "broken": Behaviour(starts=False),
}
DONE = frozenset({"finishes", "lingers"})  # Do what they are for, and end.
BAD = frozenset({"crashes", "missing", "broken"})  # Never comes to rest while its restart policy allows more.


def kind_of(image: str) -> str:
    """Return the kind of an image."""
    return image.partition(":")[0]


def behaviour(task: Task) -> Behaviour:
    """Return what the container of a task does."""
    return BEHAVIOURS[kind_of(task.spec.container_spec.image)]

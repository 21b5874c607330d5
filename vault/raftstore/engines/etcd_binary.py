"""The `etcd` program: is it there, and of a version that keeps what it acknowledges?

Looked at before a member starts or joins anything.  Blocking.  Called by `vault.raftstore.engines.etcd_process`.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from vault.model.errors import Unavailable

OLDEST: Final = (3, 4, 0)  # The first with learners.
LOSING: Final = ((3, 5, 0), (3, 5, 5))  # From and to: members drift apart after a crash, or when defragmented.
ANSWER_LIMIT_S: Final = 20.0  # A machine under load takes its time to start a program.
_VERSION: Final = re.compile(r"etcd Version: (\d{1,4})\.(\d{1,4})\.(\d{1,4})")


class EtcdMissing(Unavailable):
    """The program is not installed."""

    def __init__(self) -> None:
        super().__init__("a swarm of several managers needs etcd here: install Debian's `etcd-server`, and try again")


class EtcdUnfit(Unavailable):
    """The program is of a version that must not hold the swarm's records."""

    def __init__(self, version: str, why: str) -> None:
        super().__init__(f"etcd {version} {why}: install 3.4, or 3.5.6 and newer, and try again")
        self.version = version


class Binary(NamedTuple):
    """A program that may be started."""

    path: Path
    version: tuple[int, int, int]


def find(path: Path | None = None) -> Binary:
    """Return the program at `path`, or on PATH.  Raises `EtcdMissing` or `EtcdUnfit`; starts no member."""
    found = shutil.which(path or "etcd")
    if found is None:
        raise EtcdMissing
    try:
        done = subprocess.run(
            [found, "--version"], env={}, capture_output=True, text=True, timeout=ANSWER_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        raise EtcdUnfit("of an unknown version", "does not start") from None
    return Binary(Path(found), fit_version(done.stdout))


def fit_version(text: str) -> tuple[int, int, int]:
    """Return the version in what `etcd --version` prints.  Raises `EtcdUnfit`.  Pure."""
    match = _VERSION.search(text)
    if match is None:
        raise EtcdUnfit("of an unknown version", "cannot be trusted with records")
    version = int(match[1]), int(match[2]), int(match[3])
    shown = ".".join(map(str, version))
    if version < OLDEST:
        raise EtcdUnfit(shown, "is too old")
    if LOSING[0] <= version <= LOSING[1]:
        raise EtcdUnfit(shown, "may lose records")
    return version

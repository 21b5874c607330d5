"""What came of each run, one a line, so that a campaign that is broken off goes on where it stopped."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.cluster.survive import Run


class Results:
    """The runs of a campaign, in a file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / "runs.jsonl"

    @property
    def failed(self) -> Path:
        """Where histories of runs with a problem are kept."""
        return self.directory / "failed"

    def read(self) -> list[Run]:
        """Return the runs so far; half a line, from a machine that stopped while it was written, is dropped."""
        if not self._path.exists():
            return []
        found = []
        for line in self._path.read_bytes().split(b"\n"):
            try:
                found.append(msgspec.json.decode(line, type=Run))
            except msgspec.MsgspecError:
                continue
        return found

    def add(self, run: Run) -> None:
        """Keep a run, durably."""
        with self._path.open("ab") as file:
            # A line of its own even after half a line.
            file.write(b"\n" * bool(file.tell()) + msgspec.json.encode(run))
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Yield whether no other campaign runs here; hold that while the body runs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        file = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(file)

"""What a lab is and what was done to it, in one file, under one lock.

Not pure.  The lock is a `flock` on the lab's directory, so it leaves no file of its own; who gets it looks whether the
directory is still the one at that path.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from vault.lab.errors import LabBusy, LabError
from vault.lab.plan import Place, Site, places

FORMAT: Final = 1
LOCK_WAIT_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.02


class Slow(msgspec.Struct, frozen=True, kw_only=True):
    """How a node is slowed; 0 is not at all."""

    delay_s: float = 0.0  # Each way.
    rate_bits: int = 0  # Per second, each way.
    cpus: float = 0.0  # For vaultd and etcd together.


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A lab."""

    format: int = FORMAT
    managers: int
    workers: int
    disk_bytes: int = 0  # Of each node's file system; 0 = directories.
    log_level: str = "info"
    ready: bool = False  # Whether `up` came to its end.
    cuts: frozenset[tuple[str, str]] = frozenset()  # Packets from the first node to the second are dropped.
    slow: dict[str, Slow] = {}
    clocks: dict[str, int] = {}  # Seconds by which a vaultd's wall clock is off.


def read(at: Site) -> State | None:
    """Return what is known of a lab; None when there is none."""
    try:
        state = msgspec.json.decode(at.record.read_bytes(), type=State)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise LabError(f"{at.record} cannot be read: `vault lab down` ends what it can find") from None
    return state


def write(at: Site, state: State) -> None:
    """Replace what is known of a lab."""
    fresh = at.record.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    fresh.replace(at.record)


def places_of(at: Site, state: State) -> tuple[Place, ...]:
    """Return the nodes of a lab."""
    return places(at, managers=state.managers, workers=state.workers)


@contextmanager
def locked(at: Site, *, create: bool = False, wait_s: float = LOCK_WAIT_S) -> Iterator[bool]:
    """Hold the lab against other commands; yield whether its directory is there.

    create: make the directory if it is missing.  Raises `LabBusy`.
    """
    deadline = time.monotonic() + wait_s
    while True:
        if create:
            at.directory.mkdir(parents=True, mode=0o755, exist_ok=True)
        try:
            fd = os.open(at.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if create:
                continue  # Removed between the two calls.
            yield False
            return
        try:
            if not _flock(fd, deadline):
                raise LabBusy(at.name)
            if _is_at(fd, at.directory):
                yield True
                return
        finally:
            os.close(fd)


def _flock(fd: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN_S)
        else:
            return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False

"""Processes of a lab: found by cgroup and network namespace, told apart from later ones with their pid, and ended.

Not pure; blocking.  A signal goes through a descriptor of the process, opened before it was recognised, so it never
reaches another that got the same pid.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final

from vault.agent.executors.oci.record import Process, identify, open_process
from vault.lab.errors import LabError

END_LIMIT_S: Final = 20.0
_LOOK_AGAIN_S: Final = 0.02


class StillRunning(LabError):
    """Killed processes do not go."""

    def __init__(self, pids: Collection[int]) -> None:
        super().__init__(f"processes {', '.join(map(str, pids))} do not end: look for a hanging disk or network mount")


def recorded(path: Path) -> Process | None:
    """Return the process that wrote its line of /proc/PID/stat into a file; None when it has ended."""
    try:
        line = path.read_text()
        written = Process(pid=int(line.split()[0]), started=int(line.rpartition(")")[2].split()[19]))
    except (OSError, ValueError, IndexError):
        return None
    return written if identify(written.pid) == written else None


def name_of(pid: int) -> str:
    """Return what the kernel calls a process; "" when it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_stopped(process: Process) -> bool:
    """Return whether a process was stopped by a signal."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


def in_networks(namespaces: Collection[int]) -> list[int]:
    """Return the pids of processes in any of the network namespaces, by their numbers."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # It has ended, or has no namespaces any more.
                if os.stat(f"/proc/{entry}/ns/net").st_ino in namespaces:
                    found.append(int(entry))
    return found


def send(processes: Iterable[Process], number: int) -> None:
    """Send a signal to each; one that has gone is no error."""
    for process in processes:
        pidfd = open_process(process)
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
            os.close(pidfd)


def wait_gone(process: Process, limit_s: float) -> bool:
    """Return whether a process ended in time."""
    pidfd = open_process(process)
    if pidfd is None:
        return True
    try:
        return bool(select.select([pidfd], [], [], limit_s)[0])
    finally:
        os.close(pidfd)


def end_all(find: Callable[[], Iterable[int]]) -> None:
    """KILL what `find` yields, again and again until it yields nothing that lives.  Raises `StillRunning`."""
    deadline = time.monotonic() + END_LIMIT_S
    while True:
        living = [process for pid in find() if pid != os.getpid() and (process := identify(pid)) is not None]
        if not living:
            return
        if time.monotonic() > deadline:
            raise StillRunning([process.pid for process in living])
        send(living, signal.SIGKILL)
        for process in living:
            wait_gone(process, _LOOK_AGAIN_S)

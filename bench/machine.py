"""What the machine was doing: processors used by whom, and memory of process trees."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
QUIET_CORES = 0.35  # Foreign load under which a measurement starts at once.
GATE_S = 5  # How long to wait for quiet before measuring anyhow; the load is reported beside the figure.


@dataclass
class Foreign:
    """Cores used by processes that are neither the server's nor the client's."""

    cores: float = 0.0


def _jiffies() -> tuple[int, int]:
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]


def busy_cores(seconds: float) -> float:
    """Return how many cores were busy during a moment."""
    before = _jiffies()
    time.sleep(seconds)
    after = _jiffies()
    total = max(after[0] - before[0], 1)
    return (1 - (after[1] - before[1]) / total) * (os.cpu_count() or 1)


def wait_for_quiet() -> None:
    """Wait until the machine is quiet, or not longer than `GATE_S`."""
    deadline = time.monotonic() + GATE_S
    while busy_cores(0.5) > QUIET_CORES and time.monotonic() < deadline:
        continue


def tree(root: int) -> list[int]:
    """Return a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def resident_mb(pids: list[int]) -> float:
    """Return the proportional memory of processes, in MB; shared pages are counted once."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def named(comm: str, needle: str = "") -> list[int]:
    """Return the processes of that name whose command line holds `needle`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (entry / "comm").read_text().strip().startswith(comm) and needle in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


def cpu_s(pids: list[int]) -> float:
    """Return the processor time that processes have used, in seconds."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


@contextmanager
def watched(server: int) -> Iterator[Foreign]:
    """Measure foreign load while the body runs; containers count as foreign, since nobody's tree has them."""
    foreign, pids = Foreign(), tree(server)
    begun, before, used, own = time.perf_counter(), _jiffies(), cpu_s(pids), sum(os.times()[:2])
    yield foreign
    elapsed, after = max(time.perf_counter() - begun, 1e-6), _jiffies()
    busy = (1 - (after[1] - before[1]) / max(after[0] - before[0], 1)) * (os.cpu_count() or 1)
    foreign.cores = max(0.0, busy - (cpu_s(pids) - used) / elapsed - (sum(os.times()[:2]) - own) / elapsed)

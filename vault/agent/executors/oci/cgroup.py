"""The cgroup of a task: what it has used, which processes are in it, and its end.

Blocking reads and writes under /sys/fs/cgroup; from threads only.  Called by `executor` and `removal`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vault.agent.executors.oci.namespace import CGROUP_ROOT, Hierarchy
from vault.agent.executors.port import ProcessInfo, Usage

_COMMAND_MAX_BYTES: Final = 4096


def directories(hierarchy: Hierarchy, cgroup: str) -> list[Path]:
    """Return the directories of a cgroup that exist, one for each hierarchy of the host."""
    if hierarchy is Hierarchy.V2:
        places = [CGROUP_ROOT / cgroup.lstrip("/")]
    else:
        places = [each / cgroup.lstrip("/") for each in CGROUP_ROOT.iterdir() if not each.is_symlink()]
    return [place for place in places if place.is_dir()]


def remove_cgroup(hierarchy: Hierarchy, cgroup: str) -> bool:
    """Delete a cgroup without processes, with those below it; False when something still runs in it."""
    gone = True
    for place in directories(hierarchy, cgroup):
        for directory, _, _ in os.walk(place, topdown=False):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
    return gone


def remove_parents(hierarchy: Hierarchy, parent: str) -> None:
    """Delete the cgroups above the tasks' own, as far as they are empty."""
    for place in directories(hierarchy, parent):
        for directory in (place, place.parent):
            try:
                directory.rmdir()
            except OSError:  # Others use it.
                break


def processes_of(hierarchy: Hierarchy, cgroup: str) -> Iterator[int]:
    """Yield the pids in a cgroup and below it."""
    places = directories(hierarchy, cgroup)
    for directory, _, files in os.walk(places[0] if places else "/nonexistent"):
        if "cgroup.procs" in files:
            yield from map(int, (Path(directory) / "cgroup.procs").read_text().split())


def list_processes(hierarchy: Hierarchy, cgroup: str) -> tuple[ProcessInfo, ...]:
    """Return what `top` shows of a cgroup."""
    described = (describe(pid) for pid in processes_of(hierarchy, cgroup))
    return tuple(each for each in described if each is not None)


def describe(pid: int) -> ProcessInfo | None:
    """Return what `top` shows of a process; None when it has gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()[:_COMMAND_MAX_BYTES]
        uid = os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, fields = stat.partition("(")[2].rpartition(")")[0], stat.rpartition(")")[2].split()
    command = raw.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return ProcessInfo(pid=pid, parent=int(fields[1]), uid=uid, command=command or f"[{name}]")


def usage_of(hierarchy: Hierarchy, cgroup: str) -> Usage:
    """Return what a cgroup has used; what the host does not count is 0."""
    relative = cgroup.lstrip("/")
    if hierarchy is Hierarchy.V2:
        place = CGROUP_ROOT / relative
        return Usage(
            cpu_ns=1000 * _keyed(place / "cpu.stat", "usage_usec"),
            memory_bytes=max(_number(place / "memory.current") - _keyed(place / "memory.stat", "inactive_file"), 0),
            pids=_number(place / "pids.current"),
        )
    memory = CGROUP_ROOT / "memory" / relative
    return Usage(
        cpu_ns=_number(CGROUP_ROOT / "cpuacct" / relative / "cpuacct.usage"),
        memory_bytes=max(
            _number(memory / "memory.usage_in_bytes") - _keyed(memory / "memory.stat", "total_inactive_file"), 0
        ),
        pids=_number(CGROUP_ROOT / "pids" / relative / "pids.current"),
    )


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _keyed(path: Path, key: str) -> int:
    try:
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    except (OSError, ValueError):
        return 0
    return 0

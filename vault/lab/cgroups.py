"""The cgroup of a node: holds vaultd and all it starts but tasks, finds them, and limits their processor time.

Not pure; blocking.  With cgroup v1 it is one in the `cpu` hierarchy alone.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vault.agent.executors.oci import cgroup as tasks
from vault.agent.executors.oci.namespace import CGROUP_ROOT, Hierarchy, find_hierarchy
from vault.lab.errors import LabError
from vault.lab.plan import Place

PERIOD_US: Final = 100_000
_LEAST_QUOTA_US: Final = 1_000
_REMOVE_LIMIT_S: Final = 20.0
_LOOK_AGAIN_S: Final = 0.01


class CgroupBusy(LabError):
    """Something is in a cgroup that was emptied."""

    def __init__(self, cgroup: str) -> None:
        super().__init__(f"the cgroup {cgroup} is in use: see which processes are in it, then try again")
        self.cgroup = cgroup


def make(node: Place) -> None:
    """Make a node's cgroup."""
    hierarchy = find_hierarchy()
    place = _place(hierarchy, node)
    place.mkdir(parents=True, exist_ok=True)
    if hierarchy is Hierarchy.V2:
        for above in (place.parent.parent.parent, place.parent.parent, place.parent):
            (above / "cgroup.subtree_control").write_text("+cpu")


def entry(node: Place) -> Path:
    """Return the file to which a process writes its pid to be in the cgroup."""
    return _place(find_hierarchy(), node) / "cgroup.procs"


def limit(node: Place, cpus: float) -> None:
    """Let the node's vaultd and etcd together use so many processors; 0 = as many as there are."""
    hierarchy = find_hierarchy()
    place = _place(hierarchy, node)
    quota = max(int(cpus * PERIOD_US), _LEAST_QUOTA_US) if cpus else 0
    try:
        if hierarchy is Hierarchy.V2:
            (place / "cpu.max").write_text(f"{quota or 'max'} {PERIOD_US}")
        else:
            (place / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (place / "cpu.cfs_quota_us").write_text(str(quota or -1))
    except FileNotFoundError:
        raise LabError("this kernel cannot limit processor time: it was built without CONFIG_CFS_BANDWIDTH") from None


def daemons(node: Place) -> Iterator[int]:
    """Yield the pids of vaultd and what it started, tasks apart."""
    yield from _pids(_place(find_hierarchy(), node))


def task_processes(node: Place) -> Iterator[int]:
    """Yield the pids of the processes of the node's tasks."""
    yield from tasks.processes_of(find_hierarchy(), node.tasks_cgroup)


def remove_tasks(node: Place) -> None:
    """Remove the cgroups of the node's tasks, which must have ended.  Raises `CgroupBusy`."""
    _remove(node.tasks_cgroup)


def remove(node: Place) -> None:
    """Remove a node's cgroup, and those above it as far as they are empty.  Raises `CgroupBusy`."""
    _remove(node.cgroup)


def _remove(cgroup: str) -> None:
    """Remove a cgroup whose processes have ended, once init has fetched them, and those above it that are empty."""
    hierarchy = find_hierarchy()
    deadline = time.monotonic() + _REMOVE_LIMIT_S
    while not tasks.remove_cgroup(hierarchy, cgroup):
        if time.monotonic() > deadline:
            raise CgroupBusy(cgroup)
        time.sleep(_LOOK_AGAIN_S)
    for parent in list(Path(cgroup).parents)[:-1]:
        for place in tasks.directories(hierarchy, str(parent)):
            with contextlib.suppress(OSError):  # Others are in it.
                place.rmdir()


def _place(hierarchy: Hierarchy, node: Place) -> Path:
    root = CGROUP_ROOT if hierarchy is Hierarchy.V2 else CGROUP_ROOT / "cpu"
    return root / node.cgroup.lstrip("/")


def _pids(place: Path) -> list[int]:
    try:
        return [int(pid) for pid in (place / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return []

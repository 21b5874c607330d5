"""A private mount namespace for calls to the runtime, on hosts whose cgroups crun refuses.

On a host with cgroup v1 and v2 side by side (hybrid) crun 1.8 will not run while /sys/fs/cgroup/unified is mounted.  A
thread that enters a namespace of its own (0.1 ms), unmounts it there and starts the runtime hides it from the runtime
alone.  The thread goes back at once, so the namespace ends with the runtime's process: no mount of another task stays
alive in it.  conmon lives as long as its container, so it stays in the host's namespace and calls the runtime through
nsenter.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

from vault.tmpfs.mount import (
    Mounted,
    current_mounts,
    enter_private_namespace,
    mounts_under,
    own_directory_state,
    return_to_namespace,
    unmount,
)

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
UNIFIED: Final = CGROUP_ROOT / "unified"
_local = threading.local()


class Hierarchy(Enum):
    """How the host's cgroups are mounted."""

    V1 = "v1"
    HYBRID = "hybrid"
    V2 = "v2"


def hierarchy_of(mounts: Iterable[Mounted]) -> Hierarchy:
    """Return how a host with these mounts has its cgroups.  Pure."""
    types = {each.point: each.fstype for each in mounts}
    if types.get(CGROUP_ROOT) == "cgroup2":
        return Hierarchy.V2
    return Hierarchy.HYBRID if types.get(UNIFIED) == "cgroup2" else Hierarchy.V1


def find_hierarchy() -> Hierarchy:
    """Look at the mounts of this host."""
    return hierarchy_of(current_mounts())


@contextmanager
def inside_namespace(hidden: Path | None = None) -> Iterator[None]:
    """Put the calling thread, and what it starts, into a fresh namespace without the v2 hierarchy; for short calls.

    hidden: nothing mounted below it stays in the namespace, for processes that may live long after the block.
    Only in threads of ours, never in the event loop's.
    """
    host = _host_namespace()
    enter_private_namespace()
    try:
        unmount(UNIFIED)
        if hidden is not None:
            for each in reversed(mounts_under(hidden)):
                unmount(each.point)
        yield
    finally:
        return_to_namespace(host)


@contextmanager
def named_namespace() -> Iterator[str]:
    """Make such a namespace, stay outside, and yield the path by which nsenter finds it until the block ends."""
    with inside_namespace():
        fd = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"/proc/{os.getpid()}/fd/{fd}"
    finally:
        os.close(fd)


def _host_namespace() -> int:
    """Return a descriptor of the host's namespace, opened once in each thread, before it first leaves."""
    if not hasattr(_local, "host"):
        own_directory_state()
        _local.host = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    host: int = _local.host
    return host

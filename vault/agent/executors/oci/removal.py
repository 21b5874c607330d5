"""The end of a task: its memory files first, then its cgroup, its mounts, and at last everything on disk.

Blocking; from threads only; every function may be called again after it failed half way.  Called by `executor`.
"""

import os
import signal
import time
from collections.abc import Collection
from typing import Final

from vault.agent.executors.oci.cgroup import processes_of, remove_cgroup
from vault.agent.executors.oci.paths import Roots, TaskPaths
from vault.agent.executors.oci.record import Process, Record, open_process, read_record
from vault.agent.executors.oci.rootfs import remove_tree
from vault.agent.executors.oci.runtime import Runtime
from vault.agent.volumes import VolumeStore
from vault.model.errors import VaultError
from vault.model.ids import TaskID, is_id
from vault.tmpfs.mount import mounts_under, unmount_all

KILL_TIMEOUT_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.01


class StillRunning(VaultError):
    """A killed process of a container does not go, as a rule because it waits for a device."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"the processes of task {task_id} do not end: look for a hanging disk or network mount")


def forget_values(paths: TaskPaths) -> None:
    """Unmount the secrets and configs of an ended container; their memory is free at once."""
    unmount_all(paths.secrets)


def end_container(runtime: Runtime, paths: TaskPaths) -> None:
    """Kill what still runs, and remove cgroup, runtime state and root mount of a container."""
    kill_all(runtime, paths)
    unmount_all(paths.rootfs)
    remove_tree(paths.runtime_state)


def kill_all(runtime: Runtime, paths: TaskPaths) -> None:
    """KILL every process in the task's cgroup until it can be deleted.  Raises `StillRunning`."""
    until = time.monotonic() + KILL_TIMEOUT_S
    while not remove_cgroup(runtime.hierarchy, paths.cgroup):
        if time.monotonic() > until:
            raise StillRunning(paths.task_id)
        for pid in processes_of(runtime.hierarchy, paths.cgroup):
            # The cgroup is the task's own, so whatever is in it may be killed.
            kill(pid)
        time.sleep(_LOOK_AGAIN_S)


def kill(pid: int) -> None:
    """Send KILL; a process that has gone is no error."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def end_process(process: Process | None) -> None:
    """Kill a process of ours and wait until it has gone; one that has is no error."""
    pidfd = open_process(process)
    if pidfd is None:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def remove_all(runtime: Runtime, paths: TaskPaths, volumes: VolumeStore) -> None:
    """Remove every trace of a task, whatever state it is in."""
    record = read_record(paths)
    kill_all(runtime, paths)
    if record is not None:
        end_process(record.conmon)
    for mounted in reversed(mounts_under(paths.run)):
        unmount_all(mounted.point)
    remove_tree(paths.runtime_state)
    if record is not None:
        release_volumes(record, volumes)
    # The record goes with the directory, so this comes last but for the layer, which nothing else speaks of.
    remove_tree(paths.data)
    remove_tree(paths.run)


def release_volumes(record: Record, volumes: VolumeStore) -> None:
    """Let go of a task's volumes, and remove those that were made for it alone."""
    volumes.release(record.volumes, record.task_id)
    for name in record.anonymous_volumes:
        volumes.remove(name, force=True)


def found_on_disk(roots: Roots) -> set[TaskID]:
    """Return the tasks that have files here."""
    return {
        TaskID(entry.name)
        for directory in (roots.run_tasks, roots.data_tasks)
        if directory.is_dir()
        for entry in directory.iterdir()
        if is_id(entry.name)
    }


def unmount_unknown(roots: Roots, known: Collection[TaskID]) -> None:
    """Unmount what is mounted among the tasks' files and belongs to no known task, innermost first."""
    for mounted in reversed(mounts_under(roots.run_tasks)):
        owner = mounted.point.relative_to(roots.run_tasks).parts[:1]
        if owner and owner[0] not in known:
            unmount_all(mounted.point)

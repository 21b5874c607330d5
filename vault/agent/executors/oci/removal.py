"""The end of a task: its memory files first, then its cgroup, its mounts, and at last everything on disk.

Blocking; from threads only; every function may be called again after it failed half way.  Called by `executor`.
"""

import os
import select
import signal
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from vault.agent.executors.oci.cgroup import processes_of, remove_cgroup
from vault.agent.executors.oci.conmon import send_signal
from vault.agent.executors.oci.paths import Roots, TaskPaths
from vault.agent.executors.oci.record import Record, open_process, read_record
from vault.agent.executors.oci.rootfs import remove_tree
from vault.agent.executors.oci.runtime import Runtime
from vault.agent.volumes import VolumeStore
from vault.model.errors import VaultError
from vault.model.ids import TaskID, is_id
from vault.tmpfs.mount import mounts_under, unmount_all

KILL_TIMEOUT_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.01
_LAUNCHERS: Final = ("conmon", "nsenter", "crun", "runc")


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
    unmount_images(paths)
    remove_tree(paths.runtime_state)


def unmount_images(paths: TaskPaths) -> None:
    """Unmount the task's own image, and those it has mounted."""
    unmount_all(paths.rootfs)
    for place in paths.mounted_images():
        unmount_all(place)


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


def end_supervisor(paths: TaskPaths, record: Record | None) -> None:
    """Kill conmon, and a runtime that is still creating the container.  Raises `StillRunning`."""
    pidfd = open_process(record.conmon) if record is not None else None
    if pidfd is not None:
        try:
            send_signal(pidfd, signal.SIGKILL)
            if not select.select([pidfd], [], [], KILL_TIMEOUT_S)[0]:
                raise StillRunning(paths.task_id)
        finally:
            os.close(pidfd)
    if record is None or record.conmon is None:
        _end_launch(paths)


def _end_launch(paths: TaskPaths) -> None:
    """Kill what a vaultd that died amid a start set going; the pids were not noted yet."""
    until = time.monotonic() + KILL_TIMEOUT_S
    while pids := [int(entry.name) for entry in Path("/proc").iterdir() if _launches(entry, paths)]:
        if time.monotonic() > until:
            raise StillRunning(paths.task_id)
        for pid in pids:
            kill(pid)
        time.sleep(_LOOK_AGAIN_S)


def _launches(process: Path, paths: TaskPaths) -> bool:
    """Return whether a process is a supervisor or runtime at work on this very bundle."""
    if not process.name.isdecimal():
        return False
    try:
        name, command = (process / "comm").read_text().strip(), (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return name in _LAUNCHERS and {os.fsencode(paths.run), paths.container_id.encode()} <= set(command)


def remove_all(runtime: Runtime, paths: TaskPaths, volumes: VolumeStore) -> None:
    """Remove every trace of a task, whatever state it is in."""
    if not paths.run.exists() and not paths.data.exists():
        return
    record = read_record(paths)
    if record is None or (record.launching and not record.ended):
        kill_all(runtime, paths)
        end_supervisor(paths, record)
        kill_all(runtime, paths)
        remove_tree(paths.runtime_state)
    unmount_all(paths.secrets)
    unmount_images(paths)
    if record is not None:
        release_volumes(record, volumes)
    remove_tree(paths.data)
    remove_tree(paths.run)  # The record is in here, so this comes last.


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

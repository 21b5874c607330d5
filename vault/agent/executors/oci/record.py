"""What the next vaultd must know of a task, in a file beside its bundle, and whether its processes still live.

A format of our own: JSON with a version first.  Called by `executor`, `prepare` and `removal`; blocking reads of /proc.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from vault.agent.executors.oci.paths import TaskPaths
from vault.model.task import Task

FORMAT: Final = 1
_MAX_BYTES: Final = 1 << 20


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process that cannot be mistaken for a later one with its pid."""

    pid: int
    started: int  # Clock ticks since boot.  Source: proc(5), field 22 of stat.


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A task on this node."""

    format: int = FORMAT
    boot_id: str
    task_id: str
    container_id: str
    name: str
    program: str  # What runs in it, without its arguments.
    stop_signal: str
    stop_grace_s: float
    tty: bool = False
    open_stdin: bool = False
    seccomp_key: str = ""  # As in `seccomp.Confinement`.
    seccomp_digest: str = ""
    log_max_bytes: int = 0
    log_files: int = 1
    log_compress: bool = False
    log_readable: bool = True
    log_driver: str = ""
    log_options: dict[str, str] = msgspec.field(default_factory=dict)
    log_tag: str = ""
    log_details: dict[str, str] = msgspec.field(default_factory=dict)  # What a reader sees beside each line.
    log_fields: dict[str, str] = msgspec.field(default_factory=dict)  # What goes with each line to a log server.
    volumes: tuple[str, ...] = ()  # Used by the task.
    anonymous_volumes: tuple[str, ...] = ()  # Go with the task.
    launching: bool = False  # The runtime was told to create the container; whether it did is not known.
    started_at: float = 0.0  # Seconds since 1970; 0 = not started.
    container: Process | None = None
    conmon: Process | None = None
    ended: bool = False  # Its mounts and cgroup are gone.


def boot_id() -> str:
    """Return the kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def write_record(paths: TaskPaths, record: Record) -> None:
    """Replace the record in one step.  Not synced: after a reboot nothing that it speaks of is left."""
    fresh = paths.record.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(record))
    fresh.replace(paths.record)


def read_record(paths: TaskPaths) -> Record | None:
    """Return the record; None when there is none that this version reads."""
    try:
        with paths.record.open("rb") as file:
            record = msgspec.json.decode(file.read(_MAX_BYTES), type=Record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record if record.format == FORMAT and record.task_id == paths.task_id else None


def write_task(paths: TaskPaths, task: Task) -> None:
    """Keep a task as it is, so that the next vaultd can show it before a manager speaks of it."""
    paths.told.write_bytes(msgspec.json.encode(task))


def read_task(paths: TaskPaths) -> Task | None:
    """Return a task as it was kept; None when there is none that this version reads."""
    try:
        with paths.told.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_BYTES), type=Task)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def identify(pid: int) -> Process | None:
    """Return a process by its pid; None when there is none, or only what its parent has not fetched."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may hold blanks and brackets, so count from its end.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else Process(pid=pid, started=int(fields[19]))


def open_process(process: Process | None) -> int | None:
    """Return a descriptor of the very process; None when it has gone."""
    if process is None:
        return None
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if identify(process.pid) != process:
        os.close(pidfd)
        return None
    return pidfd

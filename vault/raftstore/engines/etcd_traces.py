"""What a member leaves in its directory beside its data: its process, that it has served, and its log.

Blocking.  Called by `vault.raftstore.engines.etcd_process`.
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
from pathlib import Path
from typing import Final

from vault.model.errors import StoreDamaged, Unavailable
from vault.raftstore.engines.etcd_settings import DATA

PROCESS_FILE: Final = "process"  # "PID START": the latter in clock ticks after boot, which tells one pid from the next.
SERVED_FILE: Final = "served"
LOG_FILE: Final = "log"
MAX_LOG_BYTES: Final = 4 * 1024 * 1024
REMOVED: Final = "permanently removed"  # What a member says that is no member any more.
END_LIMIT_S: Final = 3.0
_DAMAGE: Final = re.compile(
    r"corrupt|truncated|crc mismatch|checksum error|out of range \[lastIndex|invalid database|page \d+|unexpected EOF"
    r"|proto: |fault address|failed to (?:read|repair) WAL|failed to recover|database file is missing|version mismatch"
    r"|inconsistent|panic: runtime error",  # bbolt does not expect what it reads.
    re.IGNORECASE,
)
_CRASH: Final = ("unexpected fault address", "panic: ", "fatal error: ")  # What a Go program says by itself.
_BEGIN: Final = "---- started\n"
_TAIL_BYTES: Final = 32 * 1024
_SHOWN_CHARACTERS: Final = 300


def write_down(directory: Path, pid: int) -> None:
    """Note the process that works in a directory."""
    (directory / PROCESS_FILE).write_text(f"{pid} {_started(pid)}\n")


def end_former(directory: Path) -> None:
    """End the process that was noted, if it still runs: it may have outlived the vaultd that started it."""
    try:
        pid_text, started = (directory / PROCESS_FILE).read_text().split()
        pid = int(pid_text)
        process = os.pidfd_open(pid)
    except (OSError, ValueError):
        return
    try:
        if _started(pid) != started:
            return  # Another process has the number now.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
            if _has_ended(process):
                return
    finally:
        os.close(process)
    raise Unavailable(f"an etcd of an earlier vaultd (process {pid}) does not end: end it, and try again")


def check_data(directory: Path) -> None:
    """Raise `StoreDamaged` if a member that has served has lost its data: it must not come back as an empty one."""
    if (directory / SERVED_FILE).exists() and not (directory / DATA / "member").is_dir():
        raise StoreDamaged(f"{directory / DATA} is missing: remove this manager from the swarm, and join anew")


def note_served(directory: Path) -> None:
    """Note that the member has served, so that from here on its data must be there."""
    (directory / SERVED_FILE).touch(mode=0o600)


def open_log(directory: Path) -> int:
    """Return a descriptor to which the member may write its log."""
    log = os.open(directory / LOG_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(log, _BEGIN.encode())
    return log


def bound_log(directory: Path) -> None:
    """Put a log aside that is too long, in the place of the one before; the member goes on writing to the same file."""
    path = directory / LOG_FILE
    with contextlib.suppress(OSError):
        if path.stat().st_size > MAX_LOG_BYTES:
            shutil.copyfile(path, directory / f"{LOG_FILE}.1")
            os.truncate(path, 0)


def last_words(directory: Path) -> str:
    """Return the last serious line of the log since the member was started, in short; of several, that of a removal."""
    try:
        with open(directory / LOG_FILE, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").rpartition(_BEGIN)[2].splitlines()
    except OSError:
        return ""
    entries = [entry for line in lines if (entry := _entry(line))]
    texts = [text for _, text in entries]
    deadly = [text for level, text in entries if level in ("panic", "fatal")]  # With the reason, which Go leaves out.
    crash = [line for line in lines if line.startswith(_CRASH)][:1]
    errors = [text for level, text in entries if level == "error"]
    removal = [text for text in texts if REMOVED in text]
    return (removal or deadly or crash or errors or texts or lines or [""])[-1][:_SHOWN_CHARACTERS]


def tells_of_damage(words: str) -> bool:
    """Return whether a member's last words are about its own data, which no other start will mend.  Pure.

    Source of the words: etcd 3.4, packages wal, snap, mvcc and raft, and bbolt.
    """
    return _DAMAGE.search(words) is not None


def _entry(line: str) -> tuple[str, str] | None:
    """Return the level and the text of a line of the log."""
    try:
        entry = json.loads(line)
        text = str(entry["msg"]) + (f": {entry['error']}" if "error" in entry else "")
        return str(entry["level"]), text
    except (ValueError, KeyError, TypeError):
        return None


def _started(pid: int) -> str:
    """Return when a process started, "" if there is none.  Source: proc(5), `/proc/[pid]/stat`, field 22."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def _has_ended(process: int) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(END_LIMIT_S * 1000))

"""conmon: the small process beside each container that keeps its output and exit code while vaultd comes and goes.

Blocking; from threads only.  `launch` starts it and returns once the runtime has created the container.
Called by `executor`.
"""

import os
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.executors.oci.record import Record
from vault.agent.executors.oci.runtime import CLEAN_ENV, NoRuntime, Runtime, RuntimeFailed, explain

CREATE_TIMEOUT_S: Final = 120
_ANSWER_MAX_BYTES: Final = 1 << 20
_REOPEN_LOG: Final = b"2 0 0\n"


class Answer(msgspec.Struct):
    """What conmon says on its sync pipe: the pid, or -1 and why not."""

    data: int = 0
    pid: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """The processes of a container that is created and not yet started."""

    container_pid: int
    conmon_pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conmon:
    """conmon on this host."""

    program: str

    @classmethod
    def find(cls) -> "Conmon":
        """Raises `NoRuntime`."""
        program = shutil.which("conmon", path=CLEAN_ENV["PATH"])
        if program is None:
            raise NoRuntime("conmon")
        return cls(program=program)

    def launch(self, runtime: Runtime, paths: TaskPaths, record: Record, *, log_max_bytes: int) -> Launched:
        """Create the container of a finished bundle.  Raises `RuntimeFailed` with the runtime's reason."""
        with runtime.for_conmon() as (program, options):
            arguments = self._arguments(paths, record, program, options, log_max_bytes=log_max_bytes)
            answer, complaint = _talk(arguments, paths.run)
        pid = answer.pid or answer.data
        if pid <= 0:
            raise RuntimeFailed("create", explain(answer.message or complaint, record.program))
        return Launched(container_pid=pid, conmon_pid=int(paths.conmon_pid_file.read_text()))

    def _arguments(
        self, paths: TaskPaths, record: Record, program: str, options: tuple[str, ...], *, log_max_bytes: int
    ) -> list[str]:
        named = {
            "--api-version": "1",
            "--cid": paths.container_id,
            "--cuuid": paths.container_id,
            "--name": paths.task_id,
            "--runtime": program,
            "--bundle": str(paths.run),
            "--container-pidfile": str(paths.pid_file),
            "--conmon-pidfile": str(paths.conmon_pid_file),
            "--log-path": "none" if record.log_driver == "none" else f"k8s-file:{paths.log}",
            "--log-size-max": str(log_max_bytes),
            "--exit-dir": str(paths.exits),
            "--persist-dir": str(paths.run),
        }
        arguments = [self.program, *(part for pair in named.items() for part in pair), "--full-attach", "--no-sync-log"]
        arguments += [f"--runtime-arg={option}" for option in options]
        if record.tty:
            return [*arguments, "--terminal"]
        # Without a terminal, a program that reads waits for ever instead of finding the end at once.
        return [*arguments, "--stdin", "--leave-stdin-open"] if record.open_stdin else arguments


def _talk(arguments: list[str], directory: Path) -> tuple[Answer, str]:
    """Start conmon, wait for its answer; return it, and what conmon complained about.

    directory: where it works.  It writes its `oom` marker there too.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    complaint = os.memfd_create("conmon", os.MFD_CLOEXEC)
    try:
        try:
            process = subprocess.Popen(
                arguments,
                env={**CLEAN_ENV, "_OCI_SYNCPIPE": str(theirs)},
                pass_fds=(theirs,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaint,
                start_new_session=True,
                cwd=directory,
            )
        finally:
            os.close(theirs)
        line = _read_line(ours, time.monotonic() + CREATE_TIMEOUT_S)
        if line is None:
            process.kill()
        process.wait(timeout=CREATE_TIMEOUT_S)  # It forks at once and goes; the child stays.
        answer = msgspec.json.decode(line, type=Answer) if line else Answer()
        return answer, os.pread(complaint, _ANSWER_MAX_BYTES, 0).decode(errors="replace")
    except msgspec.DecodeError as error:
        raise RuntimeFailed("create", "conmon gave an answer that cannot be read") from error
    finally:
        os.close(ours)
        os.close(complaint)


def _read_line(fd: int, until_s: float) -> bytes | None:
    """Read up to a newline or the end; None when the time is over."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    line = b""
    while b"\n" not in line and len(line) < _ANSWER_MAX_BYTES:
        if not poll.poll(max(0, int((until_s - time.monotonic()) * 1000))):
            return None
        chunk = os.read(fd, 65536)
        if not chunk:
            break
        line += chunk
    return line.partition(b"\n")[0]


def reopen_log(paths: TaskPaths) -> None:
    """Tell conmon to open its log file anew, after the old one was moved away."""
    try:
        fd = os.open(paths.control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # conmon has gone.
        return
    try:
        os.write(fd, _REOPEN_LOG)
    finally:
        os.close(fd)


def exit_code(exit_file: Path) -> int | None:
    """Return the code conmon noted; None when it has not."""
    try:
        return int(exit_file.read_text().strip())
    except (FileNotFoundError, ValueError):
        return None


def send_signal(pidfd: int, number: int) -> bool:
    """Signal a process by descriptor; False when it has gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True

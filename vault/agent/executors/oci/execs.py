"""Beginning a command in a container that is there already.

`exec_process` is pure; `begin` blocks and runs in a thread.  Called by `executor`; `session` goes on from here.
"""

import itertools
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from vault.agent.executors.oci import terminal
from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.executors.oci.process import Identity, identity_of, merge_env
from vault.agent.executors.oci.rootfs import read_accounts
from vault.agent.executors.oci.runtime import Runtime
from vault.agent.executors.port import ExecSpec, TaskRejected
from vault.model.errors import BadRequest

_numbers = itertools.count(1)


def exec_process(container: Mapping[str, Any], spec: ExecSpec, user: Identity | None, every: tuple[str, ...]) -> Any:
    """Return the OCI process of a command: the container's own, changed as asked.

    container: `process` of the container's configuration.  user: None = the container's.  every: the capabilities of
    a privileged command.
    """
    process = dict(container)
    process["terminal"] = spec.tty
    process["args"] = list(spec.args)
    process["env"] = list(merge_env(container["env"], ["TERM=xterm"] if spec.tty else [], spec.env))
    process["cwd"] = spec.working_dir or container["cwd"]
    if user is not None:
        process["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}
    bounding = list(every) if spec.privileged else container["capabilities"]["bounding"]
    held = bounding if process["user"]["uid"] == 0 else []
    process["capabilities"] = {"bounding": bounding, "effective": held, "permitted": held}
    if spec.tty and spec.rows and spec.columns:
        process["consoleSize"] = {"height": spec.rows, "width": spec.columns}
    return process


@dataclass(slots=True, kw_only=True)
class Begun:
    """A command on its way, with our ends of its streams."""

    program: str  # What was to be run, for messages.
    process: subprocess.Popen[bytes]
    pidfd: int
    complaint: int  # What the runtime has to say, apart from the command's own output.
    pid_file: Path
    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    master: int | None = None


def begin(
    runtime: Runtime, paths: TaskPaths, spec: ExecSpec, every: tuple[str, ...], pid_file: Path | None = None
) -> Begun:
    """Start a command.  Raises `BadRequest` for a user the container does not know.

    pid_file: where the runtime notes its pid; None for one that nobody else looks at.  It is gone after the command.
    """
    if not spec.args or not spec.args[0]:
        raise BadRequest("No exec command specified")
    if spec.working_dir and not spec.working_dir.startswith("/"):
        raise BadRequest(f"Cwd must be an absolute path: {spec.working_dir}")
    container = msgspec.json.decode(paths.config.read_bytes())["process"]
    try:
        user = identity_of(spec.user, read_accounts(paths.rootfs)) if spec.user else None
    except TaskRejected as unknown:
        raise BadRequest(unknown.message) from unknown
    description = os.memfd_create("process", os.MFD_CLOEXEC)
    try:
        os.write(description, msgspec.json.encode(exec_process(container, spec, user, every)))
        os.lseek(description, 0, os.SEEK_SET)
        return _begin(runtime, paths, spec, description, pid_file)
    finally:
        os.close(description)


def _begin(runtime: Runtime, paths: TaskPaths, spec: ExecSpec, description: int, pid_file: Path | None) -> Begun:
    number = next(_numbers)
    complaint = os.memfd_create("complaint", os.MFD_CLOEXEC)
    pid_file = pid_file or paths.run / f"exec-{number}.pid"
    options = [f"--log=/proc/self/fd/{complaint}", "--log-format=json"]
    arguments = [f"--process=/proc/self/fd/{description}", f"--pid-file={pid_file}"]
    console = None
    if spec.tty and runtime.hands_over_terminals:
        console = terminal.ConsoleSocket(paths.run, f"exec-{number}.sock")
        arguments += ["--tty", f"--console-socket={console.path}"]
    elif spec.tty:
        arguments.append("--tty")
    ends = _make_ends(spec, handed_over=console is not None)
    try:
        process = runtime.spawn(
            options, "exec", [*arguments, paths.container_id], pass_fds=(description, complaint), **ends.theirs
        )
        begun = Begun(
            program=spec.args[0],
            process=process,
            pidfd=os.pidfd_open(process.pid),
            complaint=complaint,
            pid_file=pid_file,
            **ends.ours,
        )
        if console is not None:
            begun.master = console.receive(process)
        if begun.master is not None and spec.rows and spec.columns:
            terminal.resize(begun.master, spec.rows, spec.columns)
        return begun
    except BaseException:  # Whatever it is, nobody else has the descriptors to close.
        for fd in (complaint, *ends.open_ours()):
            os.close(fd)
        raise
    finally:
        for fd in ends.open_theirs():
            os.close(fd)
        if console is not None:
            console.close()


class _Ours(TypedDict):
    stdin: int | None
    stdout: int | None
    stderr: int | None
    master: int | None


class _Theirs(TypedDict):
    stdin: int
    stdout: int
    stderr: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """Both ends of a command's streams; ours do not block."""

    ours: _Ours
    theirs: _Theirs

    def open_ours(self) -> list[int]:
        """The descriptors to close when the command did not start."""
        ours = self.ours
        return [fd for fd in (ours["stdin"], ours["stdout"], ours["stderr"], ours["master"]) if fd is not None]

    def open_theirs(self) -> set[int]:
        """The descriptors to close once it did; a terminal's is there three times."""
        return {fd for fd in (self.theirs["stdin"], self.theirs["stdout"], self.theirs["stderr"]) if fd >= 0}


def _make_ends(spec: ExecSpec, *, handed_over: bool) -> _Ends:
    """Open the streams of a command: pipes, or a terminal, or nothing when the runtime hands the terminal over."""
    ours = _Ours(stdin=None, stdout=None, stderr=None, master=None)
    theirs = _Theirs(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if handed_over:
        return _Ends(ours=ours, theirs=theirs)
    if spec.tty:
        ours["master"], slave = os.openpty()
        theirs = _Theirs(stdin=slave, stdout=slave, stderr=slave)
    else:
        ours["stdout"], theirs["stdout"] = os.pipe2(os.O_CLOEXEC)
        ours["stderr"], theirs["stderr"] = os.pipe2(os.O_CLOEXEC)
        if spec.stdin:
            theirs["stdin"], ours["stdin"] = os.pipe2(os.O_CLOEXEC)
    ends = _Ends(ours=ours, theirs=theirs)
    for fd in ends.open_ours():
        os.set_blocking(fd, False)
    return ends

"""Commands run in a container that is there already.

`exec_process` is pure; `begin` blocks and runs in a thread; `Session` lives in the event loop.  Called by `executor`.
"""

import asyncio
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from vault.agent.executors.oci import terminal
from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.executors.oci.process import Identity, identity_of, merge_env
from vault.agent.executors.oci.rootfs import read_accounts
from vault.agent.executors.oci.runtime import Runtime, explain
from vault.agent.executors.oci.stopping import signal_number
from vault.agent.executors.oci.streams import read_some, until_exit, write_all
from vault.agent.executors.port import Channel, ExecSpec, TaskRejected
from vault.model.errors import BadRequest

NOT_FOUND, NOT_RUNNABLE = 127, 126
_AFTER_EXIT_S: Final = 0.5  # For output of a command whose children keep its streams open.
_RUNTIME_SAYS: Final = (b"executable file `", b"open executable:", b"exec ", b"error executing")
_COMPLAINT_MAX_BYTES: Final = 1 << 16
_SIGNAL_TRIES: Final = 50
_SIGNAL_AGAIN_S: Final = 0.02
_QUEUE: Final = 8  # Chunks of 64 KiB.
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


def begin(runtime: Runtime, paths: TaskPaths, spec: ExecSpec, every: tuple[str, ...]) -> Begun:
    """Start a command.  Raises `BadRequest` for a user the container does not know."""
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
        return _begin(runtime, paths, spec, description)
    finally:
        os.close(description)


def _begin(runtime: Runtime, paths: TaskPaths, spec: ExecSpec, description: int) -> Begun:
    number = next(_numbers)
    complaint = os.memfd_create("complaint", os.MFD_CLOEXEC)
    pid_file = paths.run / f"exec-{number}.pid"
    log = f"--log=file:/proc/self/fd/{complaint}"
    arguments = [f"--process=/proc/self/fd/{description}", f"--pid-file={pid_file}"]
    console = terminal.ConsoleSocket(paths.run, f"exec-{number}.sock") if spec.tty else None
    theirs: dict[str, int] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    ours: dict[str, int] = {}
    if console is not None:
        arguments += ["--tty", f"--console-socket={console.path}"]
    else:
        for name in ("stdout", "stderr", *(["stdin"] if spec.stdin else [])):
            read, write = os.pipe2(os.O_CLOEXEC)
            ours[name], theirs[name] = (write, read) if name == "stdin" else (read, write)
            os.set_blocking(ours[name], False)
    try:
        process = runtime.spawn(
            [log], "exec", [*arguments, paths.container_id], pass_fds=(description, complaint), **theirs
        )
        begun = Begun(
            program=spec.args[0],
            process=process,
            pidfd=os.pidfd_open(process.pid),
            complaint=complaint,
            pid_file=pid_file,
            stdin=ours.get("stdin"),
            stdout=ours.get("stdout"),
            stderr=ours.get("stderr"),
        )
        if console is not None:
            begun.master = console.receive(process)
            if begun.master is not None and spec.rows and spec.columns:
                terminal.resize(begun.master, spec.rows, spec.columns)
        return begun
    except BaseException:
        for fd in (complaint, *ours.values()):
            os.close(fd)
        raise
    finally:
        for fd in theirs.values():
            if fd >= 0:
                os.close(fd)
        if console is not None:
            console.close()


class Session:
    """`ExecSession` of one command."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self._closed = False
        self._ended = asyncio.ensure_future(self._wait())
        self._queue: asyncio.Queue[tuple[Channel, bytes]] = asyncio.Queue(_QUEUE)
        self._sources = self._open_sources()
        self._pumps = [asyncio.ensure_future(self._pump(*source)) for source in self._sources]

    def _open_sources(self) -> list[tuple[Channel, int]]:
        begun = self._begun
        pairs = [(Channel.OUT, begun.master), (Channel.OUT, begun.stdout), (Channel.ERR, begun.stderr)]
        return [(channel, fd) for channel, fd in pairs if fd is not None]

    async def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Yield what the command prints, until its streams end or it has ended and says no more."""
        open_streams = len(self._pumps)
        while open_streams:
            item = await self._next()
            if item is None:
                break
            if not item[1]:
                open_streams -= 1
            elif not await self._is_complaint(item[1]):
                yield item
        await self._ended
        if complaint := self._complaint():
            text = f"OCI runtime exec failed: exec failed: unable to start container process: {complaint}\n"
            yield Channel.ERR if self._begun.master is None else Channel.OUT, text.encode()

    async def _is_complaint(self, data: bytes) -> bool:
        """Return whether the runtime printed this, not the command; it is then given in Docker's words."""
        if not data.startswith(_RUNTIME_SAYS):
            return False
        await asyncio.wait({self._ended}, timeout=_AFTER_EXIT_S)  # The runtime notes it a moment after it prints it.
        return bool(self._complaint())

    async def _next(self) -> tuple[Channel, bytes] | None:
        """Return the next chunk; None when the command has ended and its streams stay silent."""
        waiting = asyncio.ensure_future(self._queue.get())
        try:
            await asyncio.wait({waiting, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                await asyncio.wait({waiting}, timeout=_AFTER_EXIT_S)
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()

    async def _pump(self, channel: Channel, fd: int) -> None:
        while data := await read_some(fd):
            await self._queue.put((channel, data))
        await self._queue.put((channel, b""))

    async def write(self, data: bytes) -> None:
        """Send input; dropped after its end, or when the command reads no more."""
        target = self._begun.master if self._begun.master is not None else self._begun.stdin
        if target is not None and data and not await write_all(target, data):
            await self.close_stdin()

    async def close_stdin(self) -> None:
        """End the input; a terminal gets ^D."""
        if self._begun.stdin is not None:
            os.close(self._begun.stdin)
            self._begun.stdin = None
        elif self._begun.master is not None:
            await write_all(self._begun.master, b"\x04")

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal; without one, nothing happens."""
        if self._begun.master is not None:
            terminal.resize(self._begun.master, rows, columns)

    def signal(self, name: str) -> None:
        """Signal the command; one that has ended is no error.  Raises `BadRequest` for an unknown name."""
        self._send(signal_number(name), _SIGNAL_TRIES)

    def _send(self, number: int, tries: int) -> None:
        """Signal the command; the runtime may print its first output before it notes its pid, so try again."""
        if self._ended.done() or not tries:
            return
        try:
            os.kill(int(self._begun.pid_file.read_text()), number)
        except (FileNotFoundError, ValueError):
            asyncio.get_running_loop().call_later(_SIGNAL_AGAIN_S, self._send, number, tries - 1)
        except ProcessLookupError:
            return

    async def wait(self) -> int:
        """Return the exit code."""
        return await asyncio.shield(self._ended)

    def close(self) -> None:
        """Let go of the streams; the command learns it by SIGHUP (terminal) or SIGPIPE, and is waited for."""
        if self._closed:
            return
        self._closed = True
        for pump in self._pumps:
            pump.cancel()
        begun = self._begun
        for fd in (begun.stdin, begun.stdout, begun.stderr, begun.master):
            if fd is not None:
                # After the cancelled pumps have let go of it.
                asyncio.get_running_loop().call_soon(os.close, fd)
        begun.stdin = begun.stdout = begun.stderr = begun.master = None

    async def _wait(self) -> int:
        begun = self._begun
        try:
            await until_exit(begun.pidfd)
        finally:
            os.close(begun.pidfd)
            begun.pid_file.unlink(missing_ok=True)
        code = begun.process.wait()
        if complaint := self._complaint():
            return NOT_FOUND if "not found" in complaint or "no such file" in complaint else NOT_RUNNABLE
        return code if code >= 0 else 128 - code

    def _complaint(self) -> str:
        """Return why the runtime could not run the command; empty when it could."""
        text = os.pread(self._begun.complaint, _COMPLAINT_MAX_BYTES, 0).decode(errors="replace")
        return explain(text, self._begun.program) if text.strip() else ""

"""Health probes: commands in a container that are given so much time, and killed with all that they started after it.

One at a time for each container.  Called by `executor`; `Probes` lives in the event loop, the rest blocks and runs in
threads.  While a probe runs there is a file with its pid, so that the next vaultd can end what this one leaves behind.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vault.agent.executors.oci import execs
from vault.agent.executors.oci.cgroup import processes_of
from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.executors.oci.removal import kill
from vault.agent.executors.oci.runtime import Runtime
from vault.agent.executors.oci.session import Session
from vault.agent.executors.oci.threads import Threads
from vault.agent.executors.port import ExecSpec, Probed
from vault.model.base import SECOND_NS
from vault.model.durations import go_duration

OUTPUT_MAX_BYTES: Final = 4096  # Docker's.
FAILED: Final = -1
BEGIN_LIMIT_S: Final = 30.0  # For the runtime to set it going; that is not the probe's own time.
KILL_LIMIT_S: Final = 10.0
_LATE_S: Final = 1.0  # A process that slept for longer does not know how long its probes took.
_LOOK_AGAIN_S: Final = 0.05
_CLOCK_S: Final = 1.0  # By which times of processes and files may differ.
_ROUNDS: Final = 50  # Of killing; what is killed may be starting others.


class Probes:
    """The probes under way."""

    def __init__(self, runtime: Runtime, threads: Threads) -> None:
        self._runtime = runtime
        self._threads = threads
        self._jobs: dict[str, asyncio.Task[Probed]] = {}
        self._unwanted: dict[str, asyncio.Event] = {}
        self._stuck: dict[str, asyncio.Task[tuple[str, int]]] = {}  # Killed, and still there.

    async def run(self, paths: TaskPaths, command: Sequence[str], *, timeout_s: float) -> Probed:
        """Run one probe to its end.  When the caller is cancelled, the probe is killed without it."""
        while (other := self._jobs.get(paths.task_id)) is not None:
            await asyncio.wait({other})
        if paths.task_id in self._stuck:
            return Probed(
                exit_code=FAILED, output="the last probe does not end though it was killed: is a disk hanging?"
            )
        unwanted = self._unwanted[paths.task_id] = asyncio.Event()
        job = asyncio.create_task(self._run(paths, tuple(command), timeout_s, unwanted))
        self._jobs[paths.task_id] = job
        job.add_done_callback(lambda _: self._jobs.pop(paths.task_id, None))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            unwanted.set()
            raise

    async def close(self) -> None:
        """Kill every probe that is under way."""
        for unwanted in self._unwanted.values():
            unwanted.set()
        while self._jobs:
            await asyncio.wait(set(self._jobs.values()))
        for stuck in self._stuck.values():
            stuck.cancel()

    async def _run(
        self, paths: TaskPaths, command: tuple[str, ...], timeout_s: float, unwanted: asyncio.Event
    ) -> Probed:
        begun = await self._threads.run(_begin, self._runtime, paths, command)
        session = Session(begun)
        reading = asyncio.create_task(_read(session))
        in_time = False
        try:
            in_time = await _in_time(paths.probe_pid, reading, timeout_s, unwanted)
        finally:  # Whatever it is, the probe is not left running.
            if not in_time:
                await self._threads.run(kill_probe, self._runtime, paths, begun.process.pid)
        ending = asyncio.create_task(_end(session, reading))
        if in_time:
            output, code = await ending
            return (
                Probed(exit_code=FAILED, output=output.rstrip())
                if session.refused
                else Probed(exit_code=code, output=output)
            )
        late = f"Health check exceeded timeout ({go_duration(round(timeout_s * SECOND_NS))})"
        await asyncio.wait({ending}, timeout=KILL_LIMIT_S)
        if not ending.done():
            self._stuck[paths.task_id] = ending
            ending.add_done_callback(lambda _: self._stuck.pop(paths.task_id, None))
            return Probed(exit_code=FAILED, output=late)
        output, _ = ending.result()
        return Probed(exit_code=FAILED, output=f"{late}: {output}" if output else late)


def _begin(runtime: Runtime, paths: TaskPaths, command: tuple[str, ...]) -> execs.Begun:
    paths.probe_pid.touch()  # A vaultd that dies from here on leaves a sign.
    try:
        return execs.begin(runtime, paths, ExecSpec(args=command), (), paths.probe_pid)
    except BaseException:  # Nothing runs.
        paths.probe_pid.unlink(missing_ok=True)
        raise


async def _read(session: Session) -> str:
    """Return what a probe prints, cut off as Docker cuts it off; read to its end all the same."""
    kept, more = bytearray(), False
    async for _, data in session.output():
        room = OUTPUT_MAX_BYTES - len(kept)
        kept += data[:room]
        more = more or len(data) > room
    return kept.decode(errors="replace") + ("..." if more else "")


async def _end(session: Session, reading: "asyncio.Task[str]") -> tuple[str, int]:
    """Return what a probe printed, and its exit code, once it has ended."""
    try:
        return await reading, await session.wait()
    finally:
        session.close()


async def _in_time(pid_file: Path, ended: "asyncio.Task[str]", timeout_s: float, unwanted: asyncio.Event) -> bool:
    """Wait until a probe has ended; False when its time is over, or when nobody wants to know any more."""
    now_s = asyncio.get_running_loop().time
    giving_up = asyncio.create_task(unwanted.wait())
    begun_s, left_s, forgiven = now_s(), timeout_s, False
    try:
        while left_s > 0:
            until_s = now_s() + left_s
            await asyncio.wait({ended, giving_up}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() or unwanted.is_set():
                break
            if now_s() > until_s + _LATE_S and not forgiven:
                left_s, forgiven = timeout_s, True  # This process stood still, and the probe perhaps as well.
            else:
                left_s = _left_s(pid_file, timeout_s, now_s() - begun_s)
        return ended.done()
    finally:
        giving_up.cancel()


def _left_s(pid_file: Path, timeout_s: float, since_begin_s: float) -> float:
    """Return what is left of a probe's time, which counts from when the runtime has set it going."""
    try:
        status = pid_file.stat()
    except FileNotFoundError:  # It has just ended; its output is about to.
        return _LOOK_AGAIN_S if since_begin_s < timeout_s + BEGIN_LIMIT_S else 0.0
    if status.st_size == 0:
        return _LOOK_AGAIN_S if since_begin_s < BEGIN_LIMIT_S else 0.0
    return timeout_s - min(time.time() - status.st_mtime, since_begin_s)


def kill_probe(runtime: Runtime, paths: TaskPaths, runtime_pid: int) -> None:
    """Kill a probe and what it started; and the runtime's process, where that has not set it going yet."""
    if (pid := _pid_in(paths.probe_pid)) is None:
        kill(runtime_pid)
        pid = _pid_in(paths.probe_pid)
    if pid is not None:
        _kill_session_of(pid, runtime, paths)


def end_left_probe(runtime: Runtime, paths: TaskPaths) -> None:
    """Kill the probe that an earlier vaultd left running, if it did."""
    try:
        noted_at = paths.probe_pid.stat().st_mtime
    except FileNotFoundError:
        return
    setting_going = os.fsencode(f"--pid-file={paths.probe_pid}")
    if (pid := _pid_in(paths.probe_pid)) is None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and setting_going in _command_line(entry):
                kill_probe(runtime, paths, int(entry.name))
    elif (started_at := _started_at(pid)) is not None and started_at <= noted_at + _CLOCK_S:
        _kill_session_of(pid, runtime, paths)  # A later process with that number is somebody else.
    paths.probe_pid.unlink(missing_ok=True)


def _pid_in(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _kill_session_of(pid: int, runtime: Runtime, paths: TaskPaths) -> None:
    """Kill a command of the container, and what is in its session: the runtime makes one for each command."""
    session = _session_of(pid)
    for _ in range(_ROUNDS):
        here = list(processes_of(runtime.hierarchy, paths.cgroup))
        found = [one for one in here if session is not None and _session_of(one) == session]
        if not found:
            return
        for one in found:
            kill(one)
        time.sleep(_LOOK_AGAIN_S / 10)


def _session_of(pid: int) -> int | None:
    fields = _fields_of(pid)
    return int(fields[3]) if fields else None


def _started_at(pid: int) -> float | None:
    """Return when a process was started, in seconds since 1970."""
    fields = _fields_of(pid)
    if not fields:
        return None
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - up_s


def _fields_of(pid: int) -> list[str]:
    """Return /proc/PID/stat from field 3 on; empty when the process has ended.  Source: proc(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    fields = stat.rpartition(")")[2].split()
    return [] if fields[0] in "ZX" else fields


def _command_line(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []

"""Calls to the OCI runtime: crun, or runc where crun is missing.

Blocking; from threads only.  Called by `conmon`, `executor`, `execs` and `removal`.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from vault.agent.executors.oci.namespace import Hierarchy, find_hierarchy, inside_namespace, named_namespace
from vault.model.errors import VaultError

CALL_TIMEOUT_S: Final = 60
NSENTER: Final = "/usr/bin/nsenter"
_STAMP: Final = re.compile(r"^(?:\S*\d{2}:\d{2}:\d{2}\S*:?\s+)?(?:\[?error\]?:?\s+)?", re.IGNORECASE)
_NAMED: Final = re.compile(r'\bmsg="((?:[^"\\]|\\.)*)"')
# What runc puts before the reason, and says again in the next wrapping.
_WRAPPING: Final = re.compile(r"^(?:(?:runc (?:create|run) failed|exec failed|unable to start container process): )+")
# No more of vaultd's environment goes further: it may name sockets and files of vaultd.
CLEAN_ENV: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class _LogLine(msgspec.Struct):
    msg: str


class NoRuntime(VaultError):
    """A program the executor cannot do without is missing."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} is not installed: run `apt-get install crun conmon tini` on this node")


class RuntimeFailed(VaultError):
    """The runtime refused; the text is its own."""

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(f"the container runtime could not {action} the container: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One runtime, with its state directory."""

    program: str  # Absolute path of crun or runc.
    state: Path
    hierarchy: Hierarchy
    hidden: Path  # Mounts below it are kept out of long-lived private namespaces.

    @classmethod
    def find(cls, state: Path, *, hidden: Path) -> "Runtime":
        """Look for crun, then runc.  Raises `NoRuntime`."""
        program = shutil.which("crun", path=CLEAN_ENV["PATH"]) or shutil.which("runc", path=CLEAN_ENV["PATH"])
        if program is None:
            raise NoRuntime("crun")
        return cls(program=program, state=state, hierarchy=find_hierarchy(), hidden=hidden)

    @property
    def needs_namespace(self) -> bool:
        """Whether calls must not see the v2 hierarchy."""
        return self.hierarchy is Hierarchy.HYBRID and Path(self.program).name == "crun"

    @property
    def takes_filters(self) -> bool:
        """Whether a container's configuration may carry a compiled seccomp filter."""
        return Path(self.program).name == "crun"

    @property
    def hands_over_terminals(self) -> bool:
        """Whether a command's terminal comes over a socket; runc works at the terminal it is given instead."""
        return Path(self.program).name == "crun"

    @property
    def options(self) -> tuple[str, ...]:
        """What follows the program's name in every call."""
        return (f"--root={self.state}",)

    @contextmanager
    def for_conmon(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the program conmon is to run and what comes before the action; good until the block ends."""
        if not self.needs_namespace:
            yield self.program, self.options
            return
        with named_namespace() as namespace:
            yield NSENTER, (f"--mount={namespace}", "--", self.program, *self.options)

    def run(self, action: str, *arguments: str) -> str:
        """Call the runtime and return what it prints.  Raises `RuntimeFailed` with its reason."""
        with self._seen_from_here():
            try:
                done = subprocess.run(
                    [self.program, *self.options, action, *arguments],
                    env=CLEAN_ENV,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=CALL_TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as late:
                raise RuntimeFailed(action, f"no answer within {CALL_TIMEOUT_S} s") from late
        if done.returncode != 0:
            raise RuntimeFailed(action, explain(done.stderr.decode(errors="replace"), ""))
        return done.stdout.decode(errors="replace")

    def spawn(
        self,
        options: Sequence[str],
        action: str,
        arguments: Sequence[str],
        *,
        pass_fds: Sequence[int],
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> subprocess.Popen[bytes]:
        """Start a call that may last; what it sees holds no mount of any task."""
        with self._seen_from_here(self.hidden):
            return subprocess.Popen(
                [self.program, *self.options, *options, action, *arguments],
                env=CLEAN_ENV,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
                cwd="/",
            )

    def _seen_from_here(self, hidden: Path | None = None) -> AbstractContextManager[None]:
        return inside_namespace(hidden) if self.needs_namespace else nullcontext()


def explain(text: str, program: str) -> str:
    """Return what a runtime has to say of running `program`, in Docker's words where those are known.  Pure."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = _WRAPPING.sub("", _message(lines[-1])) if lines else "the runtime gave no reason"
    if "not found in $PATH" in reason or (program and program in reason and "no such file" in reason.lower()):
        missing = (
            f"stat {program}: no such file or directory" if "/" in program else "executable file not found in $PATH"
        )
        return f'exec: "{program}": {missing}'
    if "permission denied" in reason.lower() and ("executable" in reason or f'exec: "{program}"' in reason):
        return f'exec: "{program}": permission denied'
    return reason


def _message(line: str) -> str:
    """Take the message out of a line of log: JSON, runc's key=value, or crun's text behind a time stamp."""
    try:
        return msgspec.json.decode(line, type=_LogLine).msg
    except msgspec.MsgspecError:
        named = _NAMED.search(line)
        return named.group(1).replace('\\"', '"') if named else _STAMP.sub("", line)

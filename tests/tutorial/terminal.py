"""A person at a terminal: starts a command on a real pty, waits for its prompt, types a line, reads what comes."""

import os
import pty
import re
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

# Colours, and what shells say and ask of a terminal.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SHELL = r"[#$] \Z"


class Terminal:
    """One command on a pty; leaving the `with` ends it."""

    def __init__(self, words: list[str], env: Mapping[str, str], cwd: Path) -> None:
        self.shown = ""  # All of it, without escape sequences.
        self.read = 0  # How much of it `until` has taken.
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(words[0], words, dict(env))

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def until(self, pattern: str, *, timeout_s: float = 30) -> str:
        """Return what came since the last time, once its end matches."""
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.shown[self.read :]):
            assert self._more(deadline), f"{pattern!r} is not in what was shown: {self.shown!r}"
        found = self.shown[self.read :]
        self.read = len(self.shown)
        return found

    def type(self, line: str, prompt: str = SHELL, *, timeout_s: float = 30) -> str:
        """Type a line; return what comes after its echo, to the end of the next prompt, in plain lines."""
        os.write(self.fd, line.encode() + b"\r")
        echo = f"{re.escape(line)}\r\n"  # A shell may draw its prompt anew before it.
        shown = self.until(f"(?s){echo}.*(?:{prompt})", timeout_s=timeout_s)
        return re.split(echo, shown, maxsplit=1)[1].replace("\r", "")

    def end(self, line: str = "", *, timeout_s: float = 30) -> int:
        """Type a last line, if any, and return the exit code once the command has ended."""
        if line:
            os.write(self.fd, line.encode() + b"\r")
        deadline = time.monotonic() + timeout_s
        while self._more(deadline):
            continue
        pid, self.pid = self.pid, 0
        assert time.monotonic() < deadline, f"it has not ended: {self.shown!r}"
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _more(self, deadline: float) -> bool:
        """Read what there is; False once the terminal is closed, or time is up."""
        while time.monotonic() < deadline:
            if not select.select([self.fd], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(self.fd, 65_536)
            except OSError:  # EIO: the other side is closed.
                return False
            self.shown += _ESCAPES.sub("", data.decode(errors="replace"))
            return bool(data)
        return False

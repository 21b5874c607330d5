"""Types commands as a person would, shows what they print, and stops at the first that does not do what it says."""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

# A shell's prompt is the last that is shown, but for what it asks of a terminal, or clears on one that was resized.
PROMPT = r"[#$] (\x1b\[[0-9;?]*[A-Za-z])*$"


class DemoFailed(Exception):
    """A step did not do what it says."""


class Terminal:
    """A shell session in one directory."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.environment = dict(os.environ) | dict(environment)

    def say(self, words: str) -> None:
        """Print a heading."""
        print(f"\n# {words}", flush=True)

    def run(self, command: str, *expected: str, code: int = 0, absent: str = "", quiet: bool = False) -> str:
        """Run a shell command; check exit code and that every `expected` regular expression is in its output."""
        if not quiet:
            print(f"$ {command}", flush=True)
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", command],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        output = done.stdout.decode(errors="replace")
        if not quiet:
            sys.stdout.write(output)
            sys.stdout.flush()
        self._check(command, output, expected, absent)
        if done.returncode != code:
            raise DemoFailed(f"`{command}` ended with {done.returncode} instead of {code}:\n{output}")
        return output

    def typed(self, command: str, lines: list[str], *expected: str, timeout_s: float = 60) -> str:
        """Run a command on a real terminal and type `lines`, each when the prompt is back; check its output."""
        print(f"$ {command}", flush=True)
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.directory)
            os.execvpe("/bin/bash", ["/bin/bash", "-c", command], self.environment)  # noqa: S606 - this is the shell
        try:
            shown = self._converse(terminal, lines, time.monotonic() + timeout_s)
        finally:
            os.close(terminal)
            os.kill(pid, signal.SIGCONT)
            _, status = os.waitpid(pid, 0)
        self._check(command, shown, expected, "")
        if os.waitstatus_to_exitcode(status) != 0:
            raise DemoFailed(f"`{command}` ended with {os.waitstatus_to_exitcode(status)}")
        return shown

    def until(self, command: str, expected: str, *, timeout_s: float = 90) -> None:
        """Repeat a command until its output has `expected`, then show it once."""
        deadline = time.monotonic() + timeout_s
        while True:
            done = subprocess.run(
                ["/bin/bash", "-c", command], cwd=self.directory, env=self.environment, capture_output=True, timeout=60
            )
            if re.search(expected, (done.stdout + done.stderr).decode(errors="replace")):
                self.run(command, expected)
                return
            if time.monotonic() > deadline:
                raise DemoFailed(f"`{command}` never showed {expected!r}: {done.stderr.decode(errors='replace')}")
            time.sleep(0.25)

    def _converse(self, terminal: int, lines: list[str], deadline: float) -> str:
        shown, waiting = "", list(lines)
        asked = 0
        while time.monotonic() < deadline:
            if waiting and re.search(PROMPT, shown[asked:]):
                asked = len(shown)
                os.write(terminal, waiting.pop(0).encode() + b"\r")
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:
                return shown
            if not data:
                return shown
            text = data.decode(errors="replace")
            sys.stdout.write(text.replace("\x1b[6n", ""))
            sys.stdout.flush()
            shown += text
        raise DemoFailed("the terminal session did not end in time")

    def _check(self, command: str, output: str, expected: tuple[str, ...], absent: str) -> None:
        for pattern in expected:
            if not re.search(pattern, output, re.MULTILINE):
                raise DemoFailed(f"`{command}` did not show {pattern!r}; it showed:\n{output}")
        if absent and re.search(absent, output, re.MULTILINE):
            raise DemoFailed(f"`{command}` showed {absent!r}:\n{output}")


def quoted(path: Path) -> str:
    """Return a path for a shell line."""
    return shlex.quote(str(path))

"""Runs an image's program without the agent: overlayfs, namespaces and chroot, by way of util-linux."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from vault.agent.images.image import Image

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Mounts belong to the new mount namespace, so they end with its last process.
ENTER = """
root=$1; shift
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
for node in null:3 zero:5 random:8 urandom:9; do mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"; done
ln -s /proc/self/fd "$root/dev/fd"
ip link set lo up
exec chroot "$root" "$@"
"""


class Box:
    """One writable copy of an image, and what runs in it."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root = root
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All that the program has said."""
        return self._log.read_text(errors="replace")

    def start(self, *command: str, env: Mapping[str, str] | None = None, beside: Box | None = None) -> None:
        """Start a program as process 1, as an entrypoint is; beside: another box whose network it shares."""
        network = ["nsenter", "--target", str(beside.pid), "--net"] if beside else []
        own = [] if beside else ["--net"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*network, "unshare", "--mount", "--pid", *own, "--ipc", "--uts", "--fork", "--kill-child",
                 "sh", "-eu", "-c", ENTER, "sh", str(self.root), *command],
                env={"PATH": PATH} | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )  # fmt: skip
        while self._process.poll() is None and not self._entered():
            time.sleep(0.005)

    def _entered(self) -> bool:
        """Tell whether process 1 is in its root already: before that, a command beside it would run on the host."""
        try:
            return os.readlink(f"/proc/{self.pid}/root") == str(self.root)
        except (OSError, IndexError):
            return False

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> int:
        """Start a program and wait for its end; return its exit code."""
        self.start(*command, env=env)
        assert self._process is not None
        return self._process.wait(60)

    @property
    def pid(self) -> int:
        """The host's number for process 1."""
        assert self._process is not None
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0])

    def execute(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command beside process 1, as `exec` does."""
        return subprocess.run(
            ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--root", "--wd", *command],
            env={"PATH": PATH} | dict(env or {}), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait, a minute at most, until something holds, or the program has ended."""
        end_s = time.monotonic() + 60
        while not true():
            assert self._process is not None
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end_s, self.log
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal process 1; return its exit code."""
        assert self._process is not None
        os.kill(self.pid, how)
        return self._process.wait(30)

    def end(self) -> None:
        """End what still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextmanager
def box(image: Image, scratch: Path, *, data: Sequence[tuple[str, Path]] = ()) -> Iterator[Box]:
    """Give a box; data: directories of the host to bind at places in it."""
    scratch.mkdir(parents=True)
    root = scratch / "root"
    lower = ":".join(str(layer) for layer in reversed(image.layers))
    options = f"lowerdir={lower},upperdir={scratch}/upper,workdir={scratch}/work"
    mounted: list[Path] = []
    made = Box(root, scratch / "log")
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(scratch)], check=True)
        mounted.append(scratch)
        for name in ("root", "upper", "work"):
            (scratch / name).mkdir()
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)
        mounted.append(root)
        for place, directory in data:
            subprocess.run(["mount", "--bind", str(directory), str(root / place)], check=True)
            mounted.append(root / place)
        yield made
    finally:
        made.end()
        for point in reversed(mounted):
            subprocess.run(["umount", str(point)], check=False)
        shutil.rmtree(scratch, ignore_errors=True)

"""A real vaultd under roots of its own, and the real `vault` command pointed at it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
IMAGES = HERE / ".cache" / "images"
BIN = Path(sys.executable).parent
# Of a block of this process's own, nearly always: two runs of the tests at the same time share the loopback.
_BLOCK = 100 + os.getpid() % 100
_ADDRESSES = (f"127.{_BLOCK}.{number // 250}.{number % 250 + 1}" for number in count())
WAITS_FOR_TERM = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait")


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    out: str
    err: str
    code: int
    raw: bytes


class Vaultd:
    """The process of one vaultd."""

    process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """End vaultd as a crash would; its etcd ends with it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End vaultd as an operator would; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


def run_vault(
    words: Sequence[str], *, host: str, stdin: bytes, cwd: Path, timeout_s: float, env: Mapping[str, str] | None = None
) -> Said:
    """Run `vault` against the vaultd at `host`."""
    done = subprocess.run(
        [BIN / "vault", *words],
        input=stdin,
        capture_output=True,
        timeout=timeout_s,
        cwd=cwd,
        env=os.environ | {"VAULT_HOST": host} | dict(env or {}),
    )
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return Said(out, err, done.returncode, done.stdout)


class Node(Vaultd):
    """One vaultd; `start`, `kill` and `stop` it as an operator or a power cut would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "vaultd.log"
        self.address = next(_ADDRESSES)  # Of its control plane; several nodes share this namespace.

    @property
    def data(self) -> Path:
        return self.root / "d"

    @property
    def run_root(self) -> Path:
        return self.root / "r"

    @property
    def socket(self) -> str:
        return f"unix://{self.run_root}/vault.sock"

    def start(self, *options: str) -> "Node":
        """Start vaultd and return once it answers."""
        roots = ["--data-root", str(self.data), "--run-root", str(self.run_root), "--log-level", "debug"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([BIN / "vaultd", *roots, *options], stdout=log, stderr=log)
        self.until(lambda: self.vault("version", code=None).code == 0, "vaultd answers")
        return self

    def refused(self) -> str:
        """Start vaultd where it must not run; return what it says."""
        command = [BIN / "vaultd", "--data-root", str(self.data), "--run-root", str(self.run_root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 1, done
        return done.stderr

    def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.process is None:
            return
        if self.process.poll() is not None:
            self.start()
        self.vault("swarm", "leave", "--force", code=None)
        self.stop()

    def vault(
        self, *words: str, stdin: bytes = b"", code: int | None = 0, env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Said:  # fmt: skip
        """Run `vault`; check its exit code unless that is None."""
        said = run_vault(words, host=self.socket, stdin=stdin, cwd=cwd or self.root, timeout_s=120, env=env)
        assert code is None or said.code == code, f"vault {' '.join(words)}: {said}"
        return said

    def listen(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start a `vault` that goes on; its caller reads what it prints, and ends it."""
        return subprocess.Popen(
            [BIN / "vault", *words], stdout=subprocess.PIPE, cwd=self.root, env=os.environ | {"VAULT_HOST": self.socket}
        )

    def until(self, true: Callable[[], bool], what: str, *, timeout_s: float = 30) -> None:
        """Return once a condition holds; fail by name when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def running(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        shown = self.vault("ps", "-q", "--no-trunc", "--filter", f"label=com.docker.swarm.service.name={service}").out
        return shown.split()

    def until_running(self, service: str, count: int, *, timeout_s: float = 30) -> None:
        """Return once `count` tasks of a service run."""
        self.until(lambda: len(self.running(service)) == count, f"{count} of {service} run", timeout_s=timeout_s)

    def init(self) -> None:
        """Make a swarm of this node."""
        self.vault("swarm", "init", "--advertise-addr", self.address)

    def load(self, name: str) -> None:
        """Load an image that `make images` has built."""
        self.vault("image", "load", "-i", str(IMAGES / f"{name}.tar"))

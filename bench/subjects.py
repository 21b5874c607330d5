"""What is measured: a private vaultd, and a private Docker Engine with Swarm, each with roots of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.client import Connection, Failed

HERE = Path(__file__).resolve().parents[1]
BUSYBOX = HERE / ".cache" / "images" / "busybox.tar"


@dataclass
class Subject:
    """One server under test."""

    name: str
    root: Path
    command: Sequence[str]
    socket: Path
    cli: Sequence[str]  # The command line client, as a user starts it.
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    keeper: str = ""  # Name of the process that keeps one container.

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the server, make a swarm, load the image."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self._env())
        self._until_it_answers()
        self.connection().json("POST", "/swarm/init", {"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"})
        loading = [*self.cli, "image", "load", "-q", "-i", str(BUSYBOX)]
        subprocess.run(loading, check=True, env=self._env(), stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """Leave the swarm and end the server, by its pid."""
        if self.process is None:
            return
        subprocess.run([*self.cli, "swarm", "leave", "--force"], env=self._env(), capture_output=True, timeout=120)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._unmount()

    def _unmount(self) -> None:
        """Take away what the server left mounted under its root (Docker Engine leaves a namespace file)."""
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for point in reversed(points):
            if point.startswith(f"{self.root}/"):
                subprocess.run(["umount", "-l", point], check=False)

    def connection(self) -> Connection:
        """Return a new connection."""
        return Connection(str(self.socket))

    def run_cli(self, *words: str, stdin: bytes = b"") -> float:
        """Run the command line client once; return seconds."""
        begun = time.perf_counter()
        subprocess.run([*self.cli, *words], input=stdin, env=self._env(), capture_output=True, check=True)
        return time.perf_counter() - begun

    def _env(self) -> dict[str, str]:
        return os.environ | self.environment

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connection().raw(b"GET /_ping HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n")
            except (OSError, Failed):
                if time.monotonic() > deadline:
                    log = (self.root / "log").read_text(errors="replace")[-1500:]
                    raise Failed(f"{self.name} does not answer:\n{log}") from None
                time.sleep(0.05)
            else:
                return


def vault(root: Path) -> Subject:
    """Return our server."""
    bin_ = Path(sys.executable).parent
    socket = root / "r" / "vault.sock"
    return Subject(
        name="vault",
        root=root,
        command=[str(bin_ / "vaultd"), "--data-root", str(root / "d"), "--run-root", str(root / "r")],
        socket=socket,
        cli=[str(bin_ / "vault"), "-H", f"unix://{socket}"],
        keeper="conmon",
    )


def docker(root: Path) -> Subject | None:
    """Return Docker Engine, if there is one on PATH or in `$BENCH_DOCKER_DIR` (a folder with its programs)."""
    path = f"{os.environ.get('BENCH_DOCKER_DIR', '')}:{os.environ['PATH']}:/usr/sbin:/sbin".strip(":")
    dockerd, client = shutil.which("dockerd", path=path), shutil.which("docker", path=path)
    if dockerd is None or client is None:
        return None
    socket = root / "docker.sock"
    # In a network namespace of its own, so that its bridges and rules end with it.
    apart = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"']
    roots = ["--data-root", str(root / "data"), "--exec-root", str(root / "exec"), "--pidfile", str(root / "pid")]
    command = [*apart, dockerd, "-H", f"unix://{socket}", *roots]
    # Without this every start of a task asks a registry first, which is not what is measured.
    environment = {"PATH": path, "DOCKER_SERVICE_PREFER_OFFLINE_IMAGE": "1"}
    cli = [client, "-H", f"unix://{socket}"]
    return Subject("docker", root, command, socket, cli, environment=environment, keeper="containerd-shim")

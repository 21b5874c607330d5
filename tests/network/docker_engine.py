"""Debian's Docker Engine, in the network namespace of a node: its own roots, socket, mounts and cgroup."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.node import HERE, IMAGES
from tests.network.overlay_nodes import Node

PROGRAMS = HERE / ".cache" / "docker-client"
LIMIT_S = 30.0
_COUNTERS = re.compile(r" \[\d+:\d+\]")  # Of chains.


class Engine:
    """A running dockerd."""

    def __init__(self, root: Path, node: Node, process: "subprocess.Popen[bytes]") -> None:
        self._root, self._node, self._process = root, node, process

    def ask(self, method: str, path: str, body: object = None, data: bytes = b"") -> Any:
        """Return the decoded answer; raises `AssertionError` for a refusal."""
        connection = _Connection(self._root / "docker.sock")
        with contextlib.closing(connection):
            content = data or (b"" if body is None else json.dumps(body).encode())
            kind = "application/x-tar" if data else "application/json"
            connection.request(method, f"/v1.41{path}", content, {"Content-Type": kind})
            answer = connection.getresponse()
            read = answer.read()
        assert answer.status < 400, f"{method} {path}: {read.decode(errors='replace')}"
        with contextlib.suppress(ValueError):
            return json.loads(read)
        return None

    def answers(self) -> bool:
        """Whether it is there."""
        assert self._process.poll() is None, (self._root / "log").read_text()[-2000:]
        try:
            self.ask("GET", "/_ping")
        except OSError:
            return False
        return True

    def serve(self, name: str, text: str, published: int) -> None:
        """Run a container whose web server, behind a published port, has a page with a text."""
        self.ask(
            "POST",
            f"/containers/create?name={name}",
            {
                "Image": "busybox:latest",
                "Cmd": ["sh", "-c", f"echo {text} >/tmp/index.html; exec httpd -f -p 80 -h /tmp"],
                "ExposedPorts": {"80/tcp": {}},
                "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(published)}]}},
            },
        )
        self.ask("POST", f"/containers/{name}/start")

    def remove(self, name: str) -> None:
        """End a container."""
        self.ask("DELETE", f"/containers/{name}?force=true")

    def rules(self) -> str:
        """Return every packet rule of the machine but ours, as both tools tell them, without counters."""
        tables = ("\n" + self._node.sh("nft -s list ruleset")).split("\ntable ")[1:]
        others = [each.strip() for each in tables if not each.split()[1].startswith("vault_")]
        return "\n".join([*others, _COUNTERS.sub("", self._node.sh("iptables-save | grep -v ^#"))])


def unpack() -> None:
    """Have the programs; to be called where the network is, before a test leaves it."""
    subprocess.run([HERE / "deploy" / "docker-engine.sh"], check=True, timeout=300)


@contextmanager
def engine(node: Node) -> Iterator[Engine]:
    """Yield an Engine on a node that also runs ours; it leaves nothing."""
    node.sh("echo 0 >/proc/sys/net/ipv4/ip_forward")  # As on a fresh machine: dockerd drops what it did not ask for.
    with tempfile.TemporaryDirectory(prefix="vdk", dir="/tmp", ignore_cleanup_errors=True) as place:
        root = Path(place)
        # In a mount namespace too: dockerd and what it starts mount under /sys and /run/docker.
        entered = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{node.namespace}", "--", "unshare", "--mount", "--"]
        roots = ["--data-root", str(root / "data"), "--exec-root", str(root / "exec"), "--pidfile", str(root / "pid")]
        options = ["-H", f"unix://{root}/docker.sock", "--cgroup-parent", f"/{root.name}", "--log-level", "warn"]
        path = f"{PROGRAMS}:{os.environ['PATH']}:/usr/sbin:/sbin"
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                [*entered, PROGRAMS / "dockerd", *roots, *options],
                stdout=log, stderr=log, env=os.environ | {"PATH": path}, start_new_session=True,
            )  # fmt: skip
        made = Engine(root, node, process)
        try:
            _until(made.answers, "dockerd answers")
            made.ask("POST", "/images/load?quiet=1", data=(IMAGES / "busybox.tar").read_bytes())
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _remove_cgroups(root.name)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _remove_cgroups(name: str) -> None:
    """Remove the empty cgroups of that name, in every hierarchy, with what is below them."""
    hierarchies = Path("/sys/fs/cgroup")
    for top in (hierarchies / name, *hierarchies.glob(f"*/{name}")):
        for directory, *_ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):  # Something is in it yet.
                Path(directory).rmdir()


def _until(true: Any, what: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)

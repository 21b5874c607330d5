"""The clusters that are compared: ours in a lab, and Docker Swarm on the same network of the same namespaces.

Three managers and a worker unless told otherwise, each with a network and a host name of its own, joined by a bridge
that belongs to the lab.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.client import API, Connection, Failed, request
from bench.machine import tree
from bench.subjects import BUSYBOX
from vault.lab import ending, links, plan
from vault.lab.lab import Lab

MANAGERS, WORKERS = 3, 1
ASK_S = 2.0
POLL_S = 0.02
PORT = 2377
CGROUPS = Path("/sys/fs/cgroup")


class Cluster(ABC):
    """What both have in common: the Docker Engine API on a socket of each node."""

    name: str

    def __init__(self, managers: int, workers: int) -> None:
        self.managers = tuple(f"manager{number + 1}" for number in range(managers))
        self.workers = tuple(f"worker{number + 1}" for number in range(workers))

    @property
    def all(self) -> tuple[str, ...]:
        """Every node."""
        return self.managers + self.workers

    @abstractmethod
    def socket(self, node: str) -> Path:
        """Return the path of a node's API."""

    @abstractmethod
    def network(self, node: str) -> Path:
        """Return the network namespace of a node; without a name, of a machine beside them that is none."""

    @abstractmethod
    def start(self) -> None:
        """Make the swarm, with busybox on every node."""

    @abstractmethod
    def stop(self) -> None:
        """End everything."""

    @abstractmethod
    def kill(self, node: str) -> None:
        """End a node's daemon, and what keeps its store, with KILL; its containers are left."""

    @abstractmethod
    def restart(self, node: str) -> None:
        """Start a node's daemon again."""

    @abstractmethod
    def daemons(self, node: str) -> list[int]:
        """Return the pids of a node's daemon and of what keeps its store."""

    def runtimes(self, node: str) -> list[int]:
        """Return the pids of what runs a node's containers, beside `daemons` and what each container has of its own."""
        return []

    def json(self, node: str, method: str, path: str, body: object = None) -> Any:
        """Return a node's decoded answer.  Raises `Failed` for a refusal."""
        connection = Connection(str(self.socket(node)))
        try:
            return connection.json(method, path, body)
        finally:
            connection.close()

    def ask(self, node: str, path: str) -> Any:
        """Return what a node shows, soon; None if it does not."""
        connection = _Impatient(self.socket(node))
        try:
            connection.request("GET", API + path)
            answer = connection.getresponse()
            content = answer.read()
            return json.loads(content) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def nodes(self, asked: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return every node by name, as the first that answers shows them; {} if none does."""
        for node in asked or self.managers:
            shown = self.ask(node, "/nodes")
            if shown is not None:
                return {one["Description"]["Hostname"]: one for one in shown}
        return {}

    def leader(self, asked: Iterable[str] | None = None) -> str:
        """Return who leads, by what the first manager that answers shows; "" if nobody does."""
        for name, one in self.nodes(asked).items():
            if (one.get("ManagerStatus") or {}).get("Leader"):
                return name
        return ""

    def until_whole(self, timeout_s: float = 180) -> None:
        """Return once every node is ready, every manager reachable, and one leads."""

        def whole() -> bool:
            shown = self.nodes()
            managing = [(shown.get(name) or {}).get("ManagerStatus") or {} for name in self.managers]
            return (
                all((shown.get(name) or {"Status": {}})["Status"].get("State") == "ready" for name in self.all)
                and all(one.get("Reachability") == "reachable" for one in managing)
                and any(one.get("Leader") for one in managing)
            )

        until(whole, f"{self.name} is whole", timeout_s)

    def available(self, node: str, availability: str) -> None:
        """Change a node's availability."""
        shown = self.nodes()[node]
        spec = shown["Spec"] | {"Availability": availability}
        self.json(self.leader(), "POST", f"/nodes/{shown['ID']}/update?version={shown['Version']['Index']}", spec)

    def heartbeat(self, period_s: float) -> None:
        """Set how often nodes report that they live."""
        leader = self.leader()
        shown = self.json(leader, "GET", "/swarm")
        spec = shown["Spec"] | {"Dispatcher": {"HeartbeatPeriod": int(period_s * 1e9)}}
        self.json(leader, "POST", f"/swarm/update?version={shown['Version']['Index']}", spec)


class _Impatient(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("bench", timeout=ASK_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def until(true: Callable[[], bool], what: str, timeout_s: float = 120, poll_s: float = POLL_S) -> float:
    """Return the seconds until a condition holds.  Raises `Failed` by its name."""
    begun = time.perf_counter()
    while not true():
        if time.perf_counter() - begun > timeout_s:
            raise Failed(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(poll_s)
    return time.perf_counter() - begun


class Vault(Cluster):
    """Ours."""

    name = "vault"

    def __init__(self, root: Path, managers: int = MANAGERS, workers: int = WORKERS) -> None:
        super().__init__(managers, workers)
        self._lab = Lab("v", root)

    def socket(self, node: str) -> Path:
        return self._lab.node(node).run_root / "vault.sock"

    def network(self, node: str) -> Path:
        return self._lab.node(node).place.net if node else self._lab.site.switch

    def start(self) -> None:
        self._lab.up(managers=len(self.managers), workers=len(self.workers))
        for node in self._lab.nodes:
            node.vault("image", "load", "-q", "-i", str(BUSYBOX))
        self.until_whole()

    def stop(self) -> None:
        self._lab.down()

    def kill(self, node: str) -> None:
        self._lab.kill(node, "both" if node in self.managers else "vaultd")

    def restart(self, node: str) -> None:
        self._lab.start(node)

    def daemons(self, node: str) -> list[int]:
        found = (self._lab.node(node).pid(what) for what in ("vaultd", "etcd"))
        return [pid for pid in found if pid is not None]


class Docker(Cluster):
    """Docker Swarm, each `dockerd` in namespaces as the lab makes them."""

    name = "docker"

    def __init__(self, root: Path, path: str, managers: int, workers: int) -> None:
        super().__init__(managers, workers)
        self._at = plan.site(root, "d")
        self._places = {one.name: one for one in plan.places(self._at, managers=managers, workers=workers)}
        # Without the second every start of a task asks a registry first, which is not what is measured.
        self._environment = os.environ | {"PATH": path, "DOCKER_SERVICE_PREFER_OFFLINE_IMAGE": "1"}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def socket(self, node: str) -> Path:
        return self._places[node].run_root / "docker.sock"

    def network(self, node: str) -> Path:
        return self._places[node].net if node else self._at.switch

    def start(self) -> None:
        for place in self._places.values():
            place.data_root.mkdir(parents=True)
            place.run_root.mkdir()
        links.connect(self._at, list(self._places.values()))
        for node in self.all:
            self.restart(node)
        for node in self.all:
            until(lambda node=node: self.ask(node, "/info") is not None, f"dockerd on {node} answers")  # type: ignore[misc]
        first = self.managers[0]
        self.json(first, "POST", "/swarm/init", self._addresses(first))
        tokens = self.json(first, "GET", "/swarm")["JoinTokens"]
        for node in self.all[1:]:
            token = tokens["Manager" if node in self.managers else "Worker"]
            remote = {"RemoteAddrs": [f"{self._places[first].address}:{PORT}"], "JoinToken": token}
            self.json(node, "POST", "/swarm/join", self._addresses(node) | remote)
        for node in self.all:
            loading = ["docker", "-H", f"unix://{self.socket(node)}", "load", "-q", "-i", str(BUSYBOX)]
            subprocess.run(loading, check=True, env=self._environment, stdout=subprocess.DEVNULL)
        self.until_whole()

    def _addresses(self, node: str) -> dict[str, str]:
        address = self._places[node].address
        return {"ListenAddr": f"{address}:{PORT}", "AdvertiseAddr": address}

    def stop(self) -> None:
        for node in (*self.workers, *reversed(self.managers)):
            with contextlib.suppress(OSError, Failed):
                self.json(node, "POST", "/swarm/leave?force=1")
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._at.directory.exists():
            ending.take_down(self._at)
        for node in self.all:
            remove_cgroups(f"bench-{node}")

    def kill(self, node: str) -> None:
        self._processes[node].kill()
        self._processes[node].wait()

    def restart(self, node: str) -> None:
        place = self._places[node]
        # In a mount namespace too: dockerd and what it starts mount under /sys and /run/docker.
        entered = ["nsenter", f"--net={place.net}", f"--uts={place.uts}", "--", "unshare", "--mount"]
        roots = ["--data-root", str(place.data_root), "--exec-root", str(place.run_root / "exec")]
        files = ["--pidfile", str(place.run_root / "pid"), "-H", f"unix://{self.socket(node)}"]
        command = [*entered, "dockerd", *roots, *files, "--cgroup-parent", f"/bench-{node}"]
        with place.log.open("ab") as log:
            self._processes[node] = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)

    def daemons(self, node: str) -> list[int]:
        return [self._processes[node].pid]

    def runtimes(self, node: str) -> list[int]:
        started = tree(self._processes[node].pid)
        return [pid for pid in started if Path(f"/proc/{pid}/comm").read_text().strip() == "containerd"]


def remove_cgroups(name: str) -> None:
    """Remove the empty cgroups of that name, in every hierarchy, with what is below them."""
    for hierarchy in (CGROUPS, *CGROUPS.iterdir()):
        top = hierarchy / name
        below = [Path(directory) for directory, *_ in os.walk(top, topdown=False)] if top.is_dir() else []
        for each in below:
            with contextlib.suppress(OSError):  # Something is in it yet, which is not ours to end.
                each.rmdir()


def docker(root: Path, managers: int = MANAGERS, workers: int = WORKERS) -> Docker | None:
    """Return Docker Swarm, if `dockerd` is on PATH or in `$BENCH_DOCKER_DIR`."""
    path = f"{os.environ.get('BENCH_DOCKER_DIR', '')}:{os.environ['PATH']}:/usr/sbin:/sbin".strip(":")
    if shutil.which("dockerd", path=path) is None or shutil.which("docker", path=path) is None:
        return None
    return Docker(root, path, managers, workers)


def version() -> str:
    """Return what `docker` says of itself."""
    path = f"{os.environ.get('BENCH_DOCKER_DIR', '')}:{os.environ['PATH']}".strip(":")
    done = subprocess.run(["docker", "--version"], env=os.environ | {"PATH": path}, capture_output=True, text=True)
    return done.stdout.strip()


def remove_secrets(cluster: Cluster, node: str, ids: Iterable[str]) -> None:
    """Remove secrets through one node."""
    connection = Connection(str(cluster.socket(node)))
    for one in ids:
        connection.raw(request("DELETE", f"/secrets/{one}"))
    connection.close()

"""What networks are measured with: an overlay network, services on it, and programs in the namespaces of their tasks.

Tasks only sleep (or run busybox's server); the programs that ask and answer are the same for every cluster, started in
a task's network namespace by `nsenter`, since busybox would be slower than the networks.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.cases import ENDS_ON_TERM, tag
from bench.client import Failed
from bench.cluster_subjects import Cluster, until

SERVES = ["httpd", "-f", "-p", "80"]
PORT = 80
IPVS = Path("/proc/net/ip_vs")


@dataclass(frozen=True)
class Placed:
    """A running task: where it is, and how to get there."""

    id: str
    node: str
    pid: int
    address: str  # On the network that is measured.

    @property
    def network(self) -> Path:
        """Its network namespace."""
        return Path(f"/proc/{self.pid}/ns/net")


@dataclass
class Stage:
    """One overlay network of a cluster, and the services made on it."""

    cluster: Cluster
    network_id: str = ""
    services: list[str] = field(default_factory=list)
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def has_vips(self) -> bool:
        """Whether services have virtual addresses and published ports here: Docker's need IPVS in the kernel."""
        return self.cluster.name == "vault" or IPVS.exists()

    def open(self) -> None:
        """Make the network."""
        made = {"Name": tag(), "Driver": "overlay", "CheckDuplicate": True}
        self.network_id = self._json("POST", "/networks/create", made)["Id"]

    def close(self) -> None:
        """End the programs, then services, then the network."""
        self.running.close()
        for service in list(self.services):
            self.remove(service)
        until(lambda: not any(map(self._address, self._json("GET", "/tasks"))), "its tasks are gone")
        self._json("DELETE", f"/networks/{self.network_id}")

    def service(
        self,
        replicas: int,
        *,
        node: str = "",
        command: list[str] = ENDS_ON_TERM,
        published: int = 0,
        host: bool = False,
        restarts: bool = True,
    ) -> tuple[str, str]:
        """Make a service; return its id and name.

        replicas: 0 for one on each node.  node: where its tasks are to be, if it matters.  host: on the nodes' network.
        """
        name = tag()
        spec = {
            "Name": name,
            "TaskTemplate": {
                "ContainerSpec": {"Image": "busybox:latest", "Args": command},
                "Networks": [{"Target": "host" if host else self.network_id}],
                "RestartPolicy": {"Condition": "any" if restarts else "none", "Delay": 100_000_000},
                "Placement": {"Constraints": [f"node.hostname == {node}"]} if node else {},
            },
            "Mode": {"Replicated": {"Replicas": replicas}} if replicas else {"Global": {}},
            "EndpointSpec": {"Mode": "vip" if self.has_vips and not host else "dnsrr"},
        }
        if published:
            ports = [{"Protocol": "tcp", "TargetPort": PORT, "PublishedPort": published, "PublishMode": "ingress"}]
            spec["EndpointSpec"] = {"Mode": "vip", "Ports": ports}
        self.services.append(self._json("POST", "/services/create", spec)["ID"])
        return self.services[-1], name

    def remove(self, service: str) -> None:
        """Remove a service."""
        self._json("DELETE", f"/services/{service}")
        self.services.remove(service)

    def until_running(self, service: str, count: int) -> list[dict[str, Any]]:
        """Return its tasks once so many run."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            filters = quote(json.dumps({"service": [service]}))
            shown = self._json("GET", f"/tasks?filters={filters}")
            found[:] = [task for task in shown if task["Status"]["State"] == "running"]
            return len(found) >= count

        until(enough, f"{count} tasks run", poll_s=0.01)
        return found

    def placed(self, tasks: list[dict[str, Any]]) -> list[Placed]:
        """Return where tasks are."""
        names = {node["ID"]: name for name, node in self.cluster.nodes().items()}
        return [
            Placed(
                id=task["ID"],
                node=names[task["NodeID"]],
                pid=task["Status"]["ContainerStatus"]["PID"],
                address=self._address(task),
            )
            for task in tasks
        ]

    def virtual_address(self, service: str) -> str:
        """Return a service's address on the network."""
        shown = self._json("GET", f"/services/{service}")["Endpoint"]["VirtualIPs"]
        return next(str(one["Addr"]).partition("/")[0] for one in shown if one["NetworkID"] == self.network_id)

    def server(self, network: Path, port: int) -> None:
        """Start the server in a namespace; it ends with the stage."""
        self.program(network, "serve", str(port))

    def program(self, network: Path, *words: str) -> subprocess.Popen[str]:
        """Start a program of `bench.network_traffic` in a namespace, and return once it is ready."""
        process = self.running.enter_context(_ended(_start(network, *words)))
        assert process.stdout is not None
        if not process.stdout.readline():
            raise Failed(f"{' '.join(words)} has ended at once: is its port taken?")
        return process

    def load(self, network: Path, host: str, port: int, connections: int, seconds: float) -> dict[str, float]:
        """Ask a server from a namespace as fast as it answers; return requests a second, and p50 and p99 in ms."""
        process = _start(network, "load", host, str(port), str(connections), str(seconds))
        out, err = process.communicate(timeout=seconds + 30)
        if process.returncode != 0:
            raise Failed(f"{self.cluster.name}: {host}:{port} does not answer: {err.strip().splitlines()[-1:]}")
        return dict(json.loads(out))

    def _address(self, task: dict[str, Any]) -> str:
        """Return a task's address on the network; "" for one that is not on it."""
        found = (
            str(address).partition("/")[0]
            for each in task.get("NetworksAttachments") or []
            if each["Network"]["ID"] == self.network_id
            for address in each["Addresses"]
        )
        return next(found, "")

    def _json(self, method: str, path: str, body: object = None) -> Any:
        return self.cluster.json(self.cluster.managers[0], method, path, body)


def _start(network: Path, *words: str) -> subprocess.Popen[str]:
    entered = ["nsenter", f"--net={network}", "--", sys.executable, "-m", "bench.network_traffic", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(entered, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill a process after the body."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()

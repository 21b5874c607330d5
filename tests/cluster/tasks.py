"""Tasks of a service as the network sees them: their namespaces and addresses, and asking from inside and outside."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.cluster.world import World
from tests.network.hosts import inside

# A web server with the task's name on its page, which ends when it is asked to.
SERVES = (
    "sh", "-c",
    "mkdir /tmp/w; hostname >/tmp/w/index.html; httpd -p 80 -h /tmp/w; trap 'exit 0' TERM; sleep 1000000 & wait",
)  # fmt: skip
ASK_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A task that runs, on one network besides `ingress`."""

    id: str
    node: str  # Its name.
    namespace: Path
    address: str
    hostname: str

    def page(self, address: str, port: int = 80) -> str:
        """Return what a web server at an address says to this task; raises `OSError`."""
        return page(self.namespace, address, port)


def placed(world: World, service: str, network: str) -> list[Placed]:
    """Return the tasks of a service that run and are meant to, in the order of their nodes."""
    filters = quote(json.dumps({"service": [service], "desired-state": ["running"]}))
    shown: list[dict[str, Any]] = world.ask(world.leader(), "GET", f"/tasks?filters={filters}") or []
    names = {node["ID"]: name for name, node in world.nodes().items()}
    found = [
        Placed(
            id=task["ID"],
            node=names[task["NodeID"]],
            namespace=world.node(names[task["NodeID"]]).run_root / "netns" / task["ID"],
            address=next(
                attached["Addresses"][0].partition("/")[0]
                for attached in task["NetworksAttachments"]
                if attached["Network"]["Spec"]["Name"] == network
            ),
            hostname=task["Status"]["ContainerStatus"]["ContainerID"][:12],
        )
        for task in shown
        if task["Status"]["State"] == "running"
    ]
    return sorted(found, key=lambda task: (task.node, task.id))


def page(at: Path, address: str, port: int) -> str:
    """Return what a web server says to somebody in a namespace; raises `OSError`."""
    with inside(at, lambda: socket.create_connection((address, port), timeout=ASK_S)) as one:
        one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        said = b""
        while more := one.recv(4096):
            said += more
    return said.rpartition(b"\r\n\r\n")[2].decode().strip()

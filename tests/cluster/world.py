"""A cluster in a lab, as faults and checks see it: who leads, whether all is well, and waiting until it is.

The only module here that knows the lab, so that one place changes when the lab does.
"""

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.cluster.search.node import Places
from tests.e2e.node import IMAGES
from vault.lab.lab import Lab
from vault.lab.node import Node, Said

RECOVERS_S = 60.0  # What the cluster is given to be whole again.
ASK_S = 3.0
PORT = 2377
POLL_S = 0.05
API = "/v1.41"


class NotInTime(AssertionError):
    """A condition did not come true in the time it was given."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("lab", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class World:
    """A lab with a swarm on it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    # What there is.

    @property
    def managers(self) -> list[str]:
        """Names of the nodes that began as managers."""
        return [node.name for node in self.lab.nodes if node.place.manager]

    @property
    def workers(self) -> list[str]:
        """Names of the nodes that began as workers."""
        return [node.name for node in self.lab.nodes if not node.place.manager]

    @property
    def sockets(self) -> dict[str, str]:
        """Path of each manager's API."""
        return {name: str(self.socket(name)) for name in self.managers}

    def socket(self, name: str) -> Path:
        """Return the path of a node's API."""
        return self.lab.node(name).run_root / "vault.sock"

    def node(self, name: str) -> Node:
        """Return a node of the lab."""
        return self.lab.node(name)

    def vault(self, name: str, *words: str, stdin: bytes = b"", code: int | None = 0) -> Said:
        """Run `vault` against a node."""
        return self.lab.node(name).vault(*words, stdin=stdin, code=code)

    def places(self, name: str) -> Places:
        """Return where a node keeps anything, to be searched."""
        node = self.lab.node(name)
        pid = node.pid("vaultd")
        return Places(name=name, roots=(node.place.directory,), pids=(pid,) if pid else ())

    # What a node says.

    def ask(self, name: str, method: str, path: str, body: object = None, *, timeout_s: float = ASK_S) -> Any:
        """Return the decoded answer of a node; None when there is none, or a refusal."""
        status, content = self.tell(name, method, path, body, timeout_s=timeout_s)
        return content if status < 400 else None

    def tell(
        self, name: str, method: str, path: str, body: object = None, *, timeout_s: float = ASK_S
    ) -> tuple[int, Any]:
        """Return status and decoded answer; 599 when there is no answer."""
        connection = _UnixConnection(self.socket(name), timeout_s)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, API + path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            read = answer.read()
            return answer.status, json.loads(read) if read.strip() else None
        except (OSError, http.client.HTTPException, ValueError):
            return 599, None
        finally:
            connection.close()

    def nodes(self, asked: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return what the first manager that answers says of every node, by host name; {} if none answers.

        Of several nodes with one name (one that left and joined again), the one that is ready is kept.
        """
        for name in asked or self.managers:
            shown = self.ask(name, "GET", "/nodes")
            if shown is not None:
                ordered = sorted(shown, key=lambda one: one["Status"]["State"] == "ready")
                return {one["Description"]["Hostname"]: one for one in ordered}
        return {}

    def leader(self) -> str:
        """Return the name of the manager that leads; wait for one."""
        found: list[str] = []

        def leads() -> bool:
            for name, one in self.nodes().items():
                if (one.get("ManagerStatus") or {}).get("Leader"):
                    found.append(name)
                    return True
            return False

        self.until(leads, "some manager leads")
        return found[0]

    def followers(self) -> list[str]:
        """Return the managers that do not lead."""
        leader = self.leader()
        return [name for name in self.managers if name != leader]

    def states(self, service: str) -> list[tuple[str, str, str]]:
        """Return (node id, state, desired state) of every task of a service, by the first manager that answers."""
        filters = quote(json.dumps({"service": [service]}))
        for name in self.managers:
            shown = self.ask(name, "GET", f"/tasks?filters={filters}")
            if shown is not None:
                return [(one.get("NodeID", ""), one["Status"]["State"], one["DesiredState"]) for one in shown]
        return []

    def running(self, service: str) -> int:
        """Return how many tasks of a service run and are meant to."""
        return sum(state == desired == "running" for _, state, desired in self.states(service))

    # Waiting.

    def until(self, true: Callable[[], bool], what: str, *, timeout_s: float = RECOVERS_S) -> float:
        """Return the seconds until a condition holds.  Raises `NotInTime` by its name."""
        begun = time.monotonic()
        while not true():
            if time.monotonic() - begun > timeout_s:
                raise NotInTime(f"{what}: not within {timeout_s:.0f} s\n{self.story()}")
            time.sleep(POLL_S)
        return time.monotonic() - begun

    def until_whole(self, *, timeout_s: float = RECOVERS_S) -> float:
        """Return the seconds until every node is ready, every manager reachable, and each takes a write."""

        def whole() -> bool:
            shown = self.nodes()
            expected = {node.name for node in self.lab.nodes}
            ready = {name for name, one in shown.items() if one["Status"]["State"] == "ready"}
            managing = [shown[name].get("ManagerStatus") or {} for name in self.managers if name in shown]
            return (
                ready >= expected
                and len(managing) == len(self.managers)
                and all(one.get("Reachability") == "reachable" for one in managing)
                and sum(bool(one.get("Leader")) for one in managing) == 1
                and all(self._writes(name) for name in self.managers)
            )

        return self.until(whole, "every node is ready and every manager takes a write", timeout_s=timeout_s)

    def _writes(self, name: str) -> bool:
        made = self.ask(name, "POST", "/secrets/create", {"Name": f"probe-{time.monotonic_ns()}", "Data": "eA=="})
        return made is not None and self.tell(name, "DELETE", f"/secrets/{made['ID']}")[0] == 204

    def story(self) -> str:
        """Return what is known of every node, for a test that failed."""
        lines = [f"{name}: {one.get('ManagerStatus')} {one['Status']}" for name, one in self.nodes().items()]
        for node in self.lab.nodes:
            log = node.log.read_text(errors="replace").splitlines()[-12:] if node.log.exists() else []
            lines += [f"--- {node.name}, vaultd {node.pid('vaultd')}, etcd {node.pid('etcd')}", *log]
        return "\n".join(lines)

    # Mending.

    def start_all(self) -> None:
        """Start every vaultd that does not run, at once, and wait until all answer."""
        for node in self.lab.nodes:
            if node.pid("vaultd") is None:
                self.lab.start(node.name, wait=False)
        for node in self.lab.nodes:
            self.until_answers(node.name)

    def until_answers(self, name: str) -> None:
        """Return once a vaultd answers at all."""
        self.until(lambda: self.tell(name, "GET", "/version")[0] == 200, f"{name} answers")

    def load_image(self, image: str = "busybox") -> None:
        """Load an image on every node."""
        for node in self.lab.nodes:
            node.vault("image", "load", "-i", str(IMAGES / f"{image}.tar"))

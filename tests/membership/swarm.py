"""A swarm of real vaultds in one network namespace: 127.23.x.y each, and the real `vault` pointed at one of them."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

from tests.e2e.node import BIN, IMAGES, Said, Vaultd, run_vault
from vault.lab import clocks
from vault.lab.plan import Place

# Of this process: runs beside each other differ, most likely.
_ADDRESSES = (f"127.23.{os.getpid() % 250}.{number}" for number in count(1))
FOREVER = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait")


class _Connection(http.client.HTTPConnection):
    """HTTP over a vaultd's socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("vault", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Member(Vaultd):
    """One vaultd with an address of its own."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = name
        self.address = next(_ADDRESSES)
        self.log = root / "vaultd.log"
        root.mkdir(parents=True, exist_ok=True)

    @property
    def data(self) -> Path:
        """The data root."""
        return self.root / "d"

    @property
    def swarm_files(self) -> Path:
        """Where the membership is."""
        return self.data / "swarm"

    @property
    def shared_clock(self) -> str:
        """Name of what processes with a wrong clock share; for `vault.lab.clocks`."""
        return f"vault-membership-{os.getpid()}-{self.name}"

    @property
    def socket(self) -> Path:
        """The API's socket."""
        return self.root / "r" / "vault.sock"

    # The process.

    def start(self, *options: str, clock_s: int = 0, speaks: int = 0, answers: bool = True) -> "Member":
        """Start vaultd; return once it answers.

        clock_s: how far its wall clock is off.  speaks: the one version of the control protocol that it knows.
        """
        words = [BIN / "vaultd", "--data-root", self.data, "--run-root", self.root / "r", "--hostname", self.name]
        environment = dict(os.environ)
        if clock_s:
            words[:1] = [sys.executable, "-P", "-m", "vault.lab.wrong_clock"]
            environment |= clocks.environment(cast(Place, self), clock_s)
        if speaks:
            words[:1] = [sys.executable, "-P", str(Path(__file__).with_name("other_version.py")), str(speaks)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*map(str, words), "--log-level", "debug", *options], stdout=log, stderr=log, env=environment
            )
        if answers:
            self.until(self.answers, "vaultd answers")
        return self

    def restart(self, *options: str) -> None:
        """Stop and start."""
        self.stop()
        self.start(*options)

    @property
    def running(self) -> bool:
        """Whether vaultd runs."""
        return self.process is not None and self.process.poll() is None

    def answers(self) -> bool:
        """Whether the API answers; a vaultd that has ended fails the test."""
        assert self.running, f"vaultd {self.name} ended\n{self.tail()}"
        try:
            return self.api("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        clocks.forget(cast(Place, self))
        if self.process is None:
            return
        if not any((self.data / "tasks").glob("*")):
            self.process.kill()
            self.process.wait()
            return
        if not self.running:
            self.start()
        self.vault("swarm", "leave", "--force", code=None)
        self.stop()

    # Asking.

    def api(
        self, method: str, path: str, body: Any = None, *, timeout_s: float = 40, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Ask the API; return status and what it says, decoded."""
        connection = _Connection(self.socket, timeout_s)
        try:
            data = None if body is None else json.dumps(body).encode()
            sent = {"Content-Type": "application/json"} if data else {}
            connection.request(method, path, data, sent | (headers or {}))
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(raw) if raw else None
        except ValueError:
            return answer.status, raw.decode(errors="replace")

    def vault(self, *words: str, stdin: bytes = b"", code: int | None = 0, timeout_s: float = 90) -> Said:
        """Run `vault`; check its exit code unless that is None."""
        said = run_vault(words, host=f"unix://{self.socket}", stdin=stdin, cwd=self.root, timeout_s=timeout_s)
        assert code is None or said.code == code, f"{self.name}: vault {' '.join(words)}: {said}\n{self.tail()}"
        return said

    def info(self) -> dict[str, Any]:
        """What `info` says of the swarm."""
        shown: dict[str, Any] = self.api("GET", "/info")[1]["Swarm"]
        return shown

    @property
    def id(self) -> str:
        """The node's id."""
        return str(self.info()["NodeID"])

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes, as this manager tells; none while it cannot."""
        status, found = self.api("GET", "/nodes")
        return found if status == 200 else []

    def node(self, other: "Member | str") -> dict[str, Any]:
        """One node, as this manager tells; {} when it does not know it."""
        wanted = other if isinstance(other, str) else other.id
        return next((one for one in self.nodes() if one["ID"] == wanted), {})

    def state(self, other: "Member | str") -> str:
        """ready, down…; "" for none."""
        return str(self.node(other).get("Status", {}).get("State", ""))

    def tasks(self, service: str, *, state: str = "running") -> list[dict[str, Any]]:
        """The tasks of a service in a state."""
        status, found = self.api("GET", f"/tasks?filters={{%22service%22:[%22{service}%22]}}")
        return [one for one in found if one["Status"]["State"] == state] if status == 200 else []

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def logged(self, event: str) -> bool:
        """Whether its log has an event."""
        return event in self.log.read_text(errors="replace")

    def until(self, true: Callable[[], object], what: str, *, timeout_s: float = 40) -> None:
        """Return once a condition holds; fail by name when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s\n{self.name}: {self.tail()}"
            time.sleep(0.1)

    # What operators do.

    def init(self, *options: str) -> "Member":
        """Make a swarm of this node."""
        self.vault("swarm", "init", "--advertise-addr", self.address, *options)
        return self

    def token(self, role: str) -> str:
        """The token of a role."""
        return self.vault("swarm", "join-token", "-q", role).out.strip()

    def join(
        self, manager: "Member", role: str = "worker", *options: str, token: str = "", code: int | None = 0
    ) -> Said:
        """Join the swarm of a manager."""
        here = ("--advertise-addr", self.address, "--listen-addr", f"{self.address}:2377")
        given = token or manager.token(role)
        return self.vault("swarm", "join", "--token", given, *here, *options, f"{manager.address}:2377", code=code)

    def load(self, name: str = "busybox") -> None:
        """Load an image that `make images` has built."""
        self.vault("image", "load", "-i", str(IMAGES / f"{name}.tar"))

    def etcd(self) -> int:
        """The pid of its etcd; 0 while it has none."""
        found = subprocess.run(
            ["pgrep", "-f", f"etcd .*--listen-peer-urls=https://{self.address}:2380"], capture_output=True, text=True
        )
        return int(found.stdout.split()[0]) if found.stdout.split() else 0


class Swarm:
    """Members of one test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.members: dict[str, Member] = {}

    def member(self, name: str, *, speaks: int = 0) -> Member:
        """Return a member, which is started when it is new.  speaks: as `Member.start` has it."""
        if name not in self.members:
            self.members[name] = Member(self.root / name, name)
            self.members[name].start(speaks=speaks)
        return self.members[name]

    def make(self, *, managers: int = 1, workers: int = 0, options: Sequence[str] = ()) -> list[Member]:
        """Return the members of a new swarm, managers first, all ready."""
        first = self.member("m1").init(*options)
        for number in range(2, managers + 1):
            self.member(f"m{number}").join(first, "manager")
        for number in range(1, workers + 1):
            self.member(f"w{number}").join(first)
        found = list(self.members.values())
        self.until_ready(first, managers=managers, nodes=managers + workers)
        return found

    def until_ready(self, manager: Member, *, managers: int, nodes: int) -> None:
        """Return once a manager shows so many managers to be reached and so many nodes that are ready."""

        def ready() -> bool:
            shown = manager.nodes()
            reached = [one for one in shown if one.get("ManagerStatus", {}).get("Reachability") == "reachable"]
            up = [one for one in shown if one["Status"]["State"] == "ready"]
            return len(reached) == managers and len(up) == nodes

        manager.until(ready, f"{managers} managers, {nodes} nodes")

    def leader(self) -> Member:
        """Return who leads, as the first manager that answers tells."""
        for member in self.members.values():
            if not member.running:
                continue
            for node in member.nodes():
                if node.get("ManagerStatus", {}).get("Leader"):
                    return next(one for one in self.members.values() if one.running and one.id == node["ID"])
        raise AssertionError("nobody leads")

    def close(self) -> None:
        """End all of them: workers first, and the leader last."""
        for member in reversed(self.members.values()):
            member.close()

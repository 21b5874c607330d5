"""The measurements: each takes a server and returns the figures of one round.

Sizes and stop behaviour are the same for every server: busybox on the host's network (Swarm knows no `none`), whose
first process ends at once on TERM.
"""

import base64
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bench.client import Failed, Load, create_secret, load, request
from bench.machine import named, resident_mb, tree
from bench.subjects import Subject

ENDS_ON_TERM = ["sh", "-c", 'trap "exit 0" TERM; sleep 1000000 & wait']
POLL_S = 0.02


@dataclass(frozen=True)
class Case:
    """One measurement."""

    name: str
    unit: str  # ms | /s | MB
    run: Callable[[Subject], list[float]]
    aim: str  # What we want of ours against Docker's, in words.
    better: str = "lower"
    goal: float = 1.0  # ours/docker at most (lower) or at least (higher).


def tag() -> str:
    """Return a name no earlier round used."""
    return f"b{secrets.token_hex(5)}"


def _forget(subject: Subject, done: Load) -> None:
    ids = [json.loads(answer)["ID"] for answer in done.answers]
    load(str(subject.socket), [request("DELETE", f"/secrets/{one}") for one in ids], 8)


def creates(clients: int, count: int) -> Callable[[Subject], Load]:
    """Return a load that creates secrets of 1 KB and removes them again."""

    def run(subject: Subject) -> Load:
        name = tag()
        done = load(str(subject.socket), [create_secret(f"{name}-{i}", 1024) for i in range(count)], clients)
        _forget(subject, done)
        return done

    return run


def create_latency(subject: Subject) -> list[float]:
    """Return the milliseconds of single creates by one client."""
    return [seconds * 1000 for seconds in creates(1, 500)(subject).latencies_s]


def create_rate(subject: Subject) -> list[float]:
    """Return creates a second with 16 clients."""
    done = creates(16, 2000)(subject)
    return [len(done.latencies_s) / done.wall_s]


def list_latency(subject: Subject) -> list[float]:
    """Return the milliseconds of lists of 1,000 secrets, and of the client program doing the same."""
    return [seconds * 1000 for seconds in _with_thousand(subject, _lists)]


def cli_list_latency(subject: Subject) -> list[float]:
    """Return the milliseconds of `secret ls` as a process, with 1,000 secrets."""
    return [
        seconds * 1000 for seconds in _with_thousand(subject, lambda s: [s.run_cli("secret", "ls") for _ in range(10)])
    ]


def _lists(subject: Subject) -> list[float]:
    return load(str(subject.socket), [request("GET", "/secrets")] * 50, 1).latencies_s


def _with_thousand(subject: Subject, measure: Callable[[Subject], list[float]]) -> list[float]:
    name = tag()
    made = load(str(subject.socket), [create_secret(f"{name}-{i}", 1024) for i in range(1000)], 16)
    try:
        return measure(subject)
    finally:
        _forget(subject, made)


class Service:
    """A service with a secret, made for one round."""

    def __init__(self, subject: Subject, replicas: int, parallelism: int = 1) -> None:
        self.subject, self.http = subject, subject.connection()
        self.name, self.parallelism = tag(), parallelism
        self.secrets = [self._secret(f"{self.name}-{number}") for number in (1, 2)]
        self.id: str = self.http.json("POST", "/services/create", self.spec(replicas, 0))["ID"]

    def _secret(self, name: str) -> tuple[str, str]:
        value = base64.b64encode(name.encode() * 20).decode()
        return self.http.json("POST", "/secrets/create", {"Name": name, "Data": value})["ID"], name

    def spec(self, replicas: int, secret: int) -> dict[str, Any]:
        """Return the service's spec with one of its two secrets."""
        secret_id, secret_name = self.secrets[secret]
        return {
            "Name": self.name,
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "busybox:latest",
                    "Args": ENDS_ON_TERM,
                    "Secrets": [
                        {
                            "File": {"Name": "s", "UID": "0", "GID": "0", "Mode": 292},
                            "SecretID": secret_id,
                            "SecretName": secret_name,
                        }
                    ],
                },
                "Networks": [{"Target": "host"}],
            },
            "Mode": {"Replicated": {"Replicas": replicas}},
            "UpdateConfig": {"Parallelism": self.parallelism, "Monitor": 1_000_000, "Order": "stop-first"},
        }

    def running(self, count: int, secret: int = 0) -> None:
        """Return once `count` tasks run with a secret."""
        wanted = self.secrets[secret][0]
        filters = quote(json.dumps({"service": [self.id], "desired-state": ["running"]}))

        def enough() -> bool:
            tasks = self.http.json("GET", f"/tasks?filters={filters}")
            fine = [
                task for task in tasks
                if task["Status"]["State"] == "running"
                and task["Spec"]["ContainerSpec"]["Secrets"][0]["SecretID"] == wanted
            ]  # fmt: skip
            return len(fine) >= count

        until(enough)

    def rotate(self, replicas: int, secret: int) -> None:
        """Give the service its other secret."""
        index = self.http.json("GET", f"/services/{self.id}")["Version"]["Index"]
        self.http.json("POST", f"/services/{self.id}/update?version={index}", self.spec(replicas, secret))

    def remove(self) -> None:
        """Remove it; return once its containers are gone."""
        self.http.json("DELETE", f"/services/{self.id}")
        filters = quote(json.dumps({"label": [f"com.docker.swarm.service.name={self.name}"]}))
        until(lambda: not self.http.json("GET", f"/containers/json?all=1&filters={filters}"))

    def close(self) -> None:
        """Remove its secrets."""
        for secret_id, _ in self.secrets:
            until(lambda one=secret_id: self.http.raw(request("DELETE", f"/secrets/{one}"))[0] in (204, 404))
        self.http.close()


def until(true: Callable[[], bool], timeout_s: float = 120) -> None:
    """Return once a condition holds."""
    deadline = time.perf_counter() + timeout_s
    while not true():
        if time.perf_counter() > deadline:
            raise Failed("a condition did not come true in time")
        time.sleep(POLL_S)


def start_and_remove(replicas: int) -> Callable[[Subject], tuple[float, float, float]]:
    """Return a round: milliseconds until all run, until all are gone, and MB a container for what keeps it."""

    def run(subject: Subject) -> tuple[float, float, float]:
        begun = time.perf_counter()
        service = Service(subject, replicas)
        service.running(replicas)
        started = time.perf_counter() - begun
        keepers = named(subject.keeper, str(subject.root) if subject.name == "vault" else "")
        memory = resident_mb(keepers) / max(len(keepers), 1)
        begun = time.perf_counter()
        service.remove()
        removed = time.perf_counter() - begun
        service.close()
        return started * 1000, removed * 1000, memory

    return run


class Fifty:
    """Rounds of 50 replicas: the case that starts them also times their removal, for the case after it."""

    def __init__(self) -> None:
        self._round = start_and_remove(50)
        self._removals: dict[str, list[float]] = {}

    def start(self, subject: Subject) -> list[float]:
        """Return milliseconds until all run."""
        started, removed, _ = self._round(subject)
        self._removals.setdefault(subject.name, []).append(removed)
        return [started]

    def removal(self, subject: Subject) -> list[float]:
        """Return milliseconds until all are gone, of a round that was run before, or of one run now."""
        kept = self._removals.get(subject.name)
        return [kept.pop(0) if kept else self._round(subject)[1]]


def rotation(parallelism: int) -> Callable[[Subject], list[float]]:
    """Return a round: milliseconds until 10 replicas run with another secret."""

    def run(subject: Subject) -> list[float]:
        service = Service(subject, 10, parallelism)
        service.running(10)
        begun = time.perf_counter()
        service.rotate(10, 1)
        service.running(10, 1)
        taken = time.perf_counter() - begun
        service.remove()
        service.close()
        return [taken * 1000]

    return run


def daemon_memory(subject: Subject) -> list[float]:
    """Return MB of the daemon and its helpers, containers' keepers left out."""
    return [resident_mb([pid for pid in tree(subject.pid) if pid not in named(subject.keeper)])]


START_1, START_10, FIFTY = start_and_remove(1), start_and_remove(10), Fifty()
CASES = (
    Case("secret create, 1 client, p50", "ms", create_latency, "no slower", goal=1.0),
    Case("secret create, 16 clients", "/s", create_rate, "1.5 times as many", better="higher", goal=1.5),
    Case("list of 1,000 secrets, p50", "ms", list_latency, "no slower", goal=1.0),
    Case("`secret ls` as a process, 1,000 secrets", "ms", cli_list_latency, "under 100 ms", goal=2.0),
    Case("1 replica with a secret running", "ms", lambda s: [START_1(s)[0]], "no slower", goal=1.0),
    Case("10 replicas with a secret running", "ms", lambda s: [START_10(s)[0]], "4 times as fast", goal=0.25),
    Case("50 replicas with a secret running", "ms", FIFTY.start, "4 times as fast", goal=0.25),
    Case("removal of 50 replicas", "ms", FIFTY.removal, "4 times as fast", goal=0.25),
    Case("rotation of 10 replicas, one by one", "ms", rotation(1), "4 times as fast", goal=0.25),
    Case("rotation of 10 replicas, ten at once", "ms", rotation(10), "4 times as fast", goal=0.25),
    Case("memory of what keeps one container", "MB", lambda s: [START_10(s)[2]], "a tenth", goal=0.1),
    Case("memory of the daemon", "MB", daemon_memory, "no more", goal=1.0),
)

"""What is measured of a cluster: creates, fail-over, dead workers, drains, memory.

Method: writers with a limit of three seconds ask the managers that are left; a fail-over is over when a create that
began after the kill is acknowledged; every acknowledged secret is looked for by name and by id on every manager.
Clusters take turns, round by round, since the machine's own speed drifts.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from bench.cases import ENDS_ON_TERM, tag
from bench.client import Connection, Failed, create_secret, load, request
from bench.cluster_subjects import Cluster, remove_secrets, until
from bench.machine import wait_for_quiet

CLIENTS = ((1, 500), (16, 1500), (64, 1500))  # Clients, and creates of a round.
CREATE_ROUNDS = 5
LEADER_KILLS, WORKER_KILLS, DRAINS = 10, 3, 3
WRITERS = 4
WARM = 100  # Acknowledged writes before a kill.
WRITE_LIMIT_S = 3.0
REPLICAS = 8
FAST_HEARTBEAT_S = 1.0
USUAL_HEARTBEAT_S = 5.0
FAIL_OVER_LIMIT_S = 120.0


@dataclass
class Measured:
    """Figures of one cluster: by measure, in the order of rounds."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)  # Name and id of secrets.
    lost: int = 0

    def add(self, measure: str, value: float) -> None:
        """Keep a figure."""
        self.figures.setdefault(measure, []).append(value)


Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """What is done in one round on one cluster, how often, and what has to be so around all rounds."""

    name: str
    rounds: int
    round: Callable[[Cluster, Measured, Say], None]
    around: Callable[[Cluster, Measured], AbstractContextManager[None]] = lambda cluster, measured: nullcontext()


def measure(clusters: Sequence[tuple[Cluster, Measured]], cases: Sequence[Case], only: str, say: Say) -> None:
    """Run cases on clusters that are whole, in turns."""
    for case in cases:
        if only not in case.name:
            continue
        with ExitStack() as around:
            for cluster, measured in clusters:
                around.enter_context(case.around(cluster, measured))
            for number in range(case.rounds):
                for cluster, measured in clusters[:: -1 if number % 2 else 1]:
                    case.round(cluster, measured, say)
                    say(f"{cluster.name}: {case.name} {number + 1}/{case.rounds} done")


def creates(cluster: Cluster, measured: Measured, say: Say) -> None:
    """Creates of 1 KB through the leader and through a follower."""
    leader = cluster.leader()
    follower = next(name for name in cluster.managers if name != leader)
    for where, node in (("leader", leader), ("follower", follower)):
        for clients, count in CLIENTS:
            wait_for_quiet()
            name = tag()
            requests = [create_secret(f"{name}-{number}", 1024) for number in range(count)]
            done = load(str(cluster.socket(node)), requests, clients)
            waits = sorted(done.latencies_s)
            measured.add(f"create through {where}, {clients} clients, p50", waits[len(waits) // 2] * 1000)
            measured.add(f"creates through {where}, {clients} clients", len(waits) / done.wall_s)
            say(f"{cluster.name}: {where}, {clients} clients: {len(waits) / done.wall_s:.0f} /s")
            remove_secrets(cluster, leader, (json.loads(answer)["ID"] for answer in done.answers))


def memory(cluster: Cluster, measured: Measured, say: Say) -> None:
    """Resident memory of each manager: daemon and what keeps its store, shared pages counted each time."""
    for node in cluster.managers:
        store, containers = cluster.daemons(node), cluster.runtimes(node)
        measured.add("memory of a manager", sum(map(_resident_mb, store)))
        measured.add("memory of a manager, with what runs containers", sum(map(_resident_mb, {*store, *containers})))


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


class Spread:
    """A service whose tasks are on all nodes; some of them on the one that is looked at."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        spec = {
            "Name": tag(),
            "TaskTemplate": {
                "ContainerSpec": {"Image": "busybox:latest", "Args": ENDS_ON_TERM},
                "Networks": [{"Target": "host"}],
                "RestartPolicy": {"Condition": "any", "Delay": 100_000_000},  # Else a replacement waits for 5 s.
            },
            "Mode": {"Replicated": {"Replicas": REPLICAS}},
        }
        self.id = cluster.json(cluster.leader(), "POST", "/services/create", spec)["ID"]
        until(lambda: len(self.running()) == REPLICAS, "the service runs")

    def running(self, without: str = "") -> list[str]:
        """Return the nodes of tasks that run and are to run, those of one node left out."""
        filters = quote(json.dumps({"service": [self.id], "desired-state": ["running"]}))
        for name in self._cluster.managers:
            shown = self._cluster.ask(name, f"/tasks?filters={filters}")
            if shown is not None:
                on = [one.get("NodeID", "") for one in shown if one["Status"]["State"] == "running"]
                return [one for one in on if one != without]
        return []

    def until_away(self, node_id: str) -> float:
        """Return the seconds until all tasks run on other nodes."""
        return until(lambda: len(self.running(without=node_id)) == REPLICAS, "its tasks run elsewhere")

    def remove(self) -> None:
        """Remove it."""
        self._cluster.json(self._cluster.leader(), "DELETE", f"/services/{self.id}")


def drain(cluster: Cluster, measured: Measured, say: Say) -> None:
    """A worker is drained: until its tasks run elsewhere."""
    worker = cluster.workers[0]
    service, node_id = Spread(cluster), cluster.nodes()[worker]["ID"]
    if node_id not in service.running():
        raise Failed("no task is on the worker that is drained")
    begun = time.perf_counter()
    cluster.available(worker, "drain")
    service.until_away(node_id)
    measured.add("drain: tasks run elsewhere", time.perf_counter() - begun)
    cluster.available(worker, "active")
    service.remove()
    cluster.until_whole()


def dead_worker(cluster: Cluster, measured: Measured, say: Say, how: str = "") -> None:
    """A worker's daemon dies: until it is declared down, and until its tasks run elsewhere."""
    worker = cluster.workers[0]
    service, node_id = Spread(cluster), cluster.nodes()[worker]["ID"]
    if node_id not in service.running():
        raise Failed("no task is on the worker that dies")
    cluster.kill(worker)
    begun = time.perf_counter()
    down = until(lambda: cluster.nodes()[worker]["Status"]["State"] == "down", "the worker is declared down")
    service.until_away(node_id)
    measured.add(f"dead worker: declared down{how}", down)
    measured.add(f"dead worker: tasks run elsewhere{how}", time.perf_counter() - begun)
    cluster.restart(worker)
    cluster.until_whole()
    service.remove()


def dead_worker_fast(cluster: Cluster, measured: Measured, say: Say) -> None:
    """The same with a heartbeat of one second."""
    dead_worker(cluster, measured, say, ", heartbeat 1 s")


@contextmanager
def fast_heartbeat(cluster: Cluster, measured: Measured) -> Iterator[None]:
    """Have nodes report every second while the body runs."""
    cluster.heartbeat(FAST_HEARTBEAT_S)
    try:
        time.sleep(2 * USUAL_HEARTBEAT_S)  # Nodes learn the new period with their next report.
        yield
    finally:
        cluster.heartbeat(USUAL_HEARTBEAT_S)
        time.sleep(2 * USUAL_HEARTBEAT_S)


class Writers:
    """Clients that create secrets through whatever managers are left, and know what was acknowledged when."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._end = threading.Event()
        self.dead = ""
        self.acknowledged: list[tuple[float, float, str, str]] = []  # Begun, answered, name, id.
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End them all."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def first_after(self, moment: float) -> float | None:
        """Return when the first create that began after a moment was acknowledged."""
        return min((answered for begun, answered, *_ in list(self.acknowledged) if begun > moment), default=None)

    def _write(self, number: int) -> None:
        turn, count, prefix = number, 0, tag()
        while not self._end.is_set():
            node = self._cluster.managers[turn % len(self._cluster.managers)]
            turn += 1
            if node == self.dead:
                continue
            try:
                connection = Connection(str(self._cluster.socket(node)), WRITE_LIMIT_S)
                while not self._end.is_set():
                    count += 1
                    name = f"{prefix}-{number}-{count}"
                    begun = time.perf_counter()
                    status, answer = connection.raw(create_secret(name, 256))
                    if status != 201:
                        break
                    self.acknowledged.append((begun, time.perf_counter(), name, json.loads(answer)["ID"]))
                    time.sleep(0.005)
                connection.close()
            except (OSError, Failed):
                pass
            self._end.wait(0.05)


def dead_leader(cluster: Cluster, measured: Measured, say: Say) -> None:
    """The leader dies under writes: until another is seen to lead, and until a write is acknowledged."""
    writers = Writers(cluster)
    try:
        first = _dead_leader(cluster, measured, writers)
    finally:
        writers.end()
    begun = time.perf_counter()
    cluster.restart(writers.dead)
    cluster.until_whole()
    measured.add("dead leader: back as a reachable manager", time.perf_counter() - begun)
    measured.acknowledged += ((name, id_) for *_, name, id_ in writers.acknowledged)
    say(f"{cluster.name}: first write after {first:.1f} s")


def _dead_leader(cluster: Cluster, measured: Measured, writers: Writers) -> float:
    """Kill the leader; return the seconds until a write was acknowledged."""
    old = cluster.leader()
    others = [name for name in cluster.managers if name != old]
    until(lambda: len(writers.acknowledged) > WARM, "writes are acknowledged")
    writers.dead = old
    cluster.kill(old)
    killed = time.perf_counter()
    seen = until(lambda: cluster.leader(others) not in ("", old), "another manager leads", FAIL_OVER_LIMIT_S)
    until(lambda: writers.first_after(killed) is not None, "a write is acknowledged", FAIL_OVER_LIMIT_S)
    first = (writers.first_after(killed) or killed) - killed
    measured.add("dead leader: another is seen to lead", seen)
    measured.add("dead leader: first acknowledged write", first)
    return first


@contextmanager
def counted(cluster: Cluster, measured: Measured) -> Iterator[None]:
    """Look for every acknowledged secret after the body, by name and by id on every manager."""
    yield
    for node in cluster.managers:
        names = {one["Spec"]["Name"]: one["ID"] for one in cluster.json(node, "GET", "/secrets")}
        measured.lost += sum(names.get(name) != id_ for name, id_ in measured.acknowledged)
        connection = Connection(str(cluster.socket(node)))
        for _, id_ in measured.acknowledged[:: max(1, len(measured.acknowledged) // 200)]:
            measured.lost += connection.raw(request("GET", f"/secrets/{id_}"))[0] != 200
        connection.close()


CASES = (
    Case("creates", CREATE_ROUNDS, creates),
    Case("memory", 1, memory),
    Case("drains", DRAINS, drain),
    Case("workers", WORKER_KILLS, dead_worker),
    Case("heartbeat", WORKER_KILLS, dead_worker_fast, fast_heartbeat),
    Case("leaders", LEADER_KILLS, dead_leader, counted),
)

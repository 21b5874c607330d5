"""What is measured of overlay networks: requests along each way, names that come and go, and starts of containers.

Method: the same server and the same clients in the tasks' own network namespaces for each cluster; what a cluster
cannot do in this kernel (Docker's virtual addresses and published ports need IPVS) is left out and shows as `-`.
"""

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.client import Failed
from bench.cluster_cases import Case, Measured, Say
from bench.cluster_subjects import Cluster, until
from bench.machine import wait_for_quiet
from bench.network_stage import PORT, SERVES, Placed, Stage

ROUNDS = 10
NAME_ROUNDS = 30  # A 99th percentile of ten rounds would be their largest.
CONNECTIONS = 16
RATE_S, LATENCY_S = 1.0, 0.5
PUBLISHED, BARE = 8080, 9000
REPLICAS = (1, 10, 50)
SAME, OTHER = "same node", "other node"


@dataclass
class Ways:
    """A server on one worker, and every way to it: from which namespace, to which address and port."""

    stage: Stage
    ways: dict[str, tuple[Path, str, int]]


class Traffic:
    """Requests along each way to one task."""

    def __init__(self) -> None:
        self._ways: dict[str, Ways] = {}

    @contextmanager
    def around(self, cluster: Cluster, measured: Measured) -> Iterator[None]:
        """Have a server, and clients on its node and on another, while the body runs."""
        stage = Stage(cluster)
        stage.open()
        try:
            self._ways[cluster.name] = Ways(stage, _ways(cluster, stage))
            yield
        finally:
            stage.close()

    def round(self, cluster: Cluster, measured: Measured, say: Say) -> None:
        """Ask along every way, in turns."""
        known = self._ways[cluster.name]
        for way, (network, host, port) in known.ways.items():
            wait_for_quiet()
            busy = known.stage.load(network, host, port, CONNECTIONS, RATE_S)
            alone = known.stage.load(network, host, port, 1, LATENCY_S)
            measured.add(f"requests, {CONNECTIONS} connections: {way}", busy["rate"])
            for part in ("p50", "p99"):
                measured.add(f"latency, 1 connection, {part}: {way}", alone[part])
            say(f"{cluster.name}: {way}: {busy['rate']:.0f} /s, {alone['p50']:.3f} ms")


def _ways(cluster: Cluster, stage: Stage) -> dict[str, tuple[Path, str, int]]:
    near, far = cluster.workers[:2]
    watchers = {each.node: each for each in _on_every_node(stage)}
    service, _ = stage.service(1, node=near, published=PUBLISHED if stage.has_vips else 0)
    (task,) = stage.placed(stage.until_running(service, 1))
    stage.server(task.network, PORT)
    stage.server(cluster.network(near), BARE)
    outside, address = cluster.network(""), {name: _node_address(cluster, name) for name in (near, far)}
    ways = {
        "no overlay": (outside, address[near], BARE),
        f"direct, {SAME}": (watchers[near].network, task.address, PORT),
        f"direct, {OTHER}": (watchers[far].network, task.address, PORT),
    }
    if stage.has_vips:
        virtual = stage.virtual_address(service)
        ways |= {
            f"VIP, {SAME}": (watchers[near].network, virtual, PORT),
            f"VIP, {OTHER}": (watchers[far].network, virtual, PORT),
            f"mesh, {SAME}": (outside, address[near], PUBLISHED),
            f"mesh, {OTHER}": (outside, address[far], PUBLISHED),
        }
    for way, (network, host, port) in ways.items():
        until(lambda n=network, h=host, p=port: _answers(stage, n, h, p), f"{way} answers", 30)  # type: ignore[misc]
    return ways


def _answers(stage: Stage, network: Path, host: str, port: int) -> bool:
    try:
        return stage.load(network, host, port, 1, 0.1)["rate"] > 0
    except (Failed, subprocess.TimeoutExpired):
        return False


def _node_address(cluster: Cluster, name: str) -> str:
    return str(cluster.nodes()[name]["Status"]["Addr"])


def _on_every_node(stage: Stage) -> list[Placed]:
    """Return a task on each node, which does nothing."""
    service, _ = stage.service(0)
    return stage.placed(stage.until_running(service, len(stage.cluster.all)))


class Names:
    """How soon a name leads somewhere, and how soon it no longer does."""

    def __init__(self) -> None:
        self._stages: dict[str, tuple[Stage, list[subprocess.Popen[str]]]] = {}

    @contextmanager
    def around(self, cluster: Cluster, measured: Measured) -> Iterator[None]:
        """Have somebody who asks for names on every node while the body runs."""
        stage = Stage(cluster)
        stage.open()
        try:
            watchers = [stage.program(each.network, "watch") for each in _on_every_node(stage)]
            self._stages[cluster.name] = stage, watchers
            yield
        finally:
            stage.close()

    def round(self, cluster: Cluster, measured: Measured, say: Say) -> None:
        """Start a task, and wait until it is reached by name on all nodes; kill another, until its address is gone."""
        stage, watchers = self._stages[cluster.name]
        service, name = stage.service(1, command=SERVES, restarts=False)
        _order(watchers, f"appears tasks.{name} {PORT}")
        (task,) = stage.until_running(service, 1)
        appeared = _answered(watchers)
        began = datetime.datetime.fromisoformat(_microseconds(task["Status"]["Timestamp"])).timestamp()
        measured.add("task running until reached by name on all nodes", (max(appeared) - began) * 1000)
        if stage.has_vips:
            _order(watchers, f"appears {name} {PORT}")
            measured.add("task running until reached by VIP on all nodes", (max(_answered(watchers)) - began) * 1000)
        stage.remove(service)
        gone = self._killed(stage, watchers)
        measured.add("task killed until its address is gone on all nodes", gone)
        say(f"{cluster.name}: reached after {(max(appeared) - began) * 1000:.0f} ms, gone after {gone:.0f} ms")

    def _killed(self, stage: Stage, watchers: list[subprocess.Popen[str]]) -> float:
        """Return the milliseconds; of two tasks one stays, since not every resolver answers for a name with none."""
        service, name = stage.service(2, restarts=False)
        (placed, _) = stage.placed(stage.until_running(service, 2))
        _order(watchers, f"knows tasks.{name} {placed.address}")
        _answered(watchers)
        _order(watchers, f"vanishes tasks.{name} {placed.address}")
        killed = time.time()
        os.kill(placed.pid, signal.SIGKILL)
        took = (max(_answered(watchers)) - killed) * 1000
        stage.remove(service)
        return took


def _order(watchers: list[subprocess.Popen[str]], line: str) -> None:
    for each in watchers:
        assert each.stdin is not None
        each.stdin.write(f"{line}\n")
        each.stdin.flush()


def _answered(watchers: list[subprocess.Popen[str]]) -> list[float]:
    """Return when each saw what it waited for.  Raises `Failed` if one did not."""
    moments: list[float] = []
    for each in watchers:
        assert each.stdout is not None
        moment = json.loads(each.stdout.readline())
        if moment is None:
            raise Failed("a name did not come, or did not go, within a minute")
        moments.append(moment)
    return moments


def _microseconds(timestamp: str) -> str:
    """Return a timestamp with as many digits as Python reads."""
    whole, _, fraction = timestamp.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:6]:0<6}+00:00"


class Starts:
    """Containers on an overlay network, against containers on the nodes' own."""

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas
        self._stages: dict[str, Stage] = {}

    @contextmanager
    def around(self, cluster: Cluster, measured: Measured) -> Iterator[None]:
        """Have a network, with a task on each node, while the body runs."""
        stage = Stage(cluster)
        stage.open()
        try:
            _on_every_node(stage)
            self._stages[cluster.name] = stage
            yield
        finally:
            stage.close()

    def round(self, cluster: Cluster, measured: Measured, say: Say) -> None:
        """Start and remove so many, on both."""
        took = {host: self._start(self._stages[cluster.name], host) for host in (True, False)}
        suffix = f"{self._replicas} replica{'s' if self._replicas > 1 else ''}"
        measured.add(f"start of {suffix}, host network", took[True])
        measured.add(f"start of {suffix}, overlay", took[False])
        measured.add(f"start of {suffix}, overlay / host network", took[False] / took[True])
        say(f"{cluster.name}: {suffix}: {took[True]:.0f} ms on the host network, {took[False]:.0f} ms on overlay")

    def _start(self, stage: Stage, host: bool) -> float:
        wait_for_quiet()
        begun = time.perf_counter()
        service, _ = stage.service(self._replicas, host=host)
        tasks = stage.until_running(service, self._replicas)
        took = (time.perf_counter() - begun) * 1000
        pids = [each["Status"]["ContainerStatus"]["PID"] for each in tasks]
        stage.remove(service)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "its containers have ended")
        return took


def program(cluster: Cluster, measured: Measured, say: Say) -> None:
    """One node of ours programs endpoints; Docker's has no such way in."""
    if cluster.name != "vault":
        return
    wait_for_quiet()
    with tempfile.TemporaryDirectory(prefix="vbp-", dir="/tmp") as place:
        apart = ["unshare", "--net", "--mount", "--", sys.executable, "-m", "bench.network_program", place]
        done = subprocess.run(apart, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Failed(f"endpoints were not programmed: {done.stderr.strip()[-300:]}")
    for what, took_ms in json.loads(done.stdout).items():
        measured.add(what, took_ms)


def _starts(replicas: int) -> Case:
    measure = Starts(replicas)
    return Case(f"start {replicas}", ROUNDS, measure.round, measure.around)


_TRAFFIC, _NAMES = Traffic(), Names()
CASES: tuple[Case, ...] = (
    Case("traffic", ROUNDS, _TRAFFIC.round, _TRAFFIC.around),
    Case("program", ROUNDS, program),
    Case("names", NAME_ROUNDS, _NAMES.round, _NAMES.around),
    *(_starts(count) for count in REPLICAS),
)

"""Measure the scheduler alone: no store, no network, one process.  `python -m bench.schedule --help` tells the options.

Every task waits in a snapshot at first; a new scheduler decides, each decision is applied to the snapshot, and so on
until it has nothing more to say.  The program fails when a task is left out, or is where it must not be.
"""

import gc
import sys
import time
from dataclasses import dataclass, field
from random import Random

import click

from bench.client import Failed
from bench.cluster_report import write
from bench.machine import wait_for_quiet
from bench.schedule_report import BEGIN, END, Figures, section, shown
from bench.subjects import HERE
from vault.model.base import Version
from vault.model.node import Node, NodeDescription, NodeResources, NodeSpec, NodeStatus
from vault.model.service import Placement, PlacementPreference, Reservation, Resources, SpreadOver, TaskSpec
from vault.model.task import State, Task, TaskStatus
from vault.scheduler.schedule import Scheduler
from vault.store.changes import Put
from vault.store.snapshot import Key, Snapshot

NOW_S = 1_700_000_000.0
ZONES, RACKS = 4, 40
CPU = 10**9


def over(*labels: str) -> tuple[PlacementPreference, ...]:
    """Return preferences for labels, the first first."""
    return tuple(PlacementPreference(spread=SpreadOver(spread_descriptor=f"node.labels.{label}")) for label in labels)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One world."""

    nodes: int
    tasks: int
    services: int
    words: str = ""  # What the tasks ask for.
    spec: TaskSpec = field(default_factory=TaskSpec)
    fit: bool = True  # Whether all of them can be placed.


SPREAD = TaskSpec(placement=Placement(preferences=over("zone", "rack")))
STRICT = TaskSpec(placement=Placement(constraints=("node.labels.zone == z1",)))
RESERVING = TaskSpec(resources=Resources(reservations=Reservation(nano_cpus=CPU // 10, memory_bytes=1 << 26)))
IMPOSSIBLE = TaskSpec(resources=Resources(reservations=Reservation(nano_cpus=1_000 * CPU)))
CASES = (
    *(Case(nodes=1_000, tasks=tasks, services=max(tasks // 100, 1)) for tasks in (1_000, 10_000, 100_000)),
    *(Case(nodes=nodes, tasks=10_000, services=100) for nodes in (100, 10_000)),
    Case(nodes=1_000, tasks=100_000, services=1),
    Case(nodes=1_000, tasks=10_000, services=10_000),
    Case(nodes=1_000, tasks=10_000, services=100, words="spread over zones, then racks", spec=SPREAD),
    Case(nodes=1_000, tasks=10_000, services=100, words="a constraint that a quarter meets", spec=STRICT),
    Case(nodes=1_000, tasks=10_000, services=100, words="processors and memory reserved", spec=RESERVING),
    Case(nodes=1_000, tasks=1_000, services=1_000, words="more than any node has", spec=IMPOSSIBLE, fit=False),
)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Runs of each case.")
@click.option("--write/--no-write", "write_document", default=False, help="Put the table into docs/performance.md.")
def main(rounds: int, write_document: bool) -> None:
    """Measure how many tasks are placed in a second, and how long one decision takes."""
    measured: list[tuple[Case, list[Figures]]] = []
    for case in CASES:
        wait_for_quiet()
        measured.append((case, [run(case) for _ in range(rounds)]))
        click.echo(f"{case.tasks:,} tasks, {case.nodes:,} nodes {case.words}: {measured[-1][1]}", err=True)
    rows = [(case.nodes, case.tasks, case.services, case.words, figures) for case, figures in measured]
    click.echo(shown(rows))
    if write_document:
        write(HERE / "docs" / "performance.md", section(rows), BEGIN, END)


def run(case: Case) -> Figures:
    """Let a new scheduler place all tasks of a case, and check what it did."""
    snap, decisions = world(case), []
    changed: set[Key] | None = None
    scheduler = Scheduler()
    gc.collect()
    gc.freeze()  # As vaultd does with what it has read at start.
    begun = time.perf_counter()
    while True:
        at = time.perf_counter()
        decision = scheduler(snap, changed, now_s=NOW_S, new_id=str)
        decisions.append(time.perf_counter() - at)
        if not decision.changes and decision.ask_again_s is None:
            break
        before, snap = snap, snap.apply(decision.changes, index=snap.index + 1, now_s=NOW_S)
        changed = snap.changed_since(before)
    took_s = time.perf_counter() - begun
    gc.unfreeze()
    check(case, snap)
    return Figures(took_s=took_s, deciding_s=sum(decisions), longest_s=max(decisions))


def world(case: Case) -> Snapshot:
    """Return nodes, and tasks that wait."""
    random = Random(case.tasks)  # noqa: S311 - ids that come in no order, the same in each run.
    made: list[Node | Task] = [node(number) for number in range(case.nodes)]
    waiting = TaskStatus(state=State.PENDING)
    for number in range(case.tasks):
        task = Task(
            id=f"{random.getrandbits(100):025x}",
            spec=case.spec,
            service_id=f"s{number % case.services:05}",
            slot=number // case.services + 1,
            spec_version=Version(index=1),
            status=waiting,
        )
        made.append(task)
    return Snapshot().apply(map(Put, made), index=1, now_s=NOW_S)


def node(number: int) -> Node:
    """Return a node with two labels and room for a hundred tasks."""
    return Node(
        id=f"n{number:06}",
        spec=NodeSpec(labels={"zone": f"z{number % ZONES}", "rack": f"r{number % RACKS}"}),
        description=NodeDescription(resources=NodeResources(nano_cpus=16 * CPU, memory_bytes=64 << 30)),
        status=NodeStatus(state="ready"),
    )


def check(case: Case, snap: Snapshot) -> None:
    """Fail unless every task is placed, or says why not, and each service is on as many nodes as it can be."""
    tasks = list(snap.tasks.values())
    if not case.fit:
        if not all(task.state is State.PENDING and task.status.err for task in tasks):
            raise Failed("a task that fits nowhere does not say so")
        return
    if len(tasks) != case.tasks or not all(task.state is State.ASSIGNED and task.node_id for task in tasks):
        raise Failed("a task was not placed")
    usable = case.nodes // ZONES if case.spec is STRICT else case.nodes
    used: dict[str, set[str]] = {}
    for task in tasks:
        used.setdefault(task.service_id, set()).add(task.node_id)
    if any(len(nodes) != min(usable, case.tasks // case.services) for nodes in used.values()):
        raise Failed("a service is not spread over the nodes")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"bench: {error}")

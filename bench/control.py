"""Measure the deciders alone on large services: no store, no network.  `python -m bench.control --help` says how.

A manager's decisions about the life of services of many tasks, in one process: created, all of their tasks replaced by
an update, removed.  Simulated nodes report what they are told, 500 tasks in a commit, as the dispatcher writes it.  The
figures are processor time, so what else the machine does matters little.  The program fails when a service does not
become what was asked for.
"""

import gc
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import count

import click
from msgspec.structs import replace

from bench.client import Failed
from bench.cluster_report import write
from bench.control_report import BEGIN, END, Figures, section, shown
from bench.schedule import node
from bench.subjects import HERE
from vault.model.container import ContainerSpec
from vault.model.ids import Kind
from vault.model.service import Replicated, Service, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig
from vault.model.task import State, Task, TaskStatus
from vault.orchestrator.control import new_control
from vault.store.changes import Atomic, Change, Put
from vault.store.rules_service import removed_service, updated_service
from vault.store.snapshot import Key, Snapshot

REPORTED = 500  # Tasks in one commit.
STEP_S = 0.05
LIMIT = 100_000  # Decisions.


@dataclass(frozen=True, kw_only=True)
class Case:
    """How much there is."""

    nodes: int
    tasks: int
    services: int


CASES = (
    Case(nodes=1_000, tasks=30_000, services=30),
    Case(nodes=1_000, tasks=30_000, services=1),
    Case(nodes=1_000, tasks=100_000, services=1),
)


@click.command()
@click.option("--case", "only", type=int, multiple=True, help="Numbers of cases; all unless given.")
@click.option("--write/--no-write", "write_document", default=False, help="Put the table into docs/performance.md.")
def main(only: tuple[int, ...], write_document: bool) -> None:
    """Measure what decisions cost, and the longest of them."""
    rows: list[tuple[int, int, int, str, Figures]] = []
    for case in [CASES[number] for number in only] or CASES:
        for what, figures in run(case):
            rows.append((case.nodes, case.tasks, case.services, what, figures))
            click.echo(f"{case.tasks:,} tasks of {case.services}: {what}: {figures}", err=True)
    click.echo(shown(rows))
    if write_document:
        write(HERE / "docs" / "performance.md", section(rows), BEGIN, END)


def run(case: Case) -> list[tuple[str, Figures]]:
    """Let services live and end; return what each part of that cost."""
    cluster = Cluster(case)
    measured = [("read by a new leader", cluster.settle())]
    for what, act in (("created", cluster.create), ("updated", cluster.update), ("removed", cluster.remove)):
        act()
        gc.collect()
        gc.freeze()  # As vaultd does with what it has read at start.
        measured.append((what, cluster.settle()))
        cluster.check()
        gc.unfreeze()
        if what == "created":
            cluster.forget()
            measured.append(("read by a new leader", cluster.settle()))
    return measured[1:]


@dataclass
class Cluster:
    """A store without delays, the deciders of a leader, and nodes that do what they are told."""

    case: Case
    snap: Snapshot = field(default_factory=Snapshot)
    now_s: float = 1_700_000_000.0
    image: str = "v1"

    def __post_init__(self) -> None:
        self._ids = (f"t{number * 2654435761 % 2**32:010}{number:014}" for number in count())
        self._reports: deque[Task] = deque()
        self._before: Snapshot | None = None
        self.wanted = 0
        self.commit([Put(node(number)) for number in range(self.case.nodes)])
        self.forget()

    def forget(self) -> None:
        """Let another leader decide from now on."""
        self._control, self._before = new_control(), None

    def create(self) -> None:
        """Create the services."""
        each, rest = divmod(self.case.tasks, self.case.services)
        for number in range(self.case.services):
            replicas = each + (number < rest)
            spec = ServiceSpec(
                name=f"s{number}",
                mode=ServiceMode(replicated=Replicated(replicas=replicas)),
                task_template=TaskSpec(container_spec=ContainerSpec(image=self.image)),
                update_config=UpdateConfig(parallelism=0, monitor=1),
            )
            self.commit([Put(Service(id=f"s{number}", spec=spec))])
        self.wanted = self.case.tasks

    def update(self) -> None:
        """Give every service another image."""
        self.image = "v2"
        for service in list(self.snap.services.values()):
            template = replace(service.spec.task_template, container_spec=ContainerSpec(image=self.image))
            spec = replace(service.spec, task_template=template)
            version = service.version.index
            self.commit([updated_service(self.snap, service.id, spec, version=version, now_s=self.now_s)])

    def remove(self) -> None:
        """Remove every service."""
        for service_id in list(self.snap.services):
            self.commit(removed_service(self.snap, service_id, now_s=self.now_s))
        self.wanted = 0

    def check(self) -> None:
        """Fail unless there are as many tasks as there should be, of the newest image."""
        running = [task for task in self.snap.tasks.values() if task.state is State.RUNNING]
        if len(running) != self.wanted or any(task.spec.container_spec.image != self.image for task in running):
            raise Failed(f"{len(running)} tasks run instead of {self.wanted}")
        if not self.wanted and len(self.snap.tasks):
            raise Failed(f"{len(self.snap.tasks)} tasks of removed services are left")

    def settle(self) -> Figures:
        """Decide until there is nothing more to do; return what the decisions cost."""
        took: list[float] = []
        for _ in range(LIMIT):
            self.now_s += STEP_S
            after, at = self.snap, time.thread_time()
            decision = self._control(self._before, after, now_s=self.now_s, new_id=lambda: next(self._ids))
            took.append(time.thread_time() - at)
            self._before = after
            if decision.changes:
                self.commit(decision.changes)
            self._report()
            if self.snap is after and (decision.ask_again_s is None or decision.ask_again_s > self.now_s + 60):
                return Figures(decisions=len(took), total_s=sum(took), longest_s=max(took))
        raise Failed("there is always something to decide")

    def commit(self, changes: "list[Change] | tuple[Change | Atomic, ...]") -> None:
        """Apply changes, and let the nodes do what they are told by them."""
        index = self.snap.index + 1
        before, self.snap = self.snap, self.snap.apply(changes, index=index, now_s=self.now_s)
        touched: set[Key] = self.snap.changed_since(before) or set()
        for kind, object_id in sorted(touched):
            task = self.snap.tasks.get(object_id) if kind is Kind.TASK else None
            if task is not None and _state(task) is not task.state:
                self._reports.append(task)

    def _report(self) -> None:
        """Commit a part of what nodes have to say."""
        seen: dict[str, Put] = {}
        while self._reports and len(seen) < REPORTED:
            task = self.snap.tasks.get(self._reports.popleft().id)
            if task is not None and (state := _state(task)) is not task.state:
                seen[task.id] = Put(replace(task, status=TaskStatus(state=state)))
        if seen:
            self.commit(list(seen.values()))


def _state(task: Task) -> State:
    """Return where a task's node brings it."""
    if not State.ASSIGNED <= task.state <= State.RUNNING:
        return task.state
    return State.SHUTDOWN if task.desired_state > State.COMPLETE else task.desired_state


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"bench: {error}")

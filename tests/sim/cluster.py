"""A simulated cluster: one store, one leader after another, nodes with agents, and people who change their minds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import count

from msgspec.structs import replace

from tests.sim.agent import Agent
from tests.sim.clock import START_S, Clock
from tests.sim.invariants import check_commit, check_decision
from vault.model.base import from_s
from vault.model.ids import Kind
from vault.model.network import Network, NetworkSpec
from vault.model.node import Node, NodeDescription, NodeResources, NodeSpec, NodeStatus
from vault.model.secret import Driver
from vault.model.service import Service, ServiceSpec
from vault.model.task import AGENT, STEPS, State, Task, TaskStatus
from vault.orchestrator.control import new_control
from vault.store.changes import AnyObject, Atomic, Change, Delete, Put
from vault.store.rules_service import removed_service
from vault.store.snapshot import Snapshot, Stale

DOWN_AFTER_S = 15.0
TELLS = 25  # Lines of the story that a failure prints.


def agent_moves() -> set[tuple[State, State]]:
    """Return the pairs of states that a report may lead between; it may leave out those in the middle."""
    moves = {(a, b) for a, steps in STEPS.items() for b, owner in steps.items() if owner == AGENT}
    while more := {(a, d) for a, b in moves for c, d in moves if b is c} - moves:
        moves |= more
    return moves


AGENT_MOVES = agent_moves()


class Cluster:
    """Everything, driven by `clock`; each change is checked as it is made."""

    def __init__(self, *, seed: int, nodes: int, labels: tuple[str, ...] = ("a", "b")) -> None:
        self.seed = seed
        self.clock = Clock(seed)
        self.faulty = False
        self.snap = Snapshot()
        self._story: deque[tuple[float, str | Task]] = deque(maxlen=TELLS)
        self._ids = (f"t{number:024d}" for number in count(1))
        self._numbers = count(1)
        self._exits: dict[str, tuple[float, float]] = {}  # Service -> range of its containers' lives.
        self.agents: dict[str, Agent] = {}
        self._last_heard_s: dict[str, float] = {}
        made: list[Change] = [
            Put(Network(id="net", spec=NetworkSpec(name="net", driver_configuration=Driver(name="overlay"))))
        ]
        for number in range(nodes):
            node_id = f"n{number}"
            self.agents[node_id] = Agent(self, node_id)
            made.append(
                Put(
                    Node(
                        id=node_id,
                        spec=NodeSpec(labels={"zone": labels[number % len(labels)]}),
                        description=NodeDescription(
                            hostname=node_id, resources=NodeResources(nano_cpus=4 * 10**9, memory_bytes=4 << 30)
                        ),
                        status=NodeStatus(state="ready"),
                    )
                )
            )
        self._take_over()
        self.write("swarm init", made)

    # The leader.

    def _take_over(self) -> None:
        self._term = object()
        self.control = new_control()
        self._before: Snapshot | None = None
        self._proposing = False
        self._again_s: float | None = None

    def change_leader(self) -> None:
        """Let another manager lead; it knows only what is committed."""
        self.tell("another leader")
        self._take_over()
        self._wake()

    def _wake(self) -> None:
        """Decide soon, unless that is under way."""
        if not self._proposing:
            self._proposing = True
            term = self._term
            self.clock.after(self.clock.between(0.0, 0.005), lambda: self._decide(term))

    def _decide(self, term: object) -> None:
        if term is not self._term:
            return
        after = self.snap
        decision = self.control(self._before, after, now_s=self.clock.now_s, new_id=self.new_id)
        check_decision(self, after, decision)
        self._before, self._again_s = after, decision.ask_again_s
        if not decision.changes:
            self._rest(term)
            return

        def arrive() -> None:
            if term is self._term:
                self.commit(decision.changes)
                self._rest(term)

        self.clock.after(self.clock.between(0.001, 0.02), arrive)

    def _rest(self, term: object) -> None:
        self._proposing = False
        if self._before is None or self.snap.index != self._before.index:
            self._wake()
        elif self._again_s is not None:

            def again() -> None:
                if term is self._term and not self._proposing:
                    self._wake()

            self.clock.after(max(self._again_s - self.clock.now_s, 0.001), again)

    # The store.

    def commit(self, changes: Iterable[Change | Atomic]) -> int:
        """Apply what is still true, as one commit; return how many changes were refused."""
        before, refused, index = self.snap, 0, self.snap.index + 1
        snap = before
        for change in changes:
            try:
                snap = snap.apply([change], index=index, now_s=self.clock.now_s)
            except Stale:
                refused += 1
        if snap is before:
            return refused
        self.snap = snap
        touched = snap.changed_since(before)
        assert touched is not None
        for kind, object_id in sorted(touched):
            self._tell_change(before.get(kind, object_id), snap.get(kind, object_id))
        check_commit(self, before, snap, touched)
        for node_id in sorted(
            {
                task.node_id
                for kind, object_id in touched
                if kind is Kind.TASK
                for task in (before.tasks.get(object_id), snap.tasks.get(object_id))
                if task is not None and task.node_id in self.agents
            }
        ):
            self.send_assignments(node_id)
        self._wake()
        return refused

    def write(self, words: str, changes: Iterable[Change]) -> None:
        """Make somebody's change, all of it."""
        self.tell(words)
        assert self.commit([Atomic(tuple(changes))]) == 0, self.story()

    def new_id(self) -> str:
        """Return the next identifier."""
        return next(self._ids)

    # Between managers and nodes.

    def send_assignments(self, node_id: str) -> None:
        """Send a node the tasks it has; the message may be late or lost, then it is sent again."""
        number = next(self._numbers)
        on_node = sorted(self.snap.tasks_on(node_id), key=lambda task: task.id)
        tasks = [task for task in on_node if task.state >= State.ASSIGNED]
        if self.faulty and self.clock.chance(0.1):
            self.clock.after(2.0, lambda: self.send_assignments(node_id))
            return
        self.clock.after(self.clock.between(0.001, 0.1), lambda: self.agents[node_id].assign(number, tasks))

    def deliver_report(self, node_id: str, states: dict[str, State]) -> None:
        """Carry a report to the leader; it may be late or lost, or come twice."""
        for _ in range(self.clock.random.choice((0, 1, 1, 1, 1, 1, 1, 2)) if self.faulty else 1):
            self.clock.after(self.clock.between(0.001, 0.1), lambda: self._observe(node_id, states))

    def _observe(self, node_id: str, states: dict[str, State]) -> None:
        puts: list[Change] = []
        agent = self.agents[node_id]
        for task_id, state in states.items():
            task = self.snap.tasks.get(task_id)
            if task is not None and (task.state, state) in AGENT_MOVES:
                status = TaskStatus(timestamp=from_s(self.clock.now_s), state=state)
                puts.append(Put(replace(task, status=status)))
            elif agent.unheard.get(task_id) is state:
                del agent.unheard[task_id]  # Old news.
        if puts:
            self.commit(puts)

    def exits_after(self, service_id: str) -> float | None:
        """Return after how many seconds a container of the service ends by itself; None = never."""
        if service_id in self._exits:
            return self.clock.between(*self._exits[service_id])
        return self.clock.between(0.1, 20.0) if self.faulty and self.clock.chance(0.1) else None

    def dies(self, service_id: str) -> bool:
        """Whether containers of the service may still end by themselves."""
        return self.faulty or service_id in self._exits

    # People and accidents.

    def create(self, service_id: str, spec: ServiceSpec, exits: tuple[float, float] | None = None) -> None:
        """Create a service."""
        if exits:
            self._exits[service_id] = exits
        self.write(f"create {service_id}", [Put(Service(id=service_id, spec=spec))])

    def update(self, service_id: str, change: Callable[[ServiceSpec], ServiceSpec], words: str = "update") -> None:
        """Give a service another spec, as the API does."""
        service = self.snap.services[service_id]
        new = replace(service, spec=change(service.spec), previous_spec=service.spec, update_status=None)
        self.write(f"{words} {service_id}", [Put(new)])

    def remove(self, service_id: str) -> None:
        """Remove a service, as the API does."""
        self.write(f"remove {service_id}", removed_service(self.snap, service_id, now_s=self.clock.now_s))

    def set_node(self, node_id: str, *, availability: str | None = None, zone: str | None = None) -> None:
        """Change what an operator says of a node."""
        node = self.snap.nodes[node_id]
        spec = replace(
            node.spec,
            availability=availability or node.spec.availability,
            labels={"zone": zone} if zone else node.spec.labels,
        )
        self.write(f"node {node_id}: {spec.availability} {spec.labels}", [Put(replace(node, spec=spec))])

    def remove_node(self, node_id: str) -> None:
        """Take a node out of the cluster for good."""
        self.agents[node_id].crash()
        node = self.snap.nodes[node_id]
        self.write(f"remove node {node_id}", [Delete(Kind.NODE, node_id, node.version.index)])

    def cut(self, node_id: str, *, crash: bool) -> None:
        """Lose a node: by a crash, or only from sight."""
        agent = self.agents[node_id]
        self.tell(f"{'crash of' if crash else 'no way to'} {node_id}")
        agent.connected = False
        if crash:
            agent.crash()
        self.clock.after(DOWN_AFTER_S, lambda: self._miss(node_id))

    def _miss(self, node_id: str) -> None:
        if not self.agents[node_id].connected:
            self.agents[node_id].written_off.update(self.agents[node_id].tasks)
            self._mark(node_id, "down", "heartbeat failure")

    def join_again(self, node_id: str) -> None:
        """Let a lost node come back."""
        agent = self.agents[node_id]
        if node_id not in self.snap.nodes or agent.connected:
            return
        agent.connected = True
        if not agent.up:
            agent.boot()
        self._mark(node_id, "ready", "")
        agent._report()
        self.send_assignments(node_id)

    def _mark(self, node_id: str, state: str, message: str) -> None:
        node = self.snap.nodes.get(node_id)
        if node is not None and node.status.state != state:
            status = replace(node.status, state=state, message=message)
            self.write(f"{node_id} is {state}", [Put(replace(node, status=status))])

    def heal(self) -> None:
        """End all faults; lost nodes come back, paused and drained ones serve again."""
        self.tell("faults stop")
        self.faulty = False
        for node_id, agent in self.agents.items():
            agent.slow = 1.0
            self.join_again(node_id)
            if node_id in self.snap.nodes and self.snap.nodes[node_id].spec.availability != "active":
                self.set_node(node_id, availability="active")

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        self.clock.run(duration_s)

    # What a failure prints.

    def tell(self, what: str | Task) -> None:
        """Remember what happened."""
        self._story.append((self.clock.now_s - START_S, what))

    def _tell_change(self, old: AnyObject | None, new: AnyObject | None) -> None:
        match old, new:
            case Task(), None:
                self.tell(f"  {old.id} deleted")
            case _, Task():
                self.tell(new)
            case Service(update_status=a), Service(update_status=b) if a != b and b is not None:
                self.tell(f"  {new.id} {b.state} {b.message}")

    def told(self) -> str:
        """Return what happened last, and the whole state it led to."""
        tasks = "\n".join(line(task) for _, task in sorted(self.snap.tasks.items()))
        return f"{self.story()}\n{self.snap.index}\n{tasks}"

    def story(self) -> str:
        """Return the seed and what happened last."""
        lines = [f"{at_s:9.3f}  {what if isinstance(what, str) else line(what)}" for at_s, what in self._story]
        return "\n".join([f"seed {self.seed}", *lines])

    def running(self, service_id: str) -> int:
        """Return how many containers of a service are alive on nodes that can be seen."""
        return sum(
            1
            for agent in self.agents.values()
            if agent.connected
            for task_id in agent.running
            if agent.tasks[task_id].service_id == service_id
        )


def line(task: Task) -> str:
    """Return a task in one line."""
    version = task.spec_version.index if task.spec_version else 0
    place = f"{task.service_id}.{task.slot or task.node_id}"
    states = f"{task.state.value} -> {task.desired_state.value} {task.status.err}"
    return f"  {place} {task.id[-4:]} v{version} on {task.node_id or '-'}: {states}"

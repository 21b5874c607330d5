"""A simulated node: takes assignments, runs containers that may die, and reports what it saw.

Messages may be late or lost; the node keeps what was not acknowledged and says it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.model.task import State, Task

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster

NEXT = {
    State.ASSIGNED: State.ACCEPTED,
    State.ACCEPTED: State.PREPARING,
    State.PREPARING: State.READY,
    State.READY: State.STARTING,
    State.STARTING: State.RUNNING,
}
RESEND_S = 2.0


@dataclass(slots=True)
class Local:
    """A task as its node knows it."""

    desired: State
    state: State
    service_id: str
    busy: bool = False  # A step is under way.


class Agent:
    """What runs on one node."""

    def __init__(self, cluster: Cluster, node_id: str) -> None:
        self.cluster = cluster
        self.clock = cluster.clock
        self.node_id = node_id
        self.up = True  # The machine.
        self.connected = True  # Its network.
        self.slow = 1.0
        self.tasks: dict[str, Local] = {}
        self.unheard: dict[str, State] = {}  # Reported, not acknowledged.
        self.seen = 0  # Number of the newest assignment taken.
        self.life = 0  # Counts reboots: what a former life began is void.
        self.resending = False
        self.written_off: set[str] = set()  # Tasks that were replaced while nobody could see the node.

    @property
    def running(self) -> list[str]:
        """The tasks whose container is alive."""
        return [task_id for task_id in self.tasks if self.runs(task_id)]

    def runs(self, task_id: str) -> bool:
        """Whether the task's container is alive."""
        local = self.tasks.get(task_id)
        return local is not None and State.STARTING <= local.state <= State.RUNNING

    def assign(self, number: int, tasks: list[Task]) -> None:
        """Take the full list of tasks of this node, unless it is older than the last one."""
        if not (self.up and self.connected) or number <= self.seen:
            return
        self.seen = number
        wanted = {task.id: task for task in tasks}
        for task_id in [task_id for task_id in self.tasks if task_id not in wanted]:
            del self.tasks[task_id]  # Its container is killed.
            self.unheard.pop(task_id, None)
        for task in tasks:
            local = self.tasks.get(task.id)
            if local is None:
                state = task.state
                local = self.tasks[task.id] = Local(task.desired_state, state, task.service_id)
                if State.STARTING <= state <= State.RUNNING:
                    self.move(task.id, State.FAILED)  # A reboot took its container.
                self.step(task.id)
            if self.unheard.get(task.id) is task.state:
                del self.unheard[task.id]
            if local.desired is not task.desired_state:
                local.desired = task.desired_state
                self.step(task.id)

    def step(self, task_id: str) -> None:
        """Begin the next step of a task, if there is one."""
        local = self.tasks.get(task_id)
        if local is None or local.busy or local.state.terminal:
            return
        if local.desired > State.RUNNING:
            self._later(task_id, State.SHUTDOWN, self.clock.between(0.0, 0.4))
        elif local.state is State.RUNNING:
            if (exits := self.cluster.exits_after(local.service_id)) is not None:
                state = State.FAILED if self.clock.chance(0.7) else State.COMPLETE
                self._later(task_id, state, exits)
        elif local.state is not State.READY or local.desired is State.RUNNING:
            state = NEXT[local.state]
            if self.cluster.faulty and self.clock.chance(0.01):
                state = State.REJECTED if local.state < State.STARTING else State.FAILED
            self._later(task_id, state, self.clock.between(0.0, 0.03))

    def _later(self, task_id: str, state: State, delay_s: float) -> None:
        local, life = self.tasks[task_id], self.life
        local.busy = state is not State.FAILED and state is not State.COMPLETE

        def happen() -> None:
            if self.life != life or self.tasks.get(task_id) is not local or local.state.terminal:
                return
            exits = local.state is State.RUNNING and state is not State.SHUTDOWN
            if exits and (local.desired > State.RUNNING or not self.cluster.dies(local.service_id)):
                return  # It is being stopped already, or faults have stopped.
            local.busy = False
            self.move(task_id, state)
            self.step(task_id)

        self.clock.after(delay_s * self.slow, happen)

    def move(self, task_id: str, state: State) -> None:
        """Note a new state of a task and report it."""
        self.tasks[task_id].state = state
        self.unheard[task_id] = state
        self._report()

    def _report(self) -> None:
        if not (self.up and self.unheard):
            return
        if self.connected:
            self.cluster.deliver_report(self.node_id, dict(self.unheard))
        if not self.resending:
            self.resending = True
            self.clock.after(RESEND_S, self._resend)

    def _resend(self) -> None:
        self.resending = False
        self._report()

    def crash(self) -> None:
        """Lose power: every container dies, and with it what was not said."""
        self.up = False
        self.life += 1
        self.tasks, self.unheard, self.seen = {}, {}, 0

    def boot(self) -> None:
        """Come up again, empty."""
        self.up = True

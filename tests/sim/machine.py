"""A machine of the cluster and the containers on it, which live on while nobody watches them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.sim.agent import Agent
from tests.sim.images import behaviour
from vault.agent.executors.port import Exit, Phase
from vault.agent.health import KeptHealth
from vault.model.base import from_s
from vault.model.ids import Kind
from vault.model.node import NodeDescription
from vault.model.service import DEFAULT_STOP_GRACE_NS
from vault.model.task import Task

if TYPE_CHECKING:
    from tests.sim.world import World


@dataclass(slots=True)
class Container:
    """What is there of a task."""

    task: Task
    values: frozenset[tuple[Kind, str]]  # Secrets and configs mounted in it.
    prepared_by: Agent | None  # Who may have got no further than half of it.
    phase: Phase = Phase.PREPARED
    exit: Exit | None = None
    stopping: bool = False
    health: KeptHealth | None = None  # As its vaultd has noted it; None: it has no check.
    since_s: float = 0.0  # When it was started.


@dataclass(slots=True)
class Machine:
    """Power, network, a vaultd, containers."""

    world: World
    id: str
    addr: str
    description: NodeDescription
    up: bool = True
    linked: bool = True  # Whether managers can be reached.
    distance: float = 1.0  # How slow its network is.
    slowness: float = 1.0
    epoch: int = 0  # The highest that was seen, on disk.
    lives: int = 0  # Counts losses of power: what a former life began is void.
    containers: dict[str, Container] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    doomed: dict[str, str] = field(default_factory=dict)  # Container -> which other one ends with it, once it starts.
    agent: Agent | None = None

    def start_agent(self) -> None:
        """Start vaultd, which takes over what it finds."""
        if self.up and self.agent is None:
            self.agent = Agent(self)

    def kill_agent(self) -> None:
        """Kill vaultd; containers live on."""
        if self.agent is not None:
            self.agent.die()
            self.agent = None

    def lose_power(self) -> None:
        """Lose everything but the disk."""
        self.kill_agent()
        self.up = False
        self.lives += 1
        for task_id in list(self.containers):
            self.remove(task_id)

    def pull_s(self, image: str, bounds: tuple[float, float]) -> float:
        """Return how long it takes to have an image; what was pulled before is there."""
        if image in self.images:
            return self.world.clock.between(0.001, 0.02)
        return self.world.clock.between(*bounds) * self.slowness

    # Containers.

    def probe(self, task_id: str) -> bool:
        """Return whether a container says that it is well."""
        does = behaviour(self.containers[task_id].task)
        return not (self.world.faulty and does.unwell and self.world.clock.chance(does.unwell))

    def prepare(self, task: Task, values: frozenset[tuple[Kind, str]]) -> None:
        """Make a container, in place of one that an earlier vaultd made."""
        self.containers[task.id] = Container(task, values, self.agent)

    def start(self, task_id: str) -> None:
        """Start a container; how long it lives is its own affair."""
        container, clock = self.containers[task_id], self.world.clock
        container.phase, container.since_s = Phase.RUNNING, clock.now_s
        self.world.judge.started(self, container.task)
        if container.prepared_by is not self.agent:
            raise self.world.story.fail(f"{self.id} starts what an earlier vaultd prepared", task_id, self.id)
        if (other_id := self.doomed.pop(task_id, None)) is not None:
            clock.after(0.0, self.crash, task_id)
            clock.after(0.0, self.crash, other_id)
        does = behaviour(container.task)
        if does.ends and clock.chance(does.ends) and (self.world.faulty or not does.heals):
            clock.after(clock.between(*does.life_s), self._end, container, does.code, does.heals)

    def stop(self, task_id: str) -> None:
        """Ask a container to end; its grace time is the longest it may take."""
        container, clock = self.containers[task_id], self.world.clock
        if container.stopping:
            return
        container.stopping = True
        does = behaviour(container.task)
        grace_ns = container.task.spec.container_spec.stop_grace_period
        takes_s = clock.between(*does.stop_s)
        if does.killable:
            takes_s = min(takes_s * self.slowness, (DEFAULT_STOP_GRACE_NS if grace_ns is None else grace_ns) / 1e9)
        clock.after(takes_s, self._end, container, 143, False)

    def crash(self, task_id: str) -> None:
        """Let a container end now, if it runs."""
        if (container := self.containers.get(task_id)) is not None:
            self._end(container, 1, False)

    def crash_with(self, task_id: str, other_id: str) -> None:
        """Let two containers end at the moment that the first of them starts."""
        self.doomed[task_id] = other_id

    def remove(self, task_id: str) -> None:
        """Kill a container if it runs, and remove every trace of it."""
        if (container := self.containers.pop(task_id, None)) is not None and container.phase is Phase.RUNNING:
            self.world.judge.stopped(self, container.task)

    def _end(self, container: Container, code: int, heals: bool) -> None:
        task_id = container.task.id
        if self.containers.get(task_id) is not container or container.phase is not Phase.RUNNING:
            return
        if heals and not self.world.faulty:
            return
        container.phase, container.exit = Phase.EXITED, Exit(code=code, finished_at=from_s(self.world.clock.now_s))
        self.world.judge.stopped(self, container.task)
        if self.agent is not None:
            self.agent.ended(task_id)

"""What must hold whatever happens, checked as each change is made and only as far as it reaches.

`oracle` says what is right; the others say what was seen.  None of them asks a decider.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.sim.judge.addresses import Addresses
from tests.sim.judge.containers import Containers
from tests.sim.judge.credentials import Given, check_kept
from tests.sim.judge.decisions import check_decision
from tests.sim.judge.departures import check_removed
from tests.sim.judge.jobs import Completed
from tests.sim.judge.lost import Lost
from tests.sim.judge.nodes import Carried, check_nodes
from tests.sim.judge.reasons import Waiting
from tests.sim.judge.rebalances import Rebalances
from tests.sim.judge.replicas import Replicas
from tests.sim.judge.restarts import Restarts
from tests.sim.judge.tasks import check_tasks
from tests.sim.judge.updates import Updates
from tests.sim.judge.values import Values, check_members, check_told
from vault.rpc.messages import Assignments
from vault.store.changes import AnyObject
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot

if TYPE_CHECKING:
    from tests.sim.machine import Machine
    from tests.sim.world import World
    from vault.model.task import Task

Written = list[tuple[Key, AnyObject | None, AnyObject | None]]


class Judge:
    """Sees everything; raises `Violation`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.containers = Containers(world)
        self.addresses = Addresses(world)
        self.waiting = Waiting(world)
        self.carried = Carried(world)
        self.completed = Completed(world)
        self.lost = Lost(world)
        self.replicas = Replicas(world)
        self.restarts = Restarts(world)
        self.updates = Updates(world)
        self.rebalances = Rebalances(world)
        self.values = Values(world)
        self.credentials = Given(world)
        self.counts: Counter[str] = Counter()  # How often was judged what seldom comes up.

    def committed(self, who: str, before: Snapshot, after: Snapshot, changes: Written) -> None:
        """Somebody's write was committed."""
        self.lost.committed(changes)
        check_tasks(self.world, who, before, after, changes)
        check_nodes(self.world, after, changes)
        check_members(self.world, after, changes)
        check_kept(self.world, after, changes)
        check_removed(self.world, before, after, changes)
        self.addresses.committed(changes)
        self.containers.committed(who, before, after, changes)
        self.waiting.committed(changes)
        self.carried.committed(who, changes)
        self.completed.committed(changes)
        self.replicas.committed(changes)
        self.updates.committed(who, before, after, changes)
        self.rebalances.committed(who, before, after, changes)
        self.restarts.committed(who, before, after, changes)

    def decided(self, before: Snapshot | None, after: Snapshot, decision: Decision) -> None:
        """The leader has decided about `after`."""
        if decision.changes:
            self.restarts.basis = after
            check_decision(self.world, after, decision)
        elif decision.ask_again_s is None or decision.ask_again_s > self.world.clock.now_s:
            self.waiting.at_rest(after)
            self.carried.at_rest(after)
            self.completed.at_rest(after)
            self.lost.at_rest(after)
            self.replicas.at_rest(after)
            self.updates.at_rest(after)

    def told(self, node_id: str, snap: Snapshot, message: Assignments) -> None:
        """The leader says something to a node."""
        check_told(self.world, node_id, snap, message)
        self.credentials.told(node_id, snap, message)

    def started(self, machine: Machine, task: Task) -> None:
        """A container begins to run."""
        self.containers.started(machine, task)

    def stopped(self, machine: Machine, task: Task) -> None:
        """A container runs no more."""
        self.containers.stopped(machine, task)

"""A simulated cluster: one store, one leader after another, machines, and whatever befalls them."""

from __future__ import annotations

from itertools import count

from tests.sim.clock import Clock
from tests.sim.driver import Driver as SecretDriver
from tests.sim.driver import Mood
from tests.sim.judge import Judge
from tests.sim.leader import Leader
from tests.sim.machine import Machine
from tests.sim.store import Store
from tests.sim.story import Story
from tests.sim.themes import theme_of
from vault.model.cluster import Cluster, ClusterSpec, Orchestration
from vault.model.generic import from_amounts
from vault.model.network import IPAMConfig, IPAMOptions, Network, NetworkSpec
from vault.model.node import (
    EncryptionMeans,
    Engine,
    Node,
    NodeDescription,
    NodeResources,
    NodeSpec,
    NodeStatus,
    Platform,
)
from vault.model.secret import Driver
from vault.store.changes import Change, Put

ZONES = "aab"


class World:
    """Everything, driven by `clock`; each change is judged as it is made."""

    def __init__(self, seed: int, *, nodes: int, day_s: float) -> None:
        self.seed = seed
        self.clock = Clock(seed)
        self.story = Story(self.clock, seed)
        self.day_s = day_s  # After so long a node that is down is given up.
        self.faulty = False  # Whether things go wrong by themselves.
        self.refused = theme_of(seed).refused  # How much of what a leader proposes meets a full disk.
        self.machines: dict[str, Machine] = {}
        self.store = Store(self)
        self.judge = Judge(self)
        self.driver = SecretDriver(self)
        self._ids = (f"t{number:024d}" for number in count(1))
        self.take_lead()
        founded = cluster(self.clock.random.choice(theme_of(seed).history))
        networks = network("small", "10.1.0.0/28"), network("large", "")
        self.store.submit("init", lambda snap: [Put(founded), *map(Put, networks)])
        for _ in range(nodes):
            self.add_machine()

    def new_id(self) -> str:
        """Return the next identifier of a task."""
        return next(self._ids)

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        self.clock.run(duration_s)

    # Who leads.

    def take_lead(self) -> None:
        """Let a manager lead, unless one does; it knows only what is committed."""
        if self.store.leader is None:
            self.store.epoch += 1
            self.store.leader = Leader(self, self.store.epoch)
            self.story.tell("managers", f"leader number {self.store.epoch}")
            self.store.leader.begin()

    def lose_leader(self) -> None:
        """End a leadership; another begins a little later."""
        if self.store.leader is not None:
            self.story.tell("managers", "the leader is gone")
            self.store.leader.end()
            self.store.leader = None
            self.clock.after(self.clock.between(0.1, 4.0), self.take_lead)

    # Machines.

    def add_machine(self) -> None:
        """Let a machine join."""
        number = len(self.machines)
        machine = self.machines[f"n{number}"] = Machine(self, f"n{number}", f"10.0.0.{number + 1}", described(number))
        self.story.tell("somebody", f"joins {machine.id}", machine.id)
        change: Change = Put(new_node(machine, number))
        self.store.submit(machine.id, lambda snap: (change,))
        machine.start_agent()

    def boot(self, machine: Machine) -> None:
        """Turn a machine on."""
        if not machine.up:
            self.story.tell("power", f"{machine.id} is on", machine.id)
            machine.up = True
            machine.start_agent()

    def link(self, machine: Machine) -> None:
        """Let a machine be reached again."""
        if not machine.linked:
            self.story.tell("network", f"{machine.id} is back", machine.id)
            machine.linked = True

    def mend_driver(self) -> None:
        """Let the driver of secrets be well again."""
        if self.driver.mood is not Mood.WELL:
            self.story.tell("driver", Mood.WELL.value)
            self.driver.mood = Mood.WELL

    def start_agent(self, machine: Machine) -> None:
        """Start vaultd where it does not run."""
        machine.start_agent()


def cluster(history: int) -> Cluster:
    """Return what is said of the cluster as a whole."""
    return Cluster(id="cluster", spec=ClusterSpec(orchestration=Orchestration(task_history_retention_limit=history)))


def new_node(machine: Machine, number: int) -> Node:
    """Return a node as it joins."""
    return Node(
        id=machine.id,
        spec=NodeSpec(labels={"zone": ZONES[number % len(ZONES)]}, role="manager" if number == 0 else "worker"),
        description=machine.description,
        status=NodeStatus(state="ready", addr=machine.addr),
    )


def described(number: int) -> NodeDescription:
    """Return what a machine says of itself; no two are alike."""
    generic = {"disk": 2, "gpu": ("g0", "g1", "g2")} if number % 2 else {"disk": 1}
    return NodeDescription(
        hostname=f"h{number}",
        platform=Platform(architecture="aarch64" if number % 4 == 3 else "x86_64", os="linux"),
        resources=NodeResources(nano_cpus=4 * 10**9, memory_bytes=4 << 30, generic_resources=from_amounts(generic)),
        engine=Engine(labels={"disk": "ssd"} if number % 2 else {}),
        encryption=EncryptionMeans(by="kernel") if number % 3 else None,
    )


def network(name: str, subnet: str) -> Network:
    """Return an overlay network; without a subnet it is given one of 254 addresses."""
    configs = (IPAMConfig(subnet=subnet),) if subnet else ()
    return Network(
        id=name,
        spec=NetworkSpec(
            name=name,
            driver_configuration=Driver(name="overlay"),
            ipam_options=IPAMOptions(configs=configs) if configs else None,
        ),
    )

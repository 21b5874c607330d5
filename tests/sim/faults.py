"""What befalls a cluster: leaders and machines go and come back, networks break, vaultd is killed."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from tests.sim.driver import Mood
from tests.sim.machine import Machine
from tests.sim.themes import theme_of
from tests.sim.world import World


class Faults:
    """Whatever goes wrong."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = world.clock
        self.random = world.clock.random
        more = theme_of(world.seed).acts
        self._weights = [weight * more.get(strike.__name__, 1) for strike, weight in STRIKES.items()]

    def strike(self) -> None:
        """Let something go wrong."""
        self.random.choices(tuple(STRIKES), self._weights)[0](self)

    def _machine(self) -> Machine:
        return self.world.machines[self.random.choice(sorted(self.world.machines))]

    def lose_leader(self) -> None:
        """The leader dies."""
        self.world.lose_leader()

    def lose_power(self) -> None:
        """A machine dies and is started again later."""
        machine = self._machine()
        if machine.up:
            self.world.story.tell("power", f"{machine.id} is off", machine.id)
            machine.lose_power()
            self.clock.after(self.clock.between(1.0, 40.0), self.world.boot, machine)

    def cut(self) -> None:
        """A machine is out of reach for a while."""
        machine = self._machine()
        if machine.linked:
            self.world.story.tell("network", f"no way to {machine.id}", machine.id)
            machine.linked = False
            if machine.agent is not None and machine.agent.session is not None:
                machine.agent.session.breaks()
            self.clock.after(self.clock.between(0.5, 30.0), self.world.link, machine)

    def kill_agent(self) -> None:
        """A vaultd is killed and started again later."""
        machine = self._machine()
        if machine.agent is not None:
            self.world.story.tell("somebody", f"kills vaultd on {machine.id}", machine.id)
            machine.kill_agent()
            away_s = self.random.choice((1.0, 12.0, 12.0, 40.0))
            self.clock.after(self.clock.between(0.1, away_s), self.world.start_agent, machine)

    def strand(self) -> None:
        """A vaultd is killed, and started again only when its node has long been given up; its containers run on."""
        machine = self._machine()
        if machine.agent is not None:
            self.world.story.tell("somebody", f"kills vaultd on {machine.id} for long", machine.id)
            machine.kill_agent()
            self.clock.after(self.clock.between(18.0, 40.0), self.world.start_agent, machine)

    def slow(self) -> None:
        """A machine, or its network, becomes slow or quick."""
        machine = self._machine()
        machine.slowness = self.random.choice((1.0, 1.0, 10.0))
        machine.distance = self.random.choice((1.0, 1.0, 20.0))

    def trouble_driver(self) -> None:
        """The driver of secrets has its troubles for a while."""
        driver, mood = self.world.driver, self.random.choice((Mood.SLOW, Mood.FAILS, Mood.AWAY))
        self.world.story.tell("driver", mood.value)
        driver.mood = mood
        self.clock.after(self.clock.between(0.5, 20.0), self.world.mend_driver)

    def refit(self) -> None:
        """A machine comes back with other resources and labels."""
        machine = self._machine()
        if machine.agent is None:
            return
        old = machine.description
        fitted = replace(
            old,
            resources=replace(old.resources, nano_cpus=self.random.choice((1, 2, 4)) * 10**9),
            engine=replace(old.engine, labels=self.random.choice(({}, {"disk": "ssd"}, {"disk": "hdd"}))),
        )
        words = f"refits {machine.id}: {fitted.resources.nano_cpus / 1e9:g} CPUs, {fitted.engine.labels}"
        self.world.story.tell("somebody", words, machine.id)
        machine.description = fitted
        machine.kill_agent()
        self.clock.after(self.clock.between(0.1, 2.0), self.world.start_agent, machine)

    def heal(self) -> None:
        """End all faults; machines come back."""
        self.world.story.tell("everybody", "faults stop")
        self.world.faulty = False
        self.world.take_lead()
        self.world.mend_driver()
        for _, machine in sorted(self.world.machines.items()):
            machine.slowness = machine.distance = 1.0
            self.world.boot(machine)
            self.world.link(machine)
            self.world.start_agent(machine)


STRIKES: dict[Callable[[Faults], None], int] = {
    Faults.lose_leader: 4,
    Faults.lose_power: 3,
    Faults.cut: 4,
    Faults.kill_agent: 3,
    Faults.strand: 1,
    Faults.slow: 2,
    Faults.refit: 1,
    Faults.trouble_driver: 3,
}

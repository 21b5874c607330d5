"""Networks under faults: what runs goes on while managers are away, and whatever happens, nothing is left behind."""

import time
from collections.abc import Callable
from typing import ClassVar

from tests.cluster.nemesis.base import Fault
from tests.cluster.tasks import SERVES, Placed, page, placed
from tests.cluster.traces import differences, listings
from tests.cluster.world import NotInTime
from tests.dns.machine import ask
from tests.network.traffic import Datagrams, Talk

SETTLES_S = 30.0  # vault-dns lingers for three seconds, routes and links go within one.
_LOOK_S = 0.5


class _Networked(Fault):
    """A service on a network of its own, and a published port."""

    goes_on = False
    lingers_s = (0.0, 0.5)

    def make(self, *options: str) -> None:
        """Create a network, and a service on it that serves pages."""
        self.made = f"n{self.chance.randrange(10**9)}"
        self.port = 20_000 + self.chance.randrange(5_000)
        via = self.world.leader()
        self.before = listings(self.world)
        self.world.vault(via, "network", "create", "-d", "overlay", self.made)
        self.world.vault(via, "service", "create", "-q", "--detach", "--name", self.made, "--network", self.made,
                         "--publish", f"{self.port}:80", *options, "busybox", *SERVES)  # fmt: skip

    def until_running(self, count: int) -> list[Placed]:
        """Return the tasks once so many run."""
        self.world.until(lambda: self.world.running(self.made) == count, f"{count} tasks of {self.made} run")
        return placed(self.world, self.made, self.made)

    def wrong(self, tasks: list[Placed]) -> list[str]:
        """Return what does not work between these tasks, and from outside; empty when all does."""
        names, addresses = {task.hostname for task in tasks}, sorted(task.address for task in tasks)
        checks: list[tuple[str, Callable[[], object], Callable[[object], bool]]] = []
        for task in tasks:
            at = f"on {task.node}"
            checks += [
                (f"tasks.{self.made} {at}", lambda t=task: ask(f"tasks.{self.made}", at=t.namespace)[1],  # type: ignore[misc]
                 lambda said: said == addresses),
                (f"the virtual address {at}", lambda t=task: self._by_name(t), lambda said: said in names),  # type: ignore[misc]
            ]  # fmt: skip
            checks += [
                (f"{other.address} {at}", lambda t=task, o=other: t.page(o.address),  # type: ignore[misc]
                 lambda said, o=other: said == o.hostname)  # type: ignore[misc]
                for other in tasks
            ]  # fmt: skip
        outside = self.world.lab.site.switch
        for node in self.world.lab.nodes:
            checks.append(
                (f"the published port of {node.name}", lambda n=node: page(outside, n.address, self.port),  # type: ignore[misc]
                 lambda said: said in names)
            )  # fmt: skip
        return [problem for what, find, right in checks if (problem := _problem(what, find, right))]

    def _by_name(self, task: Placed) -> str:
        _, (address, *_) = ask(self.made, at=task.namespace)
        return task.page(address)

    def until_right(self, tasks: list[Placed]) -> None:
        """Return once everything works between these tasks."""
        found: list[str] = []

        def right() -> bool:
            found[:] = self.wrong(tasks)
            return not found

        try:
            self.world.until(right, "names, addresses and ports work")
        except NotInTime:
            raise AssertionError("; ".join(found)) from None

    def leave_nothing(self) -> None:
        """Remove service and network; every node has to be as it was before."""
        via = self.world.leader()
        self.world.vault(via, "service", "rm", self.made)
        self.world.until(lambda: not self.world.states(self.made), "its tasks are gone")
        self.world.vault(via, "network", "rm", self.made)
        self.until_nothing_is_left()

    def until_nothing_is_left(self) -> None:
        """Return once every node is as it was before."""
        end_s = time.monotonic() + SETTLES_S
        while left := differences(self.before, listings(self.world)):
            assert time.monotonic() < end_s, f"{len(left)} differences: {left[:12]}"
            time.sleep(_LOOK_S)


class ManagersAway(_Networked):
    """Every manager killed for minutes: tasks go on talking, names, virtual addresses and ports go on being answered.

    In the middle a worker's vaultd is killed as well, and started again.
    """

    name = "all managers away for 3 minutes, traffic between tasks"
    lasts_s: ClassVar[float] = 180.0
    rate = 4.0

    def do(self) -> None:
        self.make("--mode", "global", "--constraint", "node.role==worker")
        one, other = tasks = self.until_running(len(self.world.workers))
        self.until_right(tasks)
        self.problems: list[str] = []
        for name in self.world.managers:
            self.world.lab.kill(name, "both")
        end_s = time.monotonic() + self.lasts_s
        with (
            Datagrams.between(one.namespace, other.namespace, other.address, 5000, every_s=0.005) as there,
            Datagrams.between(other.namespace, one.namespace, one.address, 5000, every_s=0.005) as back,
            Talk(one.namespace, other.namespace, other.address, 5001) as talk,
        ):
            self._look(tasks, until_s=end_s - self.lasts_s / 2)
            self.world.lab.kill(one.node)
            self._look(tasks, until_s=end_s - self.lasts_s / 4)
            self.world.lab.start(one.node)
            self._look(tasks, until_s=end_s)
        self.there, self.back, self.talk = there, back, talk
        self.said = (
            f"{there.sent + back.sent:,} datagrams, {there.lost + back.lost} lost, longest gap "
            f"{max(there.longest_gap_s, back.longest_gap_s) * 1000:.0f} ms; {talk.answered:,} answers over one TCP "
            f"connection, the slowest after {talk.longest_s * 1000:.0f} ms; "
            f"{self.looks} looks at names, addresses, ports"
        )

    looks = 0

    def _look(self, tasks: list[Placed], *, until_s: float) -> None:
        while time.monotonic() < until_s:
            # The ports of managers are looked at too: their rules need no vaultd.
            self.problems += self.wrong(tasks)
            self.looks += 1
            time.sleep(1.0)

    def undo(self) -> None:
        self.world.start_all()

    def check(self) -> None:
        assert (self.there.lost, self.back.lost, self.talk.broken) == (0, 0, ""), self.said
        assert not self.problems, f"{len(self.problems)} in {self.looks} looks: {self.problems[:5]}"
        self.until_right(self.until_running(len(self.world.workers)))
        self.leave_nothing()


class NodeReboots(_Networked):
    """A worker restarts, its namespaces, links and rules gone: its tasks are replaced, reached, and leave nothing."""

    name = "worker restarts with tasks on networks"

    def do(self) -> None:
        self.make("--replicas", "6", "--restart-delay", "100ms")
        tasks = self.until_running(6)
        self.until_right(tasks)
        self.node = self.some(self.world.workers)
        self.gone = [task for task in tasks if task.node == self.node]
        assert self.gone, "a task runs on each node"
        self.world.lab.kill(self.node, "all")

    def undo(self) -> None:
        self.world.start_all()

    def check(self) -> None:
        tasks = self.until_running(6)
        self.until_right(tasks)
        there = self.world.node(self.node)
        for old in self.gone:
            assert not old.namespace.exists(), "its namespace is gone"
            left = [str(path) for path in there.run_root.rglob(f"*{old.id}*")]
            assert not left, left
        self.leave_nothing()


class KilledWhileProgramming(_Networked):
    """A worker's vaultd killed again and again while tasks and networks come and go there."""

    name = "worker's vaultd killed while it programs networks"
    kills: ClassVar[int] = 12

    def do(self) -> None:
        self.make("--replicas", "4", "--restart-delay", "100ms")
        self.until_running(4)
        self.node = self.some(self.world.workers)
        via = self.world.leader()
        for turn in range(self.kills):
            self.world.vault(via, "service", "scale", "--detach", f"{self.made}={(9, 3)[turn % 2]}")
            time.sleep(self.chance.uniform(0.0, 0.4))
            self.world.lab.kill(self.node)
            time.sleep(self.chance.uniform(0.0, 0.3))
            self.world.lab.start(self.node)
        self.world.vault(via, "service", "scale", "--detach", f"{self.made}=6")

    def undo(self) -> None:
        self.world.start_all()

    def check(self) -> None:
        self.until_right(self.until_running(6))
        self.leave_nothing()


class ManyServices(_Networked):
    """Two hundred services with networks and ports, created and removed in a row."""

    name = "200 services created and removed in a row"
    count: ClassVar[int] = 200
    at_once: ClassVar[int] = 5
    rate = 4.0

    def do(self) -> None:
        via = self.world.leader()
        self.before = listings(self.world)
        tag = self.chance.randrange(10**9)
        for first in range(0, self.count, self.at_once):
            names = [f"m{tag}-{number}" for number in range(first, first + self.at_once)]
            for place, name in enumerate(names):
                self.world.vault(via, "network", "create", "-d", "overlay", name)
                self.world.vault(via, "service", "create", "-q", "--detach", "--name", name, "--network", name,
                                 "--publish", f"{21_000 + place}:80", "busybox", *SERVES)  # fmt: skip
            for name in names:
                self.world.until(lambda name=name: self.world.running(name) == 1, f"{name} runs")  # type: ignore[misc]
            self.world.vault(via, "service", "rm", *names)
            for name in names:
                self.world.until(lambda name=name: not self.world.states(name), f"{name} is gone")  # type: ignore[misc]
            self.world.vault(via, "network", "rm", *names)

    def check(self) -> None:
        self.until_nothing_is_left()
        shown = self.world.ask(self.world.leader(), "GET", "/networks") or []
        assert [one["Name"] for one in shown if one["Scope"] == "swarm"] == ["ingress"]


def _problem(what: str, find: Callable[[], object], right: Callable[[object], bool]) -> str:
    """Return what is wrong; "" when what is found is right."""
    try:
        said = find()
    except (OSError, ValueError) as error:
        return f"{what}: {type(error).__name__}"
    return "" if right(said) else f"{what}: {said}"


NETWORKS = (ManagersAway, NodeReboots, KilledWhileProgramming, ManyServices)

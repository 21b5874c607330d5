"""The leader dies in the middle of what it directs: an update, a restart delay; nothing is lost or done twice."""

import time

from tests.cluster.nemesis.base import Fault
from tests.e2e.node import WAITS_FOR_TERM

REPLICAS = 6
DELAY_S = 6.0


class _Work(Fault):
    made = ""  # The service.

    def service(self, *options: str) -> str:
        """Create a service; return its name."""
        name = f"w{self.chance.randrange(10**9)}"
        via = self.world.leader()
        self.world.vault(
            via, "service", "create", "-q", "--detach", "--name", name, *options, "busybox", *WAITS_FOR_TERM
        )
        return name

    def until_running(self, count: int) -> None:
        """Return once so many tasks of the service run."""
        self.world.until(lambda: self.world.running(self.made) == count, f"{count} tasks of {self.made} run")

    def kill(self) -> None:
        """Kill the leader."""
        self.node = self.world.leader()
        self.world.lab.kill(self.node, "both")

    def undo(self) -> None:
        if self.node and self.world.node(self.node).pid("vaultd") is None:
            self.world.lab.start(self.node)


class UpdateWhileLeaderDies(_Work):
    """The leader dies in the middle of a rolling update: the next one finishes it, each slot once."""

    name = "leader killed during an update"

    def do(self) -> None:
        self.made = self.service("--replicas", str(REPLICAS), "--update-parallelism", "1", "--update-delay", "1s",
                                 "--update-monitor", "500ms")  # fmt: skip
        self.until_running(REPLICAS)
        via = self.world.leader()
        self.world.vault(via, "service", "update", "-q", "--detach", "--env-add", "A=b", self.made)
        self.world.until(lambda: 0 < self._new() < REPLICAS, "the update is in its middle")
        self.kill()

    def _tasks(self) -> list[dict[str, object]]:
        for name in self.world.managers:
            shown = self.world.ask(name, "GET", "/tasks?filters=" + f"%7B%22service%22%3A%5B%22{self.made}%22%5D%7D")
            if shown is not None:
                return list(shown)
        return []

    def _new(self) -> int:
        """How many tasks of the new form run."""
        return sum(
            one["Status"]["State"] == "running" == one["DesiredState"]  # type: ignore[index]
            and (one["Spec"]["ContainerSpec"].get("Env") or []) == ["A=b"]  # type: ignore[index]
            for one in self._tasks()
        )

    def _completed(self) -> bool:
        for name in self.world.managers:
            shown = self.world.ask(name, "GET", f"/services/{self.made}")
            if shown is not None:
                return (shown.get("UpdateStatus") or {}).get("State") == "completed"
        return False

    def check(self) -> None:
        self.world.until(lambda: self._new() == REPLICAS, "all tasks are of the new form")
        self.world.until(self._completed, "the update says that it is completed")
        tasks = self._tasks()
        live = [one for one in tasks if one["DesiredState"] == "running"]
        slots = sorted(one["Slot"] for one in live)  # type: ignore[type-var]
        assert slots == list(range(1, REPLICAS + 1)), f"each slot has one task: {slots}"
        # A slot that was updated twice would have more than one old task.
        doubled = [slot for slot in slots if sum(one["Slot"] == slot for one in tasks) > 2]
        assert not doubled, f"slots {doubled} were updated twice"
        self.world.vault(self.world.leader(), "service", "rm", self.made)


class RestartDelayWhileLeaderDies(_Work):
    """A task ends, and the leader dies in its restart delay: one replacement starts, after the delay and not before."""

    name = "leader killed during a restart delay"

    def do(self) -> None:
        self.made = self.service("--replicas", "1", "--restart-delay", f"{DELAY_S:.0f}s")
        self.until_running(1)
        victim = next(node.name for node in self.world.lab.nodes if self._container(node.name))
        self.world.vault(victim, "exec", self._container(victim), "kill", "1", code=None)
        self.world.until(lambda: self.world.running(self.made) == 0, "the task has ended")
        self.ended = time.monotonic()
        self.kill()

    def _container(self, name: str) -> str:
        """Return the container of the service on a node, or nothing."""
        mine = f"label=com.docker.swarm.service.name={self.made}"
        return self.world.vault(name, "ps", "-q", "--filter", mine).out.strip()

    def check(self) -> None:
        self.until_running(1)
        assert time.monotonic() - self.ended > DELAY_S - 1.5, "its replacement did not wait"
        states = self.world.states(self.made)
        assert sum(desired == "running" for *_, desired in states) == 1, f"one replacement: {states}"
        self.world.vault(self.world.leader(), "service", "rm", self.made)


WORK = (UpdateWhileLeaderDies, RestartDelayWhileLeaderDies)

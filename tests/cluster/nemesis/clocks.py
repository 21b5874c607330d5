"""Wall clocks that are an hour off, on one node."""

from typing import ClassVar

from tests.cluster.nemesis.base import Fault

HOUR_S = 3600


class _Clock(Fault):
    offset_s: ClassVar[int]
    leads: ClassVar[bool] = False
    lingers_s = (3.0, 6.0)

    def do(self) -> None:
        """Set the clock; its vaultd is started again for that, so of a leader another leads first."""
        self.node = self.world.leader() if self.leads else self.some(self.world.followers())
        self.world.lab.clock(self.node, self.offset_s)
        self.world.until_answers(self.node)
        if self.leads:
            self._lead()

    def _lead(self) -> None:
        """Make the node with the wrong clock lead: the others' vaultd are stopped until it does."""
        others = [name for name in self.world.managers if name != self.node]
        for other in others:
            self.world.lab.pause(other, "vaultd")
        try:
            self.world.until(lambda: self._leads(), f"{self.node}, whose clock is wrong, leads")
        finally:
            for other in others:
                self.world.lab.resume(other, "all")

    def _leads(self) -> bool:
        one = self.world.nodes([self.node]).get(self.node, {})
        return bool((one.get("ManagerStatus") or {}).get("Leader"))

    def undo(self) -> None:
        self.world.lab.clock(self.node, 0)
        if self.world.node(self.node).pid("vaultd") is None:
            self.world.lab.start(self.node)


class FollowerFast(_Clock):
    """A follower's clock is an hour fast."""

    name = "follower's clock an hour fast"
    offset_s = HOUR_S


class FollowerSlow(_Clock):
    """A follower's clock is an hour slow."""

    name = "follower's clock an hour slow"
    offset_s = -HOUR_S


class LeaderFast(_Clock):
    """The leader's clock is an hour fast."""

    name = "leader's clock an hour fast"
    offset_s = HOUR_S
    leads = True


class LeaderSlow(_Clock):
    """The leader's clock is an hour slow: it neither waits an hour nor goes back."""

    name = "leader's clock an hour slow"
    offset_s = -HOUR_S
    leads = True


CLOCKS = (FollowerFast, FollowerSlow, LeaderFast, LeaderSlow)

"""Links that are cut: clients still reach the node, since they talk to its socket and not through its network."""

import time
from typing import ClassVar

from tests.cluster.nemesis.base import Fault
from tests.cluster.world import POLL_S


class _Cut(Fault):
    lingers_s = (1.0, 5.0)

    def undo(self) -> None:
        self.world.lab.heal()


class CutLeader(_Cut):
    """The leader cut off from all nodes, while clients go on asking it."""

    name = "leader cut off"

    def do(self) -> None:
        self.node = self.world.leader()
        self.world.lab.cut(self.node)


class CutLeaderLong(CutLeader):
    """The leader cut off for longer than anything waits: what was asked of it in that time must be no half truth."""

    name = "leader cut off for long"
    lingers_s = (15.0, 25.0)


class DumbLeader(_Cut):
    """The leader hears and is not heard."""

    name = "leader not heard (one way)"
    # Whether others lead is etcd's choice: their heartbeats stop, so they elect; but nothing is promised sooner than
    # its own leader gives up.

    def do(self) -> None:
        self.node = self.world.leader()
        self.world.lab.cut(self.node, one_way=True)


class DeafLeader(_Cut):
    """The leader is heard and hears nothing: its beats go out, and no answer comes in."""

    name = "leader deaf (one way)"

    def do(self) -> None:
        self.node = self.world.leader()
        for other in self.world.managers:
            if other != self.node:
                self.world.lab.cut(other, to=self.node, one_way=True)


class CutOneLink(_Cut):
    """The leader and one follower do not hear each other; the third hears both."""

    name = "one link cut"

    def do(self) -> None:
        self.node = self.world.leader()
        self.world.lab.cut(self.node, to=self.some([name for name in self.world.managers if name != self.node]))


class CutFollower(_Cut):
    """A follower cut off."""

    name = "follower cut off"

    def do(self) -> None:
        self.node = self.some(self.world.followers())
        self.world.lab.cut(self.node)


class Flapping(_Cut):
    """The leader cut off and joined again, over and over."""

    name = "leader's link flapping"
    goes_on = False
    rounds: ClassVar[int] = 5

    def do(self) -> None:
        for _ in range(self.rounds):
            self.node = self.world.leader()
            self.world.lab.cut(self.node)
            self._wait(self.chance.uniform(0.3, 4.0))
            self.world.lab.heal()
            self._wait(self.chance.uniform(0.1, 1.5))

    @staticmethod
    def _wait(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(POLL_S)


class SlowLeader(_Cut):
    """The leader's packets take 300 ms each way."""

    name = "leader's link slow"

    def do(self) -> None:
        self.node = self.world.leader()
        self.world.lab.slow(self.node, delay_s=0.3)


LINKS = (CutLeader, CutLeaderLong, DumbLeader, DeafLeader, CutOneLink, CutFollower, Flapping, SlowLeader)

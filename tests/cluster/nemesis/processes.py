"""Processes that are killed or stopped: vaultd, etcd, both; of the leader, of a follower, of all."""

import threading
from typing import ClassVar

from tests.cluster.nemesis.base import Fault

WAKES_S = (4.0, 9.0)  # How long a stopped process sleeps: longer than leadership waits for a beat.


class _Kill(Fault):
    what: ClassVar[str]
    leads: ClassVar[bool] = True

    def do(self) -> None:
        self.node = self.world.leader() if self.leads else self.some(self.world.followers())
        self.world.lab.kill(self.node, self.what)

    def undo(self) -> None:
        if self.world.node(self.node).pid("vaultd") is None:
            self.world.lab.start(self.node)


class KillLeader(_Kill):
    """`kill -9` of the leader: vaultd and etcd at once."""

    name = "leader killed"
    what = "both"


class KillLeaderVaultd(_Kill):
    """`kill -9` of the leader's vaultd alone; its etcd must not live on by itself."""

    name = "leader's vaultd killed"
    what = "vaultd"


class KillLeaderEtcd(_Kill):
    """`kill -9` of the leader's etcd alone; its vaultd starts another, or ends loudly."""

    name = "leader's etcd killed"
    what = "etcd"


class KillFollower(_Kill):
    """`kill -9` of a follower."""

    name = "follower killed"
    what = "both"
    leads = False


class KillFollowerEtcd(_Kill):
    """`kill -9` of a follower's etcd alone."""

    name = "follower's etcd killed"
    what = "etcd"
    leads = False


class PowerCut(_Kill):
    """Power cut of the leader: all its processes, tasks too, and everything but its data root."""

    name = "leader's power cut"
    what = "all"


class KillAll(Fault):
    """All nodes killed at once."""

    name = "all nodes killed at once"
    goes_on = False
    lingers_s = (0.0, 0.5)

    def do(self) -> None:
        names = [node.name for node in self.world.lab.nodes]
        both = {name: "both" if name in self.world.managers else "vaultd" for name in names}
        # One lock for all changes of a lab: the kills follow each other within milliseconds.
        threads = [threading.Thread(target=self.world.lab.kill, args=item) for item in both.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def undo(self) -> None:
        self.world.start_all()


class _Pause(Fault):
    what: ClassVar[str]
    leads: ClassVar[bool] = True
    lingers_s = WAKES_S

    def do(self) -> None:
        self.node = self.world.leader() if self.leads else self.some(self.world.followers())
        self.world.lab.pause(self.node, self.what)

    def undo(self) -> None:
        self.world.lab.resume(self.node, "all")
        if self.world.node(self.node).pid("vaultd") is None:
            self.world.lab.start(self.node)


class PauseLeader(_Pause):
    """The leader's vaultd and etcd stopped, and let go on when another leads: it must notice before it answers."""

    name = "leader stopped and woken"
    what = "both"


class PauseLeaderVaultd(_Pause):
    """The leader's vaultd stopped alone: its etcd still leads the others' etcd."""

    name = "leader's vaultd stopped and woken"
    what = "vaultd"


class PauseLeaderEtcd(_Pause):
    """The leader's etcd stopped alone: its vaultd can neither write nor read."""

    name = "leader's etcd stopped and woken"
    what = "etcd"


class PauseFollower(_Pause):
    """A follower stopped."""

    name = "follower stopped and woken"
    what = "both"
    leads = False


class PauseManyTimes(Fault):
    """The leader's vaultd stopped for a moment, again and again, about as long as others wait for its beat."""

    name = "leader's vaultd stopped again and again"
    goes_on = False  # Between two stops there may be no time for a write.

    def do(self) -> None:
        for _ in range(4):
            self.node = self.world.leader()
            self.world.lab.pause(self.node, "vaultd")
            timer = threading.Event()
            timer.wait(self.chance.uniform(2.0, 3.2))
            self.world.lab.resume(self.node, "all")

    def undo(self) -> None:
        for name in self.world.managers:
            if self.world.node(name).pid("vaultd") is None:
                self.world.lab.start(name)


PROCESSES = (
    KillLeader, KillLeaderVaultd, KillLeaderEtcd, KillFollower, KillFollowerEtcd, PowerCut, KillAll, PauseLeader,
    PauseLeaderVaultd, PauseLeaderEtcd, PauseFollower, PauseManyTimes,
)  # fmt: skip

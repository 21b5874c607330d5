"""Members that come, change their role and go while clients write."""

from typing import Any

from tests.cluster.nemesis.base import Fault
from tests.cluster.nemesis.disks import rejoin
from tests.cluster.world import RECOVERS_S


class _Members(Fault):
    lingers_s = (0.0, 0.5)

    def _shown(self, name: str) -> dict[str, Any]:
        return self.world.nodes().get(name, {})

    def _reachable(self, name: str) -> bool:
        return (self._shown(name).get("ManagerStatus") or {}).get("Reachability") == "reachable"

    def until_manager(self, name: str) -> None:
        """Return once a node is a manager that the others reach, and takes a request."""
        self.world.until(lambda: self._reachable(name), f"{name} is a reachable manager")
        self.world.until(lambda: self.world.tell(name, "GET", "/secrets")[0] == 200, f"{name} answers as a manager")

    def until_worker(self, name: str) -> None:
        """Return once a node is a worker, and says so itself."""
        self.world.until(lambda: not self._shown(name).get("ManagerStatus"), f"{name} is no manager")
        self.world.until(
            lambda: self.world.tell(name, "GET", "/secrets")[0] == 503, f"{name} knows that it is a worker"
        )

    def node_vault(self, *words: str) -> None:
        """Run a command about nodes on a manager that leads, again while leadership changes under it."""
        said = ""

        def done() -> bool:
            nonlocal said
            found = self.world.vault(self.world.leader(), *words, code=None)
            said = found.err
            return found.code == 0

        try:
            self.world.until(done, f"`vault {' '.join(words)}` is done", timeout_s=RECOVERS_S / 2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{said}") from None


class PromoteAndDemote(_Members):
    """A worker becomes a manager, then a worker again."""

    name = "worker promoted and demoted"

    def do(self) -> None:
        self.node = self.some(self.world.workers)
        self.node_vault("node", "promote", self.node)
        self.until_manager(self.node)
        self.node_vault("node", "demote", self.node)
        self.until_worker(self.node)


class DemoteLeader(_Members):
    """The leader is demoted, so another leads; then it is promoted again."""

    name = "leader demoted and promoted"

    def do(self) -> None:
        self.node = self.world.leader()
        other = next(name for name in self.world.managers if name != self.node)
        self.world.vault(other, "node", "demote", self.node)
        self.until_worker(self.node)
        self.node_vault("node", "promote", self.node)
        self.until_manager(self.node)

    def undo(self) -> None:
        if not self._reachable(self.node):
            self.node_vault("node", "promote", self.node)


class LeaveAndJoin(_Members):
    """A worker leaves, is removed, and joins again under a new identity."""

    name = "worker removed and joined"

    def do(self) -> None:
        self.node = self.some(self.world.workers)
        rejoin(self, self.node, "worker")


class ManagerLeavesAndJoins(_Members):
    """A manager leaves by force, is removed, and joins again as a manager."""

    name = "manager removed and joined"

    def do(self) -> None:
        self.node = self.some(self.world.followers())
        rejoin(self, self.node, "manager")


class DeadManagerReplaced(_Members):
    """A manager dies for good and is removed, a worker takes its place; it comes back under a new identity."""

    name = "dead manager replaced"

    def do(self) -> None:
        self.node = self.some(self.world.followers())
        self.spare = self.some(self.world.workers)
        self.world.lab.kill(self.node, "both")
        dead = self._shown(self.node)["ID"]
        self.node_vault("node", "demote", dead)
        # Docker's rule too: a node that may still be alive is removed by force only.
        self.node_vault("node", "rm", "--force", dead)
        self.node_vault("node", "promote", self.spare)
        self.until_manager(self.spare)

    def undo(self) -> None:
        if self.world.node(self.node).pid("vaultd") is None:
            self.world.lab.start(self.node)
        rejoin(self, self.node, "manager")
        self.until_manager(self.node)
        self.node_vault("node", "demote", self.spare)
        self.until_worker(self.spare)


MEMBERS = (PromoteAndDemote, DemoteLeader, LeaveAndJoin, ManagerLeavesAndJoins, DeadManagerReplaced)

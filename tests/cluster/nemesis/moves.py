"""The move from one manager to several, and crashes at each of its steps.

The steps are seen from outside, by the files of the store as the first manager writes them, and the kill follows within
a millisecond.  A run begins with a swarm of one manager (sqlite) and ends with two (etcd), whatever happened between.
"""

import os
import signal
import threading
import time
from pathlib import Path
from typing import ClassVar

from tests.cluster.nemesis.base import Fault
from tests.cluster.world import PORT, NotInTime, World

FIRST, SECOND = "manager1", "manager2"
WATCH_S = 30.0
LOOK_S = 0.0005
_ASIDE = "etcd-"


def prepare(world: World) -> None:
    """Make a swarm of the first manager alone; the second is in none."""
    for name in (FIRST, SECOND):
        world.vault(name, "swarm", "leave", "--force", code=None)
    world.vault(FIRST, "swarm", "init", "--advertise-addr", world.node(FIRST).address)


class _Move(Fault):
    """One crash of the first manager, at one step."""

    goes_on = False
    lingers_s = (0.0, 0.1)
    whom: ClassVar[str] = FIRST

    def do(self) -> None:
        self.node = self.whom
        self.store = self.world.node(FIRST).data_root / "swarm" / "store"
        pid = self.world.node(self.whom).pid("vaultd")
        assert pid is not None
        self.token = self.world.vault(FIRST, "swarm", "join-token", "-q", "manager").out.strip()
        joining = threading.Thread(target=self._join)
        joining.start()
        deadline = time.monotonic() + WATCH_S
        while not self.reached():
            if time.monotonic() > deadline:
                raise NotInTime(f"the move does not come to {self.name!r}: {sorted(self.store.iterdir())}")
            time.sleep(LOOK_S)
        time.sleep(self.chance.uniform(0, self.later_s))
        os.kill(pid, signal.SIGKILL)
        joining.join()

    later_s: ClassVar[float] = 0.0  # At most so long after the step was seen.

    def reached(self) -> bool:
        """Whether the move has come to the step; looked at again and again."""
        raise NotImplementedError

    def _join(self) -> None:
        self.world.vault(
            SECOND, "swarm", "join", "--token", self.token, "--advertise-addr", self.world.node(SECOND).address,
            f"{self.world.node(FIRST).address}:{PORT}", code=None,
        )  # fmt: skip

    def undo(self) -> None:
        """Start what was killed, and join again as an operator would if the first try came to nothing."""
        for name in (FIRST, SECOND):
            if self.world.node(name).pid("vaultd") is None:
                self.world.lab.start(name)
        try:
            # What has got no answer may still be on its way in; what was refused is not.
            self.world.until_whole(timeout_s=15 if self._inside() else 1)
        except NotInTime:
            self.world.vault(SECOND, "swarm", "leave", "--force", code=None)
            for one in self.world.ask(FIRST, "GET", "/nodes") or []:
                if one["Description"].get("Hostname") == SECOND:
                    self.world.vault(FIRST, "node", "demote", one["ID"], code=None)
                    self.world.vault(FIRST, "node", "rm", "--force", one["ID"], code=None)
            self._join()

    def _inside(self) -> bool:
        """Whether the second manager believes itself to be in a swarm."""
        shown = self.world.ask(SECOND, "GET", "/info") or {}
        return (shown.get("Swarm") or {}).get("LocalNodeState") != "inactive"

    def check(self) -> None:
        """One engine is in charge, and nothing is left of the other, nor of moves that did not finish."""
        for name in (FIRST, SECOND):
            store = self.world.node(name).data_root / "swarm" / "store"
            named = (store / "engine").read_text().split()
            assert named[1] == "etcd", named
            left = [path.name for path in store.iterdir() if path.is_dir()]
            assert left == [named[2]], f"{name} has {left}, and {named} is in charge"

    # What is to be seen of a move.

    def _copies(self) -> list[Path]:
        return list(self.store.glob(f"{_ASIDE}*"))

    def _committed(self) -> bool:
        try:
            return "etcd" in (self.store / "engine").read_text()
        except OSError:
            return False


class AtJoin(_Move):
    """At once when the second manager asks to join."""

    name = "engine move: crash when a manager asks to join"
    later_s = 0.15

    def reached(self) -> bool:
        return True


class AtDirectory(_Move):
    """When the new engine's directory is there."""

    name = "engine move: crash when the new directory is made"

    def reached(self) -> bool:
        return bool(self._copies())


class AtCopy(_Move):
    """While records are copied."""

    name = "engine move: crash while records are copied"
    later_s = 0.1

    def reached(self) -> bool:
        return any(path.stat().st_size for copy in self._copies() for path in copy.rglob("db"))


class AtCommit(_Move):
    """As soon as the engine file names etcd: the old database may still be there."""

    name = "engine move: crash at the commit point"

    def reached(self) -> bool:
        return self._committed()


class AfterCommit(_Move):
    """When the old database is gone, and the second manager is let in."""

    name = "engine move: crash when the old database is removed"
    later_s = 0.2

    def reached(self) -> bool:
        return self._committed() and not list(self.store.glob("sqlite*/*.db"))


class JoinerAtEntry(_Move):
    """The second manager dies as it enters: the first must go on, alone or with it."""

    name = "engine move: joiner crashes as it enters"
    whom = SECOND
    later_s = 0.3

    def reached(self) -> bool:
        return self._committed()


MOVES = (AtJoin, AtDirectory, AtCopy, AtCommit, AfterCommit, JoinerAtEntry)

"""Every processor of the machine busy for minutes, and short heartbeats: no node that lives is declared down."""

import os
import subprocess
import sys
import threading
from typing import ClassVar

from tests.cluster.nemesis.base import Fault

FAST_S, USUAL_S = 1, 5
LOOK_S = 0.2
DOWN_EVENT = "node_silent"


class Saturated(Fault):
    """Ten minutes with a busy loop for each processor and a heartbeat of one second."""

    name = "all processors busy for 10 minutes, heartbeat 1 s"
    lingers_s = (600.0, 600.0)
    rate = 4.0
    loops: ClassVar[int] = os.cpu_count() or 2

    def do(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._end = threading.Event()
        self.down: set[str] = set()
        self._logged = {node.name: node.log.stat().st_size for node in self.world.lab.nodes}
        self._heartbeat(FAST_S)
        self._end.wait(2 * USUAL_S)  # Nodes learn the new period with their next heartbeat.
        self._running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(self.loops)]
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def _heartbeat(self, seconds: int) -> None:
        self.world.vault(self.world.leader(), "swarm", "update", "--dispatcher-heartbeat", f"{seconds}s")

    def _watch(self) -> None:
        while not self._end.wait(LOOK_S):
            shown = self.world.nodes()
            self.down |= {name for name, one in shown.items() if one["Status"]["State"] == "down"}

    def undo(self) -> None:
        self._end.set()
        if self._running:
            self._watcher.join()
        for busy in self._running:
            busy.kill()
            busy.wait()
        self._heartbeat(USUAL_S)

    def check(self) -> None:
        """Nobody was shown as down, nor was it written in any manager's log meanwhile."""
        assert not self.down, f"declared down while they lived: {sorted(self.down)}"
        for name in self.world.managers:
            with self.world.node(name).log.open("rb") as log:
                log.seek(self._logged[name])
                assert DOWN_EVENT.encode() not in log.read(), f"{name} declared a node down that lived"


BUSY = (Saturated,)

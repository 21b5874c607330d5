"""A cluster that many tests or runs share: whole when one begins, made anew when one has left it broken."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.world import NotInTime, World
from vault.lab.errors import LabError
from vault.lab.lab import Lab

DISK_BYTES = 768 << 20  # etcd reserves two logs of 64 MB, and images are unpacked beside it.


class Shared:
    """A lab under a name of its own; `world` is whole each time it is asked for."""

    def __init__(self, root: Path, name: str, *, managers: int, workers: int, join: bool = True) -> None:
        self._lab = Lab(name, root)
        self._managers, self._workers, self._join = managers, workers, join
        self._up = False
        self.formed = 0  # How often it was made.

    def world(self) -> World:
        """Return the cluster, whole; it is mended, or else made anew."""
        world = World(self._lab)
        if self._up and self._join:
            try:
                mend(world)
                world.until_whole()
            except (LabError, NotInTime):
                self.close()
        if not self._up:
            self._lab.down()
            self._lab.up(
                managers=self._managers, workers=self._workers, disk_bytes=DISK_BYTES, join=self._join,
                log_level="debug",
            )  # fmt: skip
            self._up, self.formed = True, self.formed + 1
            if self._join:
                world.load_image()
                world.until_whole()
        return world

    def spoil(self) -> None:
        """Have the next run begin with a new lab."""
        self.close()

    def close(self) -> None:
        """End it."""
        self._up = False
        self._lab.down()


def mend(world: World) -> None:
    """Undo all that a fault may have left: cuts, stopped and dead processes."""
    world.lab.heal()
    for node in world.lab.nodes:
        with contextlib.suppress(LabError):
            world.lab.resume(node.name, "all")
    world.start_all()


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """Yield a directory for labs; short, since sockets are below it."""
    made = Path(tempfile.mkdtemp(prefix="vc", dir="/tmp"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)

"""Where everything of a lab is, and what it is called.

Pure.  Whatever a lab makes is named from its directory, so that `down` finds it after any crash and several labs on one
machine never meet.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from vault.agent.executors.oci.paths import Roots
from vault.daemon.settings import SOCKET_PATH_MAX, TASK_SOCKET
from vault.lab.errors import BadPlan

DEFAULT_NAME: Final = "lab"
DEFAULT_BASE: Final = Path("/var/lib/vault-lab")  # Holds the directories of labs.
NETWORK_PREFIX: Final = 16
OUTSIDE: Final = "outside"  # In place of a node: a machine on their network that is none.
OUTSIDE_ADDRESS: Final = "10.77.0.1"
MOST_NODES: Final = 50  # Of one kind.
LEAST_DISK_BYTES: Final = 16 << 20
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,28}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The directory of a lab: everything it has is below."""

    name: str
    directory: Path

    @property
    def record(self) -> Path:
        """What the lab is and what was done to it; there before anything else, gone after everything else."""
        return self.directory / "lab.json"

    @property
    def switch(self) -> Path:
        """Namespace of the bridge, with a port for each node that bears its name; also `outside`."""
        return self.directory / "switch.net"

    @property
    def cgroup(self) -> str:
        """Parent of the nodes' cgroups."""
        return f"/vault-lab/{self.tag}"

    @property
    def tag(self) -> str:
        """Tells this lab from others of its name in other directories."""
        return f"{self.name}-{sha256(str(self.directory).encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one node has, and where."""

    name: str
    address: str
    site: Site

    @property
    def manager(self) -> bool:
        """Whether it is to be a manager."""
        return self.name.startswith("manager")

    @property
    def directory(self) -> Path:
        """Everything of the node."""
        return self.site.directory / self.name

    @property
    def data_root(self) -> Path:
        """State of its vaultd; a file system of its own if the lab has disks."""
        return self.directory / "data"

    @property
    def run_root(self) -> Path:
        """Socket and mounts of its vaultd."""
        return self.directory / "run"

    @property
    def disk(self) -> Path:
        """Image of the file system at `data_root`."""
        return self.directory / "disk.img"

    @property
    def net(self) -> Path:
        """Network namespace."""
        return self.directory / "net"

    @property
    def uts(self) -> Path:
        """Host name's namespace."""
        return self.directory / "uts"

    @property
    def log(self) -> Path:
        """What its vaultd prints."""
        return self.directory / "vaultd.log"

    @property
    def vaultd_pid(self) -> Path:
        """Written by the process that becomes vaultd."""
        return self.directory / "vaultd.pid"

    @property
    def relay_pid(self) -> Path:
        """Written by the process that delays its packets."""
        return self.directory / "relay.pid"

    @property
    def relay_log(self) -> Path:
        """What that process prints."""
        return self.directory / "relay.log"

    @property
    def shared_clock(self) -> str:
        """Name of what processes with a wrong clock share."""
        return f"vault-lab-{self.site.tag}-{self.name}"

    @property
    def host(self) -> str:
        """Address of its vaultd for `vault`."""
        return f"unix://{self.run_root}/vault.sock"

    @property
    def cgroup(self) -> str:
        """The cgroup of vaultd and all it starts but tasks."""
        return f"{self.site.cgroup}/{self.name}"

    @property
    def tasks_cgroup(self) -> str:
        """The parent of its tasks' cgroups."""
        return Roots(data=self.data_root, run=self.run_root).cgroup


def site(base: Path, name: str) -> Site:
    """Return the place of a lab; `base` without links, as mounts are listed.

    Raises `BadPlan` for a name that cannot be a directory, a link or a cgroup.
    """
    if _NAME.fullmatch(name) is None:
        raise BadPlan(f"invalid lab name {name!r}: use 1 to 30 of a-z, 0-9 and dashes, no dash first or last")
    return Site(name=name, directory=base / name)


def places(at: Site, *, managers: int, workers: int) -> tuple[Place, ...]:
    """Return the nodes of a lab, managers first.  Raises `BadPlan`."""
    if not 1 <= managers <= MOST_NODES or not 0 <= workers <= MOST_NODES:
        raise BadPlan(f"a lab has 1 to {MOST_NODES} managers and 0 to {MOST_NODES} workers")
    made = (
        *(Place(name=f"manager{n}", address=f"10.77.1.{n}", site=at) for n in range(1, managers + 1)),
        *(Place(name=f"worker{n}", address=f"10.77.2.{n}", site=at) for n in range(1, workers + 1)),
    )
    surplus = max(len(str(each.run_root).encode()) for each in made) + len(TASK_SOCKET) - SOCKET_PATH_MAX
    if surplus > 0:
        raise BadPlan(
            f"{at.directory} is {surplus} bytes too long for the sockets below it: choose a shorter $VAULT_LAB_ROOT"
        )
    return made


def check_disk(size_bytes: int) -> None:
    """Raise `BadPlan` for a disk that is too small to hold a file system and a store."""
    if 0 < size_bytes < LEAST_DISK_BYTES:
        raise BadPlan(f"a disk of {size_bytes} bytes is too small: use {LEAST_DISK_BYTES >> 20}M or more")

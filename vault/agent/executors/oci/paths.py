"""Where the files of a task are.  Pure.

RUN_ROOT holds what a reboot ends (bundle, mounts, sockets), DATA_ROOT what must not fill memory (layer, log).
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from vault.model.ids import TaskID, is_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The two directories of a node."""

    data: Path
    run: Path

    @property
    def run_tasks(self) -> Path:
        """One directory a task; the mounts are in here."""
        return self.run / "tasks"

    @property
    def data_tasks(self) -> Path:
        """One directory a task: writable layer and log."""
        return self.data / "tasks"

    @property
    def runtime(self) -> Path:
        """The runtime's own state."""
        return self.run / "runtime"

    @property
    def instance(self) -> str:
        """Twelve hexadecimal digits that tell the nodes on one machine apart; the same after a restart."""
        return sha256(str(self.run).encode()).hexdigest()[:12]

    @property
    def cgroup(self) -> str:
        """The parent of every task's cgroup."""
        return f"/vault/{self.instance}"

    def task(self, task_id: TaskID) -> "TaskPaths":
        """Return the places of one task.  The id comes from a manager and becomes a path, so it is checked."""
        if not is_id(task_id):
            raise ValueError("a task id is 25 characters of 0-9 and a-z")
        return TaskPaths(roots=self, task_id=task_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPaths:
    """The places of one task."""

    roots: Roots
    task_id: TaskID

    @property
    def container_id(self) -> str:
        """64 hexadecimal digits, the same whenever they are asked for."""
        return sha256(b"vault/container/1\0" + self.task_id.encode()).hexdigest()

    @property
    def run(self) -> Path:
        """The OCI bundle, and everything that ends with a reboot."""
        return self.roots.run_tasks / self.task_id

    @property
    def data(self) -> Path:
        """What is on disk."""
        return self.roots.data_tasks / self.task_id

    @property
    def rootfs(self) -> Path:
        """Mount point of the overlay."""
        return self.run / "rootfs"

    @property
    def secrets(self) -> Path:
        """Mount point of the memory files."""
        return self.run / "secrets"

    @property
    def etc(self) -> Path:
        """hosts, hostname and resolv.conf, which are bound into the container."""
        return self.run / "etc"

    @property
    def config(self) -> Path:
        """The OCI runtime configuration."""
        return self.run / "config.json"

    @property
    def record(self) -> Path:
        """What the next vaultd must know of the task."""
        return self.run / "task.json"

    @property
    def told(self) -> Path:
        """The task as managers told of it."""
        return self.run / "told.json"

    @property
    def health(self) -> Path:
        """How the container stands, for the next vaultd."""
        return self.run / "health.json"

    @property
    def probe_pid(self) -> Path:
        """Pid of the health probe that runs; empty while it is being set going, absent between two."""
        return self.run / "probe.pid"

    @property
    def exits(self) -> Path:
        """conmon writes the exit code into a file in here."""
        return self.run / "exits"

    @property
    def exit_file(self) -> Path:
        """That file."""
        return self.exits / self.container_id

    @property
    def oom(self) -> Path:
        """conmon makes this file when the kernel kills for want of memory."""
        return self.run / "oom"

    @property
    def pid_file(self) -> Path:
        """Pid of the container's first process."""
        return self.run / "pid"

    @property
    def conmon_pid_file(self) -> Path:
        """Pid of conmon."""
        return self.run / "conmon.pid"

    @property
    def control(self) -> Path:
        """FIFO on which conmon takes orders."""
        return self.run / "ctl"

    @property
    def upper(self) -> Path:
        """The writable layer."""
        return self.data / "upper"

    @property
    def work(self) -> Path:
        """The overlay's work directory."""
        return self.data / "work"

    def mounted_image(self, number: int) -> Path:
        """Mount point of the files of another image, the number-th of the task."""
        return self.run / "images" / str(number)

    def mounted_images(self) -> list[Path]:
        """Those mount points that there are."""
        return sorted((self.run / "images").glob("[0-9]*"))

    def image_upper(self, number: int) -> Path:
        """What the task writes there."""
        return self.data / "images" / str(number) / "upper"

    def image_work(self, number: int) -> Path:
        """The work directory of that overlay."""
        return self.data / "images" / str(number) / "work"

    @property
    def log(self) -> Path:
        """What the container printed; older files have .1, .2 behind the name."""
        return self.data / "container.log"

    @property
    def shipped(self) -> Path:
        """How much of the log has gone to a log server."""
        return self.data / "shipped.json"

    @property
    def cgroup(self) -> str:
        """The cgroup, in every hierarchy."""
        return f"{self.roots.cgroup}/{self.task_id}"

    @property
    def runtime_state(self) -> Path:
        """The runtime's directory for the container."""
        return self.roots.runtime / self.container_id

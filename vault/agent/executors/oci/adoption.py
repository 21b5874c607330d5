"""Ends, and what a vaultd that was killed left behind.

Blocking; from threads only.  Called by `executor`.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from vault.agent.executors.oci import healthfile, removal
from vault.agent.executors.oci.conmon import exit_code
from vault.agent.executors.oci.launching import Started
from vault.agent.executors.oci.paths import Roots, TaskPaths
from vault.agent.executors.oci.probes import end_left_probe
from vault.agent.executors.oci.record import Record, boot_id, open_process, read_record, read_task, write_record
from vault.agent.executors.oci.runtime import Runtime
from vault.agent.executors.port import Adopted, Exit, Phase
from vault.agent.health import KeptHealth
from vault.agent.volumes import VolumeStore
from vault.model.ids import TaskID
from vault.model.task import ContainerStatus, Task

LOST_CODE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """A task of an earlier vaultd."""

    record: Record
    started: Started | None  # None: prepared, and can be started now.
    task: Task | None = None  # As an earlier vaultd was told of it.
    health: KeptHealth | None = None

    @property
    def exit(self) -> Exit | None:
        """Known only after its end was looked at."""
        return None

    def adopted(self, exit_: Exit | None) -> Adopted:
        """Return what the agent is told."""
        record = self.record
        running = self.started is not None and exit_ is None
        return Adopted(
            task_id=TaskID(record.task_id),
            phase=Phase.PREPARED if self.started is None else Phase.RUNNING if running else Phase.EXITED,
            container=ContainerStatus(
                container_id=record.container_id,
                pid=record.container.pid if running and record.container is not None else 0,
                exit_code=exit_.code if exit_ is not None else 0,
            ),
            started_at=datetime.fromtimestamp(record.started_at, UTC) if record.started_at else None,
            exit=exit_,
            task=self.task,
            health=self.health,
        )


def inherit(runtime: Runtime, paths: TaskPaths, volumes: VolumeStore) -> Inherited | None:
    """Return the task that has files here; None when only rubbish was left of it, which is removed."""
    record = read_record(paths)
    half_started = record is not None and not record.started_at and record.launching
    half_prepared = record is not None and not record.started_at and not paths.config.exists()
    rebooted = record is not None and record.boot_id != boot_id()
    if record is None or half_started or half_prepared or (rebooted and not record.started_at):
        removal.remove_all(runtime, paths, volumes)
        return None
    if not record.started_at:
        return Inherited(record=record, started=None, task=read_task(paths))
    conmon = None if rebooted else open_process(record.conmon)
    if conmon is not None and (paths.runtime_state / "exec.fifo").exists():
        runtime.run("start", paths.container_id)  # vaultd was killed just before it.
    end_left_probe(runtime, paths)
    started = Started(record=record, conmon_pidfd=conmon)
    return Inherited(record=record, started=started, task=read_task(paths), health=healthfile.read(paths))


def claim_volumes(roots: Roots, volumes: VolumeStore) -> None:
    """Note which volumes are in use by tasks of an earlier vaultd, before anybody can ask to remove one."""
    for task_id in removal.found_on_disk(roots):
        record = read_record(roots.task(task_id))
        for name in record.volumes if record is not None else ():
            volumes.claim(name, task_id, roots.task(task_id).container_id)


def collect_exit(runtime: Runtime, paths: TaskPaths) -> Exit:
    """Return how a container ended whose conmon has gone, and free its secrets."""
    code = exit_code(paths.exit_file)
    if code is None:
        removal.kill_all(runtime, paths)
    removal.forget_values(paths)
    at = paths.exit_file.stat().st_mtime if code is not None else time.time()
    return Exit(
        code=LOST_CODE if code is None else code,
        finished_at=datetime.fromtimestamp(at, UTC),
        oom=paths.oom.exists(),
        lost=code is None,
    )


def settle(runtime: Runtime, paths: TaskPaths, record: Record) -> None:
    """Remove what an ended container needs no longer; its log, exit code and layer stay until it is removed."""
    removal.end_container(runtime, paths)
    write_record(paths, msgspec.structs.replace(record, ended=True))

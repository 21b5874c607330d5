"""Starting a prepared container.  Blocking; from threads only.  Called by `executor` and `adoption`."""

import time
from dataclasses import dataclass
from typing import Final

import msgspec

from vault.agent.executors.oci import removal
from vault.agent.executors.oci.conmon import Conmon
from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.executors.oci.record import Record, identify, open_process, read_record, write_record
from vault.agent.executors.oci.runtime import Runtime, RuntimeFailed
from vault.agent.executors.oci.seccomp import Profile

# conmon empties the newest log file whenever it has written this many times the wanted size, rotated or not: a bound
# for the time in which vaultd is away.
_LOG_OVERRUN: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A container that was started."""

    record: Record
    conmon_pidfd: int | None  # None when conmon has gone already: the container has ended.


def launch(runtime: Runtime, conmon: Conmon, profile: Profile, paths: TaskPaths) -> Started:
    """Create and start the container of a prepared task.  Raises `RuntimeFailed`; no process is left then."""
    record = read_record(paths)
    if record is None:
        raise RuntimeFailed("start", "the task is not prepared")
    if record.launching:
        raise RuntimeFailed("start", "the task was started before: prepare it again")
    record = msgspec.structs.replace(record, launching=True)
    write_record(paths, record)
    try:
        launched = conmon.launch(runtime, paths, record, log_max_bytes=record.log_max_bytes * _LOG_OVERRUN)
        profile.created(
            record.seccomp_key, digest=record.seccomp_digest, filter_file=paths.runtime_state / "seccomp.bpf"
        )
        record = msgspec.structs.replace(
            record,
            container=identify(launched.container_pid),
            conmon=identify(launched.conmon_pid),
            started_at=time.time(),
        )
        write_record(paths, record)
        runtime.run("start", paths.container_id)
    except BaseException:  # Whatever it is, values and processes that no record names are not left.
        removal.forget_values(paths)
        removal.end_container(runtime, paths)
        raise
    return Started(record=record, conmon_pidfd=open_process(record.conmon))

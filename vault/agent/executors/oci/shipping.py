"""Lines of a container's log on their way to a log server.

Not pure.  Called by `logkeeping`, one `Shipper` a container whose driver sends elsewhere.  How far it came is kept
beside the log, so that the next vaultd goes on from there.  A server that cannot be reached is tried again until the
container is removed; the container never waits, and what it prints meanwhile is kept as long as its log files are.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from vault.agent.executors.oci.logtail import Position, Tailer
from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.executors.oci.record import Record
from vault.agent.executors.oci.threads import Threads
from vault.agent.executors.port import Exit
from vault.agent.logdrivers.journald import JournalTarget
from vault.agent.logdrivers.syslog import SyslogTarget
from vault.agent.logdrivers.target import Origin, Target
from vault.agent.logs import LogLine, LogQuery
from vault.model.log_options import log_settings

logger = logging.getLogger(__name__)
LOOK_EVERY_S: Final = 0.2
FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 10.0
_MAX_BYTES: Final = 4096


def target_of(record: Record) -> Target | None:
    """Return where a container's lines go besides its files; None for nowhere."""
    settings = log_settings(record.log_driver, record.log_options)
    origin = Origin(
        tag=record.log_tag,
        hostname=os.uname().nodename,
        pid=record.container.pid if record.container is not None else 0,
        fields=record.log_fields,
    )
    match settings.driver:
        case "syslog":
            assert settings.syslog is not None
            return SyslogTarget(settings.syslog, origin)
        case "journald":
            return JournalTarget(origin)
    return None


class Shipper:
    """Sends the lines of one container, from where an earlier vaultd stopped."""

    def __init__(
        self,
        paths: TaskPaths,
        target: Target,
        threads: Threads,
        ended: "asyncio.Future[Exit]",
        sleep: Callable[[float], "asyncio.Future[None]"] | None = None,
    ) -> None:
        self._paths = paths
        self._target = target
        self._threads = threads
        self._ended = ended
        self._sleep = sleep or (lambda seconds: asyncio.ensure_future(asyncio.sleep(seconds)))
        self._troubled = False

    async def run(self) -> None:
        """Send until the container has ended and all that it printed is sent, or until cancelled."""
        tailer = await self._threads.run(self._open)
        try:
            while True:
                over = self._ended.done()
                lines = await self._threads.run(tailer.read)
                if lines is not None:
                    await self._deliver(lines)
                    await self._threads.run(self._keep, tailer.position)
                elif over:
                    await self._deliver(tailer.flush())
                    await self._threads.run(self._keep, tailer.position)
                    return
                else:
                    await asyncio.wait({self._ended}, timeout=LOOK_EVERY_S)
        finally:
            tailer.close()
            await self._target.close()

    async def _deliver(self, lines: Sequence[LogLine]) -> None:
        pause_s = FIRST_RETRY_S
        while lines:
            try:
                await self._target.send(lines)
            except OSError as error:
                self._tell(error)
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, LAST_RETRY_S)
                continue
            self._troubled = False
            return

    def _tell(self, error: OSError) -> None:
        """Say once in each outage that lines wait."""
        if not self._troubled:
            reason = error.strerror or str(error)
            logger.warning("log_not_shipped", extra={"task_id": self._paths.task_id, "reason": reason})
        self._troubled = True

    def _open(self) -> Tailer:
        return Tailer(self._paths.log, LogQuery(), start=self._kept())

    def _kept(self) -> Position | None:
        try:
            with self._paths.shipped.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX_BYTES), type=Position)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _keep(self, position: Position | None) -> None:
        """Note how far it came; the directory goes with the task."""
        if position is None:
            return
        fresh = self._paths.shipped.with_suffix(".new")
        with suppress(FileNotFoundError):
            fresh.write_bytes(msgspec.json.encode(position))
            fresh.replace(self._paths.shipped)

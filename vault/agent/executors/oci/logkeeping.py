"""The logs of a node's containers: read, kept within bounds, and sent to log servers.

Not pure.  Called by `executor`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from vault.agent.executors.oci import logfiles
from vault.agent.executors.oci.logtail import Tailer
from vault.agent.executors.oci.paths import Roots, TaskPaths
from vault.agent.executors.oci.record import Record, read_record
from vault.agent.executors.oci.shipping import Shipper, target_of
from vault.agent.executors.oci.threads import Threads
from vault.agent.executors.port import Exit, NoSuchContainer
from vault.agent.logs import LogLine, LogQuery
from vault.model.ids import TaskID

logger = logging.getLogger(__name__)
ROTATE_EVERY_S: Final = 2.0
FOLLOW_EVERY_S: Final = 0.2
LAST_LINES_S: Final = 5.0  # A log server that cannot be reached holds up the removal of a task for so long.


@dataclass(slots=True, kw_only=True)
class _Kept:
    """The log of a container that was started."""

    record: Record
    ended: "asyncio.Future[Exit]"
    shipping: asyncio.Task[None] | None = None  # Where it goes elsewhere.


class Logs:
    """Made in the event loop it is used in."""

    def __init__(self, roots: Roots, threads: Threads) -> None:
        """threads: for what is quick."""
        self._roots = roots
        self._threads = threads
        self._kept: dict[TaskID, _Kept] = {}
        self._rotation = asyncio.ensure_future(self._rotate())

    def begin(self, task_id: TaskID, record: Record, ended: "asyncio.Future[Exit]") -> None:
        """Look after the log of a container from now on."""
        kept = self._kept[task_id] = _Kept(record=record, ended=ended)
        if (target := target_of(record)) is not None:
            shipper = Shipper(self._roots.task(task_id), target, self._threads, ended)
            kept.shipping = asyncio.ensure_future(self._shipped(task_id, shipper))

    async def end(self, task_id: TaskID) -> None:
        """Let go of the log of a container that has ended; its last lines get a moment to reach their server."""
        kept = self._kept.pop(task_id, None)
        if kept is None or kept.shipping is None:
            return
        await asyncio.wait({kept.shipping}, timeout=LAST_LINES_S)
        await _cancelled(kept.shipping)

    async def close(self) -> None:
        """Stop; what was not sent yet, a later vaultd sends."""
        self._rotation.cancel()
        for kept in self._kept.values():
            if kept.shipping is not None:
                await _cancelled(kept.shipping)

    async def lines(self, task_id: TaskID, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield what a container printed."""
        paths, kept = self._roots.task(task_id), self._kept.get(task_id)
        if not paths.data.is_dir():
            raise NoSuchContainer(task_id)
        if not await self._threads.run(_is_readable, paths):
            return
        tailer = Tailer(paths.log, query)
        try:
            if query.tail is not None:
                for line in await self._threads.run(tailer.last, query.tail):
                    yield line
            ended = False
            while not ended:
                ended = not query.follow or kept is None or kept.ended.done()
                while (lines := await self._threads.run(tailer.read)) is not None:
                    for line in lines:
                        yield line
                if kept is not None and not ended:
                    await asyncio.wait({kept.ended}, timeout=FOLLOW_EVERY_S)
            for line in tailer.flush():
                yield line
        finally:
            tailer.close()

    async def details(self, task_id: TaskID) -> Mapping[str, str]:
        """Return what goes with each line."""
        record = await self._threads.run(read_record, self._roots.task(task_id))
        return record.log_details if record is not None else {}

    def rotate(self, task_id: TaskID) -> bool:
        """Rotate a log that has grown too big; blocks, from threads only."""
        record = self._kept[task_id].record
        return logfiles.rotate(
            self._roots.task(task_id),
            max_bytes=record.log_max_bytes,
            files=record.log_files,
            compress=record.log_compress,
        )

    async def _rotate(self) -> None:
        """Look after the size of every log."""
        while True:
            await asyncio.sleep(ROTATE_EVERY_S)
            running = [task_id for task_id, kept in self._kept.items() if not kept.ended.done()]
            await self._threads.run(self._rotate_all, running)

    def _rotate_all(self, running: list[TaskID]) -> None:
        for task_id in running:
            try:
                self.rotate(task_id)
            except KeyError:  # Its task was removed meanwhile.
                continue
            except OSError:
                logger.exception("log_not_rotated", extra={"task_id": task_id})

    @staticmethod
    async def _shipped(task_id: TaskID, shipper: Shipper) -> None:
        try:
            await shipper.run()
        except Exception:  # A log that cannot be read harms nothing but itself.
            logger.exception("log_not_shipped", extra={"task_id": task_id})


def _is_readable(paths: TaskPaths) -> bool:
    record = read_record(paths)
    return record is None or record.log_readable


async def _cancelled(job: "asyncio.Task[None]") -> None:
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)

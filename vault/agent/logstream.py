"""The log of one of this node's tasks, sent to the manager that asked for it.

Not pure.  Called by `vault.agent.session`.  Lines gather while the manager does not take them, up to a bound; then
reading the log waits too.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from vault.agent.logs import LogLine, LogQuery
from vault.agent.worker import Worker
from vault.model.ids import TaskID
from vault.rpc import messages
from vault.rpc.call import Call

BATCH_BYTES: Final = 256 * 1024


class Dial(Protocol):
    """Calls a method of a manager."""

    def __call__(self, address: str, method: str, /) -> AbstractAsyncContextManager[Call]:
        """address: host:port."""
        ...


async def send_log(worker: Worker, wanted: messages.LogsWanted, dial: Dial, address: str) -> None:
    """Send a log to its end, or until cancelled; an empty one when this node has no such task."""
    async with dial(address, messages.LOGS) as call:
        if wanted.task_id not in worker.known:
            await call.send(messages.LogsHere(id=wanted.id))
            return
        task_id, executor = TaskID(wanted.task_id), worker.machine.executor
        await call.send(messages.LogsHere(id=wanted.id, details=dict(await executor.log_details(task_id))))
        await _sent(call, executor.logs(task_id, _query(wanted.query)))


async def _sent(call: Call, lines: AsyncIterator[LogLine]) -> None:
    basket = _Basket()
    reading = asyncio.create_task(_read(basket, lines))
    try:
        while batch := await basket.take():
            await call.send(messages.LogLines(lines=batch))
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    reading.result()


async def _read(basket: "_Basket", lines: AsyncIterator[LogLine]) -> None:
    try:
        async for line in lines:
            await basket.put(line)
    finally:
        basket.close()
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


class _Basket:
    """Lines between the file and the manager."""

    def __init__(self) -> None:
        self._lines: list[messages.LogLine] = []
        self._size_bytes = 0
        self._closed = False
        self._changed = asyncio.Event()

    async def put(self, line: LogLine) -> None:
        """Add a line; wait while there is much."""
        while self._lines and (self._size_bytes >= BATCH_BYTES or len(self._lines) >= messages.LINES_MAX):
            self._changed.clear()
            await self._changed.wait()
        self._lines.append(messages.LogLine(at_ns=line.at_ns, stderr=line.stream == "stderr", data=line.data))
        self._size_bytes += len(line.data)
        self._changed.set()

    async def take(self) -> tuple[messages.LogLine, ...]:
        """Return the lines there are, at least one; none once there will be no more."""
        while not (self._lines or self._closed):
            self._changed.clear()
            await self._changed.wait()
        lines, self._lines, self._size_bytes = tuple(self._lines), [], 0
        self._changed.set()
        return lines

    def close(self) -> None:
        """No more lines will come."""
        self._closed = True
        self._changed.set()


def _query(query: messages.LogQuery) -> LogQuery:
    return LogQuery(
        stdout=query.stdout,
        stderr=query.stderr,
        tail=query.tail,
        since_ns=query.since_ns,
        until_ns=query.until_ns,
        follow=query.follow,
    )

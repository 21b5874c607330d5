"""Logs of tasks, from the executor's shape to the API's."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from vault.agent import logs as agent_logs
from vault.agent.worker import Worker
from vault.api.ports import LogLine, LogQuery
from vault.model.ids import TaskID

_SECOND_NS = 1_000_000_000
_STREAMS = {"stdout": 1, "stderr": 2}


async def task_lines(worker: Worker | None, task_id: str, query: LogQuery) -> AsyncIterator[LogLine]:
    """Yield the log of a task of this node; nothing when the node has no such task."""
    if worker is None or task_id not in worker.runners:
        return
    wanted = agent_logs.LogQuery(
        stdout=query.stdout,
        stderr=query.stderr,
        tail=query.tail,
        since_ns=int(query.since_s * _SECOND_NS) if query.since_s else None,
        until_ns=None if query.until_s is None else int(query.until_s * _SECOND_NS),
        follow=query.follow,
    )
    async for line in worker.machine.executor.logs(TaskID(task_id), wanted):
        yield LogLine(
            stream=_STREAMS[line.stream],
            timestamp=datetime.fromtimestamp(line.at_ns // _SECOND_NS, UTC).replace(
                microsecond=line.at_ns % _SECOND_NS // 1000
            ),
            nanosecond=line.at_ns % 1000,
            data=line.data,
        )

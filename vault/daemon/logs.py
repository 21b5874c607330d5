"""Logs of tasks, from the executor's shape to the API's."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime

from vault.agent import logs as agent_logs
from vault.agent.worker import Worker
from vault.api.ports import LogLine, LogQuery
from vault.dispatcher.logs import LogBroker
from vault.model.ids import TaskID
from vault.model.task import Task
from vault.rpc import messages

_SECOND_NS = 1_000_000_000
_STREAMS = {"stdout": 1, "stderr": 2}


async def task_lines(worker: Worker | None, task_id: str, query: LogQuery) -> AsyncIterator[LogLine]:
    """Yield the log of a task of this node; nothing when the node has no such task."""
    if worker is None or task_id not in worker.known:
        return
    wanted = agent_logs.LogQuery(
        stdout=query.stdout,
        stderr=query.stderr,
        tail=query.tail,
        since_ns=int(query.since_s * _SECOND_NS) if query.since_s else None,
        until_ns=None if query.until_s is None else int(query.until_s * _SECOND_NS),
        follow=query.follow,
    )
    executor = worker.machine.executor
    details = await executor.log_details(TaskID(task_id))
    async for line in executor.logs(TaskID(task_id), wanted):
        yield _shown(line.stream, line.at_ns, line.data, details)


async def broker_lines(broker: LogBroker, task: Task, query: LogQuery) -> AsyncIterator[LogLine]:
    """Yield the log of a task of another node, as that node sends it."""
    wanted = messages.LogQuery(
        stdout=query.stdout,
        stderr=query.stderr,
        tail=query.tail,
        since_ns=int(query.since_s * _SECOND_NS) if query.since_s else None,
        until_ns=None if query.until_s is None else int(query.until_s * _SECOND_NS),
        follow=query.follow,
    )
    async with aclosing(broker.lines(task.id, task.node_id, wanted)) as lines:
        async for line, details in lines:
            yield _shown("stderr" if line.stderr else "stdout", line.at_ns, line.data, details)


def _shown(stream: str, at_ns: int, data: bytes, details: Mapping[str, str]) -> LogLine:
    return LogLine(
        stream=_STREAMS[stream],
        timestamp=datetime.fromtimestamp(at_ns // _SECOND_NS, UTC).replace(microsecond=at_ns % _SECOND_NS // 1000),
        nanosecond=at_ns % 1000,
        data=data,
        details=details,
    )

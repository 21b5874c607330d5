"""Logs of services, tasks and containers, in the frames that Docker's clients read.

Not pure.  `vault.api.log_format` makes the bytes; here is which logs are opened, and in which order lines come.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from vault.api.container_lookup import find_container
from vault.api.context import Context, Endpoint, Reach, speaks
from vault.api.log_format import QUERY, Style, frame, log_query, style_of
from vault.api.lookup import find_service, find_task
from vault.api.ports import LogLine, LogQuery, Manager, Store
from vault.api.streams import MULTIPLEXED, RAW, Streamed, Write
from vault.model.task import Task

Emit = Callable[[Task | None, LogLine], Awaitable[None]]
Copy = Callable[[Emit], Awaitable[None]]
MAX_FOLLOWED = 4096  # Tasks of one service that one reader follows at a time.


class Logs:
    """Handlers of logs."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        return [
            Endpoint("GET", "/services/{id}/logs", self.service, query=QUERY, streams=True),
            Endpoint("GET", "/tasks/{id}/logs", self.task, query=QUERY, streams=True),
            Endpoint("GET", "/containers/{id}/logs", self.container, query=QUERY, reach=Reach.NODE),
        ]

    async def service(self, request: Request) -> Response:
        """Send the logs of all tasks of a service, by time; with `follow`, as they come."""
        manager = self.context.manager
        store, query = manager.store(), self._query(request)
        service = find_service(store.committed, request.path_params["id"])
        tty = service.spec.task_template.container_spec.tty

        async def copy(emit: Emit) -> None:
            if query.follow:
                await follow_service(manager, store, service.id, query, emit)
                return
            tasks = sorted(store.committed.tasks_of(service.id), key=lambda task: (task.slot, task.created_at))
            await merge(manager, tasks, query, emit)

        return self._answer(request, copy, query, tty=tty)

    async def task(self, request: Request) -> Response:
        """Send the log of a task."""
        manager = self.context.manager
        query = self._query(request)
        task = find_task(manager.store().committed, request.path_params["id"])
        tty = task.spec.container_spec.tty
        return self._answer(request, lambda emit: merge(manager, [task], query, emit), query, tty=tty)

    async def container(self, request: Request) -> Response:
        """Send the log of a container of this node."""
        query = self._query(request, strict=False)
        container = find_container(await self.context.node.containers(), request.path_params["id"])
        lines = self.context.node.container_logs(container.id, query)

        async def copy(emit: Emit) -> None:
            async for line in lines:
                await emit(None, line)

        return self._answer(request, copy, query, tty=container.tty)

    def _query(self, request: Request, *, strict: bool = True) -> LogQuery:
        """Return which lines are wanted; there is nothing to follow up to a time that has passed."""
        query = log_query(request, strict=strict)
        ended = query.until_s is not None and query.until_s <= self.context.now_s()
        return replace(query, follow=False) if ended else query

    def _answer(self, request: Request, copy: Copy, query: LogQuery, *, tty: bool) -> Response:
        """Answer with the lines that `copy` emits: framed, but for a terminal's; what is followed ends at `until`."""
        style: Style = style_of(request)
        followed_s = query.until_s - self.context.now_s() if query.follow and query.until_s is not None else None

        async def produce(write: Write) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(followed_s):
                    await copy(lambda task, line: write(frame(task, line, style, framed=not tty)))

        return Streamed(produce, MULTIPLEXED if speaks(request) >= (1, 42) and not tty else RAW)


async def merge(manager: Manager, tasks: Sequence[Task], query: LogQuery, emit: Emit) -> None:
    """Emit the lines of several logs by time; holds one line of each."""
    logs = [(task, manager.task_logs(task, query)) for task in tasks]
    heads = [(task, log, line) for task, log in logs if (line := await anext(log, None)) is not None]
    while heads:
        position = min(range(len(heads)), key=lambda n: (heads[n][2].timestamp, heads[n][2].nanosecond))
        task, log, line = heads[position]
        await emit(task, line)
        following = await anext(log, None)
        if following is None:
            del heads[position]
        else:
            heads[position] = (task, log, following)


async def follow_service(manager: Manager, store: Store, service_id: str, query: LogQuery, emit: Emit) -> None:
    """Emit the lines of a service's tasks as they come, of later tasks too, until the service is gone."""
    one_line = asyncio.Lock()

    async def copy(task: Task, log: AsyncIterator[LogLine]) -> None:
        async for line in log:
            async with one_line:
                await emit(task, line)

    async with asyncio.TaskGroup() as group:
        opened: dict[str, asyncio.Task[None]] = {}
        async for snapshot in store.snapshots():
            if service_id not in snapshot.services:
                break
            for task in snapshot.tasks_of(service_id):
                container = task.status.container_status
                if task.id in opened or container is None or len(opened) >= MAX_FOLLOWED:
                    continue
                opened[task.id] = group.create_task(copy(task, manager.task_logs(task, query)))
            for task_id in [one for one in opened if one not in snapshot.tasks and opened[one].done()]:
                del opened[task_id]

"""Answers that come in pieces: events, logs, progress.

Not pure: writes to the connection.  A stream ends when its producer does or when the client has gone; the producer is
cancelled then, in the task that ran it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vault.api import answers
from vault.api.ports import Progress
from vault.api.shapes import ProgressDetail, ProgressError, ProgressLine
from vault.model.errors import VaultError

T = TypeVar("T")
Write = Callable[[bytes], Awaitable[None]]
Produce = Callable[[Write], Coroutine[Any, Any, None]]
RAW = b"application/vnd.docker.raw-stream"
MULTIPLEXED = b"application/vnd.docker.multiplexed-stream"


class Streamed(Response):
    """An answer whose body a coroutine writes.

    watch: whether to look for a client that has gone; not while the request's own body is still read.
    """

    def __init__(self, produce: Produce, content_type: bytes, *, watch: bool = True) -> None:
        # Not Response.__init__: there is no body to render.
        self.status_code = HTTPStatus.OK
        self.background = None
        self.raw_headers = [(b"content-type", content_type)]
        self.produce = produce
        self.watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what the producer writes, until it ends or the client goes."""

        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        gone = False
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(_until_gone(receive)) if self.watch else None
                await self.produce(write)
                if watcher is not None:
                    watcher.cancel()
        except* (ClientDisconnect, VaultError):
            gone = True  # What was begun cannot become an error: the connection ends without the last chunk.
        if not gone:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    raise ClientDisconnect()


async def with_first(items: AsyncIterator[T]) -> AsyncIterator[T]:
    """Return `items` once their first has come, so that an error before it gets a status of its own."""
    first = [item async for item in _upto_one(items)]

    async def chained() -> AsyncIterator[T]:
        for item in first:
            yield item
        async for item in items:
            yield item

    return chained()


async def _upto_one(items: AsyncIterator[T]) -> AsyncIterator[T]:
    async for item in items:
        yield item
        return


def progress(items: AsyncIterator[Progress], *, watch: bool) -> Streamed:
    """Answer with Docker's JSON messages, one a line; an error after the first is a message too."""

    async def produce(write: Write) -> None:
        try:
            async for item in items:
                await write(answers.encode(_line(item)) + b"\r\n")
        except VaultError as error:
            await write(answers.encode(_failed(error)) + b"\r\n")

    return Streamed(produce, answers.JSON, watch=watch)


def _line(item: Progress) -> ProgressLine:
    detail = ProgressDetail(current=item.current, total=item.total) if item.current or item.total else None
    return ProgressLine(status=item.status, id=item.id, stream=item.stream, progress_detail=detail)


def _failed(error: VaultError) -> ProgressLine:
    return ProgressLine(error_detail=ProgressError(message=error.message), error=error.message)

"""Between an engine and its member: a socket that passes bytes on, until it is told to lose some."""

import asyncio
import enum
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.raftstore.plain_member import SOCKET

FRONT = "front"


class Loses(enum.Enum):
    """What becomes of the next request that holds certain bytes; the connection ends with it."""

    REQUEST = enum.auto()  # The member never gets it.
    ANSWER = enum.auto()  # The member has answered, and nobody hears it.


class Proxy:
    """Make one with `open`, on the engine's event loop; `lose` what is to be lost."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lost = 0
        self.then: Callable[[], None] = lambda: None  # Called before the engine notices.
        self.refuses = False
        self._losing: list[tuple[Loses, bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, directory: Path) -> Self:
        proxy = cls(directory)
        (directory / FRONT).unlink(missing_ok=True)
        proxy._server = await asyncio.start_unix_server(proxy._serve, directory / FRONT)
        return proxy

    def lose(self, what: Loses, marked: bytes) -> None:
        """Lose the next request that holds `marked`, or its answer."""
        self._losing.append((what, marked))

    def cut(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self.refuses:
                await self._pass(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # The end of the test, or of the other side.
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_unix_connection(self.directory / SOCKET)
        losing_answer = False

        async def answers() -> None:
            while data := await back_reader.read(65536):
                if losing_answer and len(data) > 30:  # Not only the acknowledgement of what was sent.
                    return
                writer.write(data)

        async def requests() -> None:
            nonlocal losing_answer
            while data := await reader.read(65536):
                if self._losing and self._losing[0][1] in data:
                    if self._losing.pop(0)[0] is Loses.REQUEST:
                        return
                    losing_answer = True
                back_writer.write(data)

        both = [asyncio.ensure_future(answers()), asyncio.ensure_future(requests())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            back_writer.close()
        self.lost += 1
        self.then()

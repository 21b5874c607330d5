"""A wire that can be cut without a sound: bytes go in, and nothing comes out any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Relay:
    """Passes bytes both ways until it is frozen."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._open = {"requests": asyncio.Event(), "answers": asyncio.Event()}
        for event in self._open.values():
            event.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._jobs: set[asyncio.Task[None]] = set()
        self.address = ""

    def freeze(self) -> None:
        """Pass nothing any more, and close nothing."""
        for event in self._open.values():
            event.clear()

    def freeze_answers(self) -> None:
        """Pass only what clients send."""
        self._open["answers"].clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        far_reader, far_writer = await asyncio.open_connection(*self._to)
        self._writers += [writer, far_writer]
        for job in (self._pass("requests", reader, far_writer), self._pass("answers", far_reader, writer)):
            self._jobs.add(asyncio.create_task(job))

    async def _pass(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open[way].wait()
                writer.write(data)
                await writer.drain()
            writer.close()
        except ConnectionError:
            writer.close()

    def close(self) -> None:
        """End everything."""
        for job in self._jobs:
            job.cancel()
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def relaying(host: str, port: int) -> AsyncIterator[Relay]:
    """Yield a relay to a server."""
    relay = Relay(host, port)
    server = await asyncio.start_server(relay.serve, host, 0)
    relay.address = f"{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        relay.close()
        server.close()

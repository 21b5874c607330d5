"""Reading and writing of non-blocking descriptors without threads.

Nothing is read before it is asked for, so a slow caller holds back the process that prints, not our memory.
Called by `execs`.
"""

import asyncio
import errno
import os
from typing import Final

CHUNK_BYTES: Final = 1 << 16


async def read_some(fd: int) -> bytes:
    """Return the next bytes of a pipe or terminal; empty at its end."""
    while True:
        try:
            return os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            await _until_ready(fd, writing=False)
        except OSError as error:
            if error.errno == errno.EIO:  # A terminal that its last process has left.
                return b""
            raise


async def write_all(fd: int, data: bytes) -> bool:
    """Write everything; False when nobody reads any more."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            await _until_ready(fd, writing=True)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO):
                return False
            raise
    return True


async def until_exit(pidfd: int) -> None:
    """Return when the process behind the descriptor has ended."""
    await _until_ready(pidfd, writing=False)


async def _until_ready(fd: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)

    def note() -> None:
        if not ready.done():
            ready.set_result(None)

    add(fd, note)
    try:
        await ready
    finally:
        remove(fd)

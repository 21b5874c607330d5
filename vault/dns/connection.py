"""vaultd's connection to the vault-dns of its run root, and starting that process.

Not pure.  Used by `vault.dns.client`.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from vault.dns.messages import (
    LENGTH_BYTES,
    LOG,
    MAX_FRAME_BYTES,
    RELEASE,
    Done,
    Hello,
    Update,
    framed,
    socket_path,
)

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=msgspec.Struct)
ANSWER_LIMIT_S: Final = 6.0
START_LIMIT_S: Final = 5.0
COME_BACK_S: Final = 0.5
LOST: Final = (OSError, EOFError, TimeoutError, msgspec.MsgspecError)  # What a connection may end with.
_LOOK_S: Final = 0.01
_MAX_LOG_BYTES: Final = 1 << 20
_PROGRAM: Final = (sys.executable, "-P", "-m", "vault.dns.main")
_CREDENTIALS: Final = struct.Struct("3i")  # Source: unix(7), struct ucred.


class Connection:
    """One to a process of our release."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, type_: type[M]) -> M:
        """Return the next message.  Raises one of `LOST`."""
        async with asyncio.timeout(ANSWER_LIMIT_S):
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            if length > MAX_FRAME_BYTES:
                raise EOFError("frame too long")
            return msgspec.msgpack.decode(await self._reader.readexactly(length), type=type_)

    async def ask(self, update: Update) -> Done:
        """Tell what is new; return when it is in force.  Raises one of `LOST`."""
        self._writer.write(framed(update))
        async with asyncio.timeout(ANSWER_LIMIT_S):
            await self._writer.drain()
        return await self.read(Done)

    async def until_lost_or(self, event: asyncio.Event) -> None:
        """Wait for an event.  Raises `EOFError` when the other end has gone before."""
        lost = asyncio.create_task(self._reader.read(1))
        happened = asyncio.create_task(event.wait())
        try:
            await asyncio.wait({lost, happened}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                lost.result()
                raise EOFError("it has ended")
        finally:
            for each in (lost, happened):
                each.cancel()
            await asyncio.wait({lost, happened})  # A reader takes one reading at a time.

    async def replace_other(self) -> None:
        """End the process at the other end and its parent, and wait for that.  Raises one of `LOST`."""
        self._signal(signal.SIGTERM)
        async with asyncio.timeout(ANSWER_LIMIT_S):
            while await self._reader.read(4096):
                pass

    def kill_other(self) -> None:
        """End a process that does not answer; its parent starts the next, which knows what it knew."""
        logger.warning("names_process_killed", extra={"reason": f"no answer within {ANSWER_LIMIT_S:.0f} s"})
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        one = self._writer.get_extra_info("socket")
        pid, _, _ = _CREDENTIALS.unpack(one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def close(self) -> None:
        """End it."""
        self._writer.close()


async def connect(run_root: Path, *, refused_s: float = 0.0, absent_s: float = 0.0) -> Connection | None:
    """Return a connection; None when no process serves.  One of another release is ended.  Raises one of `LOST`.

    refused_s: how long to wait for a process that was killed, and whose parent may be starting the next one.
    absent_s: how long to wait for one that was just started.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(str(socket_path(run_root)))
            break
        except (FileNotFoundError, ConnectionRefusedError) as error:
            patience_s = absent_s if isinstance(error, FileNotFoundError) else max(refused_s, absent_s)
            if loop.time() - began >= patience_s:
                return None
        await asyncio.sleep(_LOOK_S)
    connection = Connection(reader, writer)
    try:
        hello = await connection.read(Hello)
        if hello.release == RELEASE:
            return connection
        await connection.replace_other()
    except BaseException as error:
        if isinstance(error, TimeoutError):
            connection.kill_other()
        connection.close()
        raise
    connection.close()
    return None


async def start(run_root: Path, resolv_conf: Path) -> None:
    """Start the process, in a session of its own; it serves soon.  Raises `OSError` or `TimeoutError`.

    Where one runs already, another ends by itself.
    """
    log = _open_log(run_root / LOG)
    try:
        process = await asyncio.create_subprocess_exec(
            *_PROGRAM,
            "--run-root",
            str(run_root),
            "--resolv-conf",
            str(resolv_conf),
            "--detach",  # A child of ours would be killed with our event loop.
            cwd="/",
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
        )
    finally:
        os.close(log)
    async with asyncio.timeout(START_LIMIT_S):
        await process.wait()


def _open_log(path: Path) -> int:
    """Return a descriptor that appends to the log, which begins anew when it has become long."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if os.fstat(log).st_size > _MAX_LOG_BYTES:
        os.truncate(log, 0)
    return log

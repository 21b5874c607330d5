"""vault-dns put together: names, a resolver for each task, and the socket on which vaultd tells what is new.

Not pure.  One process a node; started by `main`, spoken to by `vault.dns.client`.  It ends when no task has been left
for a while, or by SIGTERM, and then leaves no file.
"""

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Final

import msgspec

from vault.dns import kept
from vault.dns.forwarding import Forwarder
from vault.dns.messages import (
    LENGTH_BYTES,
    LOCK,
    MAX_FRAME_BYTES,
    RELEASE,
    Done,
    Hello,
    Served,
    Update,
    framed,
    socket_path,
)
from vault.dns.names import Directory
from vault.dns.nodeservers import NodeServers
from vault.dns.serving import Resolver

logger = logging.getLogger(__name__)
LINGER_S: Final = 3.0  # Without a task; a service whose only task is replaced needs no new process.
KEEP_S: Final = 0.1
KEEP_SHARE: Final = 10  # While all changes, a tenth of the time at most goes into writing the file.


class Process:
    """The one vault-dns of a run root."""

    def __init__(self, run_root: Path, resolv_conf: Path) -> None:
        self._run_root = run_root
        self._names = Directory()
        self._forwarder = Forwarder()
        self._node_servers = NodeServers(resolv_conf)
        self._resolvers: dict[str, Resolver] = {}
        self._over = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None
        self._keeping: asyncio.TimerHandle | None = None
        self._keep_pause_s = KEEP_S

    async def run(self) -> None:
        """Serve until it is over."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        self._start_again()
        path = socket_path(self._run_root)
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._hear, path)
        finally:
            os.umask(before)
        logger.info("serving", extra={"tasks": len(self._resolvers)})
        async with server:
            await self._over.wait()
        self._end()

    def apply(self, update: Update) -> Done:
        """Take what is new."""
        if update.change is not None:
            self._names.apply(update.change)
        gone = set(update.remove_tasks)
        if update.only_these:
            gone |= self._resolvers.keys() - {served.task_id for served in update.put_tasks}
        for task_id in gone:
            self._close(task_id)
        refused = {}
        for served in update.put_tasks:
            try:
                self._open(served)
            except OSError as error:
                refused[served.task_id] = error.strerror or str(error)
        self._keep_soon()
        self._end_without_tasks()
        return Done(refused=refused)

    def _start_again(self) -> None:
        """Go on where a process before this one was ended; tasks that have gone meanwhile are left out."""
        had = kept.read(self._run_root)
        self._names.apply(had.change)
        for served in had.tasks:
            try:
                self._open(served)
            except OSError as error:
                logger.warning("task_not_served", extra={"task_id": served.task_id, "reason": error.strerror})
        self._end_without_tasks()

    def _open(self, served: Served) -> None:
        """Serve a task; one that is served is described anew.  Raises `OSError`."""
        resolver = self._resolvers.get(served.task_id)
        if resolver is not None and resolver.is_in(served.namespace):
            resolver.describe(served)
            return
        self._close(served.task_id)
        self._resolvers[served.task_id] = Resolver(served, self._names, self._forwarder, self._node_servers)

    def _close(self, task_id: str) -> None:
        if (resolver := self._resolvers.pop(task_id, None)) is not None:
            resolver.close()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take what one vaultd tells, until it ends."""
        with contextlib.closing(writer):
            try:
                writer.write(framed(Hello(release=RELEASE)))
                while True:
                    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                    if length > MAX_FRAME_BYTES:
                        raise ValueError("frame too long")
                    update = msgspec.msgpack.decode(await reader.readexactly(length), type=Update)
                    writer.write(framed(self.apply(update)))
                    await writer.drain()
            except (asyncio.IncompleteReadError, OSError):
                logger.info("vaultd_gone")
            except asyncio.CancelledError:  # This process ends, and nobody waits for this task.
                logger.info("vaultd_left")
            except (msgspec.MsgspecError, ValueError) as error:
                logger.warning("update_not_understood", extra={"reason": str(error)})
            finally:
                if self._keeping is not None:  # Nobody may be there to tell it again.
                    self._keeping.cancel()
                    self._keep()

    def _end_without_tasks(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if not self._resolvers:
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._over.set)

    def _keep_soon(self) -> None:
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().call_later(self._keep_pause_s, self._keep)

    def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._keeping = None
        try:
            kept.write(self._run_root, self._names.as_change(), tuple(each.served for each in self._resolvers.values()))
        except OSError as error:
            logger.error("state_not_kept", extra={"reason": error.strerror})
        self._keep_pause_s = max(KEEP_S, KEEP_SHARE * (loop.time() - began))

    def _end(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        for task_id in list(self._resolvers):
            self._close(task_id)
        socket_path(self._run_root).unlink(missing_ok=True)
        kept.forget(self._run_root)
        logger.info("ended")
        (self._run_root / LOCK).unlink(missing_ok=True)  # Last: from here on the next one may start.


def run(run_root: Path, resolv_conf: Path) -> None:
    """Serve until it is over."""
    asyncio.run(_run(run_root, resolv_conf))


async def _run(run_root: Path, resolv_conf: Path) -> None:
    await Process(run_root, resolv_conf).run()

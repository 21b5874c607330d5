"""A command that runs in a container: its streams, its terminal, its signals and its exit code.

Lives in the event loop and blocks nowhere.  Made by `executor` from what `execs.begin` began; implements
`vault.agent.executors.port.ExecSession`.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Final

from vault.agent.executors.oci import terminal
from vault.agent.executors.oci.execs import Begun
from vault.agent.executors.oci.runtime import explain
from vault.agent.executors.oci.streams import read_some, until_exit, write_all
from vault.agent.executors.port import Channel
from vault.model.kernel_words import signal_number

NOT_FOUND, NOT_RUNNABLE = 127, 126
_AFTER_EXIT_S: Final = 0.5  # For output of a command whose children keep its streams open.
_RUNTIME_SAYS: Final = (b"executable file `", b"open executable:", b"exec ", b"error executing")
_COMPLAINT_MAX_BYTES: Final = 1 << 16
_SIGNAL_TRIES: Final = 50
_SIGNAL_AGAIN_S: Final = 0.02
_QUEUE: Final = 8  # Chunks of 64 KiB.


class Session:
    """`ExecSession` of one command."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self._closed = False
        self._ended = asyncio.ensure_future(self._wait())
        self._queue: asyncio.Queue[tuple[Channel, bytes]] = asyncio.Queue(_QUEUE)
        self._sources = self._open_sources()
        self._pumps = [asyncio.ensure_future(self._pump(*source)) for source in self._sources]

    def _open_sources(self) -> list[tuple[Channel, int]]:
        begun = self._begun
        pairs = [(Channel.OUT, begun.master), (Channel.OUT, begun.stdout), (Channel.ERR, begun.stderr)]
        return [(channel, fd) for channel, fd in pairs if fd is not None]

    async def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Yield what the command prints, until its streams end or it has ended and says no more."""
        open_streams = len(self._pumps)
        while open_streams:
            item = await self._next()
            if item is None:
                break
            if not item[1]:
                open_streams -= 1
            elif not await self._is_complaint(item[1]):
                yield item
        await self._ended
        if complaint := self._complaint():
            text = f"OCI runtime exec failed: exec failed: unable to start container process: {complaint}\n"
            yield Channel.ERR if self._begun.master is None else Channel.OUT, text.encode()

    async def _is_complaint(self, data: bytes) -> bool:
        """Return whether the runtime printed this, not the command; it is then given in Docker's words."""
        if not data.startswith(_RUNTIME_SAYS):
            return False
        await asyncio.wait({self._ended}, timeout=_AFTER_EXIT_S)  # The runtime notes it a moment after it prints it.
        return bool(self._complaint())

    async def _next(self) -> tuple[Channel, bytes] | None:
        """Return the next chunk; None when the command has ended and its streams stay silent."""
        waiting = asyncio.ensure_future(self._queue.get())
        try:
            await asyncio.wait({waiting, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                await asyncio.wait({waiting}, timeout=_AFTER_EXIT_S)
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()

    async def _pump(self, channel: Channel, fd: int) -> None:
        while data := await read_some(fd):
            await self._queue.put((channel, data))
        await self._queue.put((channel, b""))

    async def write(self, data: bytes) -> None:
        """Send input; dropped after its end, or when the command reads no more."""
        target = self._begun.master if self._begun.master is not None else self._begun.stdin
        if target is not None and data and not await write_all(target, data):
            await self.close_stdin()

    async def close_stdin(self) -> None:
        """End the input; a terminal gets ^D."""
        if self._begun.stdin is not None:
            os.close(self._begun.stdin)
            self._begun.stdin = None
        elif self._begun.master is not None:
            await write_all(self._begun.master, b"\x04")

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal; without one, nothing happens."""
        if self._begun.master is not None:
            terminal.resize(self._begun.master, rows, columns)
            if not self._ended.done():
                # For a runtime that passes the size on itself; others are not moved by it.
                self._begun.process.send_signal(signal.SIGWINCH)

    def signal(self, name: str) -> None:
        """Signal the command; one that has ended is no error.  Raises `BadRequest` for an unknown name."""
        self._send(signal_number(name), _SIGNAL_TRIES)

    def _send(self, number: int, tries: int) -> None:
        """Signal the command; the runtime may print its first output before it notes its pid, so try again."""
        if self._ended.done() or not tries:
            return
        try:
            os.kill(int(self._begun.pid_file.read_text()), number)
        except (FileNotFoundError, ValueError):
            asyncio.get_running_loop().call_later(_SIGNAL_AGAIN_S, self._send, number, tries - 1)
        except ProcessLookupError:
            return

    @property
    def refused(self) -> bool:
        """Whether the runtime could not run the command; known once it has ended."""
        return bool(self._complaint())

    async def wait(self) -> int:
        """Return the exit code."""
        return await asyncio.shield(self._ended)

    def close(self) -> None:
        """Let go of the streams; the command learns it by SIGHUP (terminal) or SIGPIPE, and is waited for."""
        if self._closed:
            return
        self._closed = True
        if self._begun.master is not None:
            self._send(signal.SIGHUP, _SIGNAL_TRIES)
        for pump in self._pumps:
            pump.cancel()
        begun = self._begun
        for fd in (begun.stdin, begun.stdout, begun.stderr, begun.master):
            if fd is not None:
                # After the cancelled pumps have let go of it.
                asyncio.get_running_loop().call_soon(os.close, fd)
        begun.stdin = begun.stdout = begun.stderr = begun.master = None

    async def _wait(self) -> int:
        begun = self._begun
        try:
            await until_exit(begun.pidfd)
        finally:
            os.close(begun.pidfd)
            begun.pid_file.unlink(missing_ok=True)
        code = begun.process.wait()
        if complaint := self._complaint():
            return NOT_FOUND if "not found" in complaint or "no such file" in complaint else NOT_RUNNABLE
        return code if code >= 0 else 128 - code

    def _complaint(self) -> str:
        """Return why the runtime could not run the command; empty when it could."""
        text = os.pread(self._begun.complaint, _COMPLAINT_MAX_BYTES, 0).decode(errors="replace")
        return explain(text, self._begun.program) if text.strip() else ""

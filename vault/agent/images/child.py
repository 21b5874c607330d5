"""Runs one worker process: hands it a request and an archive, passes on its progress, returns what it stored.

Called by `store`.  The worker gets no file descriptors, no environment and no arguments but its module's name.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Final, assert_never

import msgspec

from vault.agent.images.errors import WorkerFailed, rebuild
from vault.agent.images.protocol import Failed, Finished, Message, Progress, Request, Stored

_PASSED_ON: Final = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_LINE_MAX_BYTES: Final = 16 << 20

Tell = Callable[[Progress], None]


async def run_worker(
    request: Request, *, tell: Tell, timeout_s: float, archive: AsyncIterator[bytes] | None = None
) -> list[Stored]:
    """Carry out a request in a process of its own; return the images it stored.

    Raises the worker's `ImageError`, `WorkerFailed` when it ended without a word, `TimeoutError` after timeout_s.
    A cancelled call, and one whose archive breaks off, ends the worker; what it left is collected later.
    """
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    environment |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-m",
        "vault.agent.images.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        cwd="/",
        limit=_LINE_MAX_BYTES,
    )
    try:
        async with asyncio.timeout(timeout_s):
            return await _converse(process, request, archive, tell)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _converse(
    process: asyncio.subprocess.Process, request: Request, archive: AsyncIterator[bytes] | None, tell: Tell
) -> list[Stored]:
    """Feed and listen at once; the worker's last word ends both."""
    assert process.stdin is not None
    assert process.stdout is not None
    listening = asyncio.ensure_future(_listen(process.stdout, tell))
    feeding = asyncio.ensure_future(_feed(process.stdin, request, archive))
    try:
        done, _ = await asyncio.wait((listening, feeding), return_when=asyncio.FIRST_COMPLETED)
        if feeding in done:
            feeding.result()  # The archive's own error, if it broke off.
        last = await listening
    finally:
        for task in (listening, feeding):
            task.cancel()
        await asyncio.gather(listening, feeding, return_exceptions=True)
    match last:
        case Finished():
            return last.images
        case Failed():
            raise rebuild(last.error, last.text)
    assert_never(last)


async def _feed(pipe: asyncio.StreamWriter, request: Request, archive: AsyncIterator[bytes] | None) -> None:
    """Write the request and the archive; a worker that has heard enough closes the pipe, and says why elsewhere."""
    try:
        pipe.write(msgspec.json.encode(request) + b"\n")
        await pipe.drain()
        if archive is not None:
            async for piece in archive:
                pipe.write(piece)
                await pipe.drain()
    except (BrokenPipeError, ConnectionResetError):
        return
    finally:
        pipe.close()


async def _listen(pipe: asyncio.StreamReader, tell: Tell) -> Finished | Failed:
    while line := await pipe.readline():
        message: Message = msgspec.json.decode(line, type=Message)
        if not isinstance(message, Progress):
            return message
        tell(message)
    raise WorkerFailed("the process that handles images ended without an answer: look for its end in the system's log")

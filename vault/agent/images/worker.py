"""The process that pulls, unpacks and hashes images, so that the daemon does not; it holds no keys.

`python -m vault.agent.images.worker`, started by `child`: reads one request from standard input, writes messages to
standard output.  Ends with its parent.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Final, assert_never

import msgspec

from vault.agent.images.archive import load
from vault.agent.images.collect import collect
from vault.agent.images.content import Content
from vault.agent.images.errors import ImageError
from vault.agent.images.importing import import_image
from vault.agent.images.protocol import (
    Collect,
    Failed,
    Finished,
    Import,
    Load,
    Message,
    Progress,
    Pull,
    Request,
    Stored,
)
from vault.agent.images.reference import parse

_REQUEST_MAX_BYTES: Final = 16 << 20
_MEMORY_MAX_BYTES: Final = 2 << 30  # Much more than any image needs, and less than a hostile one would take.
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


def _confine() -> None:
    """End with the parent, gain nothing, write no core, and take no more than a share of the memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_PDEATHSIG, signal.SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, int(value), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MAX_BYTES, most))
    os.umask(0o022)


class _Voice:
    """Standard output, one message a line, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, message: Message) -> None:
        """Write one message."""
        with self._lock:
            sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
            sys.stdout.buffer.flush()

    def tell(self, status: str, about: str) -> None:
        """Report a step forward."""
        self.say(Progress(status=status, id=about.removeprefix("sha256:")[:12]))


def _carry_out(request: Request, voice: _Voice) -> list[Stored]:
    content = Content(root=Path(request.root))
    content.prepare()
    match request:
        case Load():
            stored = load(content, sys.stdin.buffer, voice.tell)  # type: ignore[arg-type]  # It is a BufferedReader.
        case Import():
            archive = sys.stdin.buffer
            stored = [import_image(content, archive, request.changes, request.message)]  # type: ignore[arg-type]
        case Pull():
            stored = [_pull(content, request, voice)]
        case Collect():
            collect(content, request.manifests)
            return []
        case _:
            assert_never(request)
    content.sync()
    return stored


def _pull(content: Content, request: Pull, voice: _Voice) -> Stored:
    # Only this request needs an HTTP client, which takes longer to import than all the rest.
    from vault.agent.images.pulling import pull
    from vault.agent.images.registry import Repository

    reference = parse(request.reference)
    repository = Repository(
        reference,
        username=request.username,
        password=request.password,
        identity_token=request.identity_token,
        registry_token=request.registry_token,
        plain_http=request.plain_http,
    )
    return pull(content, reference, repository, voice.say)


def _failure(error: Exception) -> Failed:
    """Put an error into a sentence; what has none is a fault of ours, or of the machine."""
    if isinstance(error, ImageError):
        return Failed(error=type(error).__name__, text=error.message)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed(error="NoSpace", text="no space left for images: free space under the data root and try again")
    if isinstance(error, MemoryError):
        return Failed(error="BadArchive", text="the image needs more memory to unpack than is sensible")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return Failed(error="WorkerFailed", text=f"the image could not be handled: {reason}")


def main() -> int:
    """Carry out one request; return the exit code."""
    _confine()
    voice = _Voice()
    try:
        line = sys.stdin.buffer.readline(_REQUEST_MAX_BYTES)
        request = msgspec.json.decode(line, type=Request)
        voice.say(Finished(images=_carry_out(request, voice)))
    except Exception as error:
        voice.say(_failure(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Network namespaces, each held by a mount on a file, so that they live without a process.

Not pure.  Used by the packages above.  A thread that enters a namespace never comes back: `in_thread`
gives it work that ends with it.
"""

import asyncio
import ctypes
import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 4096
_MNT_DETACH: Final = 2
_TRIES: Final = 5
_OWN_NAMESPACE: Final = b"/proc/thread-self/ns/net"
_SETTINGS: Final = Path("/proc/sys/net")


async def in_thread(work: Callable[[], T]) -> T:
    """Do blocking work in a thread of its own, which ends with it and so may enter namespaces."""
    with ThreadPoolExecutor(1, "network") as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, work)


async def aside(work: Callable[[], T]) -> T:
    """Do blocking work that enters no namespace in a thread of the event loop's own, which costs half as much.

    Cancelled, it waits for the end of the work, as `in_thread` does.
    """
    job = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait({job})
        raise


def enter_new(path: Path) -> None:
    """Make a namespace, enter it, and hold it by a mount on `path`, which must not exist.  Raises `OSError`."""
    _touch(path)
    leave_for_new()
    _check(_LIBC.mount(_OWN_NAMESPACE, os.fsencode(path), None, ctypes.c_ulong(_MS_BIND), None))


def leave_for_new() -> None:
    """Enter a namespace that nothing holds: it ends with the calling thread.  Raises `OSError`."""
    _check(_LIBC.unshare(_CLONE_NEWNET))


def enter_unseen() -> None:
    """Make a namespace that ends with the calling thread, and enter it.  Raises `OSError`."""
    _check(_LIBC.unshare(_CLONE_NEWNET))


def enter(path: Path) -> None:
    """Enter a namespace that is there.  Raises `OSError`."""
    with path.open("rb") as namespace:
        _check(_LIBC.setns(namespace.fileno(), _CLONE_NEWNET))


def set_here(setting: str, value: str) -> None:
    """Set a switch of the calling thread's namespace, named as under /proc/sys/net.  Raises `OSError`."""
    (_SETTINGS / setting).write_text(value)


def drop_namespace(path: Path) -> None:
    """Let go of a namespace and remove its file; nothing there is no error."""
    while is_namespace(path):
        _check(_LIBC.umount2(os.fsencode(path), _MNT_DETACH))
    path.unlink(missing_ok=True)


def is_namespace(path: Path) -> bool:
    """Return whether a mounted namespace is at the path; a plain file is what a restart of the machine leaves."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except FileNotFoundError:
        return False


def _touch(path: Path) -> None:
    for _ in range(_TRIES):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            path.touch(mode=0o400, exist_ok=False)
        except FileNotFoundError:  # Whoever held the last namespace has removed the empty directory.
            continue
        return
    raise OSError(errno.ENOENT, f"{path.parent} is removed again and again")


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

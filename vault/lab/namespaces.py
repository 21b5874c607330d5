"""Network and host name namespaces that live without a process, each held by a mount on a file of the lab.

Not pure.  A thread makes them and ends there, so none of ours stays inside.
"""

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from vault.tmpfs.mount import MountFlag, mount

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWNET: Final = 0x40000000


def make_network(path: Path) -> None:
    """Make a network namespace and mount it on `path`, a file that this makes."""
    with ThreadPoolExecutor(1, "namespace") as thread:
        thread.submit(_make, {path: "net"}, CLONE_NEWNET, "").result()


def make_host(net: Path, uts: Path, hostname: str) -> None:
    """Make what a machine has for itself: a network namespace and one for its host name."""
    with ThreadPoolExecutor(1, "namespace") as thread:
        thread.submit(_make, {net: "net", uts: "uts"}, CLONE_NEWNET | CLONE_NEWUTS, hostname).result()


def enter(net: Path, uts: Path | None) -> None:
    """Put this process, which must have one thread, into the namespaces of a node, or into a network alone."""
    enter_network(net)
    if uts is not None:
        _enter(uts, CLONE_NEWUTS)


def enter_network(path: Path) -> None:
    """Put the calling thread into a network namespace."""
    _enter(path, CLONE_NEWNET)


def _enter(path: Path, kind: int) -> None:
    with path.open("rb") as file:
        _check(_LIBC.setns(file.fileno(), kind), path)


def identity(path: Path) -> int | None:
    """Return the number of the namespace mounted on `path`; None when there is none."""
    try:
        found, around = path.stat(), path.parent.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino if found.st_dev != around.st_dev else None


def _make(files: dict[Path, str], kinds: int, hostname: str) -> None:
    _check(_LIBC.unshare(kinds), next(iter(files)))
    if hostname:
        socket.sethostname(hostname)
    for path, kind in files.items():
        path.touch(mode=0o400)
        mount(f"/proc/thread-self/ns/{kind}", path, "", MountFlag.BIND)


def _check(result: int, path: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))

"""Wall clocks that are wrong, by libfaketime: vaultd's, and of what it starts; etcd (Go) and tasks keep the machine's.

Not pure: looks for the library and makes what its processes share.  The monotonic clock stays as it is.
"""

import ctypes
import os
from pathlib import Path
from typing import Final

from vault.lab.errors import LabError, ProgramFailed
from vault.lab.plan import Place

MOST_S: Final = 20 * 365 * 86_400
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_SHARED: Final = Path("/dev/shm")  # noqa: S108  # Where the C library keeps what has a name and is shared.
_SHARED_BYTES: Final = 8
_ROOTS: Final = (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"))
_LIBRARIES: Final = ("*/faketime/libfaketimeMT.so.1", "faketime/libfaketimeMT.so.1")


def check(offset_s: int) -> None:
    """Raise `LabError` for an offset that no clock can have, or when the library is missing."""
    if abs(offset_s) > MOST_S:
        raise LabError("a clock can be off by 20 years at most: choose a smaller --offset")
    if offset_s:
        _library()


def environment(node: Place, offset_s: int) -> dict[str, str]:
    """Return what vaultd's environment must have for a clock that is off by so many seconds."""
    forget(node)
    if offset_s == 0:
        return {}
    _share(node)
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME": f"{offset_s:+d}s",
        "FAKETIME_SHARED": f"/{node.shared_clock} /{node.shared_clock}",
        "DONT_FAKE_MONOTONIC": "1",  # Its name up to 0.9.9; the next is the later one.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",  # Files keep the times that the kernel gave them.
    }


def forget(node: Place) -> None:
    """Remove what processes with a wrong clock share; those that have it keep it until they end."""
    for name in (node.shared_clock, f"sem.{node.shared_clock}"):
        (_SHARED / name).unlink(missing_ok=True)


def _share(node: Place) -> None:
    """Make a semaphore and a page for the library: those it makes itself stay behind when a process is killed."""
    create = _LIBC.sem_open
    create.restype = ctypes.c_void_p
    made = create(f"/{node.shared_clock}".encode(), os.O_CREAT | os.O_EXCL, 0o600, 1)
    if made is None:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), node.shared_clock)
    _LIBC.sem_close(ctypes.c_void_p(made))
    (_SHARED / node.shared_clock).write_bytes(bytes(_SHARED_BYTES))


def _library() -> Path:
    found = next((path for root in _ROOTS for pattern in _LIBRARIES for path in root.glob(pattern)), None)
    if found is None:
        raise ProgramFailed("libfaketime", "not installed: install the package faketime")
    return found

"""mount(2) and umount2(2), and the list of what is mounted.

The system calls block for well under a millisecond; `parse_mountinfo` is pure.  Used by `vault.tmpfs.kernel` and by the
`oci` executor.
"""

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_UNMOUNT_DETACH: Final = 2
_UNMOUNT_NOFOLLOW: Final = 8
_CLONE_FS: Final = 0x200
_CLONE_NEWNS: Final = 0x20000


class MountFlag(IntFlag):
    """Flags of mount(2), as in <linux/mount.h>."""

    READ_ONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNC = 16
    REMOUNT = 32
    DIRSYNC = 128
    NOATIME = 1024
    NODIRATIME = 2048
    BIND = 4096
    RECURSIVE = 16384
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    STRICTATIME = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """One line of /proc/self/mountinfo."""

    point: Path
    fstype: str
    options: tuple[str, ...]  # Of the mount and of its super block.


def mount(source: str, target: Path, fstype: str, flags: int = 0, data: str = "") -> None:
    """Mount `source` on `target`.  Raises `OSError` with the kernel's reason and the target."""
    done = _LIBC.mount(
        os.fsencode(source), os.fsencode(target), fstype.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    if done != 0:
        raise _failure(target)


def unmount(target: Path, *, detach: bool = True) -> bool:
    """Unmount what is on top at `target`; False when nothing is mounted there, or nothing is there at all.

    detach: let the mount go at once even if it is in use; the kernel frees it with its last user.
    """
    flags = _UNMOUNT_NOFOLLOW | (_UNMOUNT_DETACH if detach else 0)
    if _LIBC.umount2(os.fsencode(target), flags) == 0:
        return True
    if ctypes.get_errno() in (22, 2):  # EINVAL: not a mount point.  ENOENT.
        return False
    raise _failure(target)


def unmount_all(target: Path) -> None:
    """Unmount everything stacked at `target`."""
    while unmount(target):
        continue


def mounts_under(root: Path) -> list[Mounted]:
    """Return what is mounted at `root` or below, in the order of mounting."""
    return [each for each in current_mounts() if each.point == root or root in each.point.parents]


def current_mounts() -> list[Mounted]:
    """Return what is mounted in this process's mount namespace."""
    return list(parse_mountinfo(Path("/proc/thread-self/mountinfo").read_text(errors="surrogateescape")))


def parse_mountinfo(text: str) -> Iterator[Mounted]:
    """Yield the mounts of a mountinfo file; lines of another form are left out.  Source: proc(5)."""
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        ours, theirs = left.split(" "), right.split(" ")
        if separator and len(ours) >= 6 and len(theirs) >= 3:
            options = (*ours[5].split(","), *theirs[-1].split(","))
            yield Mounted(point=Path(_unescape(ours[4])), fstype=theirs[0], options=options)


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    head, *parts = text.split("\\")
    return head + "".join(
        chr(int(part[:3], 8)) + part[3:] if part[:3].isdecimal() and len(part[:3]) == 3 else "\\" + part
        for part in parts
    )


def enter_private_namespace() -> None:
    """Give the calling thread a mount namespace of its own, where nothing it does reaches the host.

    The thread must be one that `own_directory_state` was called on.
    """
    if _LIBC.unshare(_CLONE_NEWNS) != 0:
        raise _failure(Path("/"))
    mount("none", Path("/"), "", MountFlag.RECURSIVE | MountFlag.PRIVATE)


def own_directory_state() -> None:
    """Part the calling thread's root, working directory and umask from the process's; needed before a namespace."""
    if _LIBC.unshare(_CLONE_FS) != 0:
        raise _failure(Path("/"))


def return_to_namespace(fd: int) -> None:
    """Put the calling thread back into the mount namespace behind `fd`."""
    if _LIBC.setns(fd, _CLONE_NEWNS) != 0:
        raise _failure(Path("/"))


def _failure(target: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(target))

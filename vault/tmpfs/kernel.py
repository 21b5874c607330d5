"""Memory files on this machine: one tmpfs (or ramfs) for each set of files, written once, then read-only.

Touches mounts; blocking.  Called by the `oci` executor from its threads.  Values are revealed only in `_write`.
"""

import errno
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vault.tmpfs.mount import MountFlag, mount, unmount, unmount_all
from vault.tmpfs.port import Backing, MemoryFile, Support, check_files, directories_of

_FLAGS: Final = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC
_DIRECTORY_MODE: Final = 0o755  # Tasks of any user pass through; the files have modes of their own.
_FORKED_S: Final = 5.0  # From fork to exec it takes a millisecond, and longer on a machine that is busy.
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class KernelMemoryFiles:
    """`MemoryFiles` by mount(2).  scratch: an empty or missing directory of our own, for the probe."""

    def __init__(self, scratch: Path, *, allow_swappable: bool = False) -> None:
        self._scratch = scratch
        self._allow_swappable = allow_swappable
        self._support: Support | None = None
        self._probing = threading.Lock()

    def probe(self) -> Support:
        """Try both kinds of mount once, and remember what the kernel said."""
        with self._probing:
            if self._support is None:
                self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._support = Support(
                    noswap_refusal=_try(self._scratch, "tmpfs", "size=4096,noswap"),
                    ramfs_refusal=_try(self._scratch, "ramfs", "mode=0700"),
                )
                self._scratch.rmdir()
            return self._support

    def create(self, at: Path, files: Sequence[MemoryFile], *, label: str = "") -> Backing:
        """Mount at `at`, write the files, make all read-only."""
        check_files(files)
        backing = self.probe().choose(swap_on=_swap_is_on(), allow_swappable=self._allow_swappable)
        fstype, options = _mount_options(backing, files)
        options += f',context="{label}"' if label else ""
        mount(fstype, at, fstype, _FLAGS, options)
        try:
            root = os.open(at, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                for directory in directories_of(files):
                    os.mkdir(str(directory), _DIRECTORY_MODE, dir_fd=root)
                    os.chmod(str(directory), _DIRECTORY_MODE, dir_fd=root)  # Whatever the umask of vaultd is.
                for file in files:
                    _write(root, file)
            finally:
                os.close(root)
            _make_read_only(fstype, at, options)
        except BaseException:  # Whatever it is, half of the files is not left mounted.
            unmount(at)
            raise
        return backing

    def remove(self, at: Path) -> None:
        """Unmount."""
        unmount_all(at)


def _write(root: int, file: MemoryFile) -> None:
    fd = os.open(
        str(file.path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root
    )
    try:
        rest = memoryview(file.data.reveal())
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fchown(fd, file.uid, file.gid)
        os.fchmod(fd, file.mode & 0o7777)
    finally:
        os.close(fd)


def _make_read_only(fstype: str, at: Path, options: str) -> None:
    """Remount read-only; waits for children that other threads forked meanwhile.

    Such a child has a copy of each descriptor until it executes its program, and the kernel makes no file system
    read-only (EBUSY) while anybody could still write to one of its files.
    """
    deadline = time.monotonic() + _FORKED_S
    while True:
        try:
            mount(fstype, at, fstype, _FLAGS | MountFlag.REMOUNT | MountFlag.READ_ONLY, options)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(0.001)


def _mount_options(backing: Backing, files: Sequence[MemoryFile]) -> tuple[str, str]:
    """Return the file system and its options: as many pages and inodes as the files take, and one page to spare."""
    if backing is Backing.RAMFS:
        return "ramfs", "mode=0755"
    pages = sum(-(-len(file.data) // _PAGE_BYTES) for file in files) + 1
    inodes = len(files) + len(directories_of(files)) + 2
    options = f"mode=0755,size={pages * _PAGE_BYTES},nr_inodes={inodes}"
    return "tmpfs", options + (",noswap" if backing is Backing.NOSWAP else "")


def _try(at: Path, fstype: str, options: str) -> str:
    """Return why the kernel refuses such a mount; empty when it does not."""
    try:
        mount(fstype, at, fstype, _FLAGS, options)
    except OSError as refusal:
        # Lack of rights says nothing about the kernel, but is as good a reason for the text.
        return f"mount: {os.strerror(refusal.errno or errno.EIO)}"
    unmount(at)
    return ""


def _swap_is_on() -> bool:
    """Return whether any swap device or file is in use."""
    try:
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    except FileNotFoundError:  # A kernel built without swap.
        return False

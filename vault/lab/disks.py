"""A small file system for each node, in a file: what is full is full for that node alone.  Not pure; blocking."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from vault.lab.plan import Place
from vault.lab.programs import run
from vault.tmpfs.mount import unmount_all

_LOOP_CLR_FD: Final = 0x4C01  # Source: <linux/loop.h>.
_NO_RESERVE: Final = ("-m", "0")  # vaultd is root, for whom ext4 would keep a reserve.


def make(node: Place, size_bytes: int) -> None:
    """Make a file system and mount it as the node's data root.  The kernel frees the loop device with the mount."""
    with node.disk.open("xb") as image:
        image.truncate(size_bytes)
    run("mkfs.ext4", "-q", *_NO_RESERVE, node.disk)
    run("mount", "-t", "ext4", "-o", "loop", node.disk, node.data_root)
    (node.data_root / "lost+found").rmdir()


def remove(node: Place) -> None:
    """Unmount the file system and let go of its loop device; nothing there is no error."""
    unmount_all(node.data_root)
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(FileNotFoundError):  # It has gone, or was never finished.
            if backing.read_text().rstrip("\n") == str(node.disk):
                _free(Path("/dev") / backing.parts[3])
    node.disk.unlink(missing_ok=True)


def _free(device: Path) -> None:
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _LOOP_CLR_FD)
    except OSError as error:
        if error.errno != errno.ENXIO:  # It was free already.
            raise
    finally:
        os.close(fd)

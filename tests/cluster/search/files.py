"""Places made of files: everything under a directory, mounts of a process, and files that are open but have no name."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.search.needles import Hit, Needles

PIECE_BYTES = 4 << 20
IN_MEMORY = ("tmpfs", "ramfs")


def pieces(path: Path) -> Iterator[bytes]:
    """Return the content of a file; nothing if it is gone or no file of bytes."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        about = os.fstat(file)
        if stat.S_ISREG(about.st_mode):
            yield from _written(file, about.st_size)
    except OSError:
        return
    finally:
        os.close(file)


def _written(file: int, size: int) -> Iterator[bytes]:
    """Return what was ever written of a file, with one zero for each hole."""
    at = 0
    while True:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
            end = os.lseek(file, at, os.SEEK_HOLE)
        except OSError:
            if size:
                return  # Nothing but a hole is left.
            end = 0  # A file of the kernel's, which has no size and no holes: to its end.
        os.lseek(file, at, os.SEEK_SET)
        while (end == 0 or at < end) and (piece := os.read(file, min(PIECE_BYTES, end - at) if end else PIECE_BYTES)):
            at += len(piece)
            yield piece
        if end == 0 or at < end:
            return
        yield b"\0"


def under(root: Path, needles: Needles, *, shown: str = "", one_device: bool = False) -> list[Hit]:
    """Search names, link targets and contents of everything under a directory.

    shown: what to call the root in a hit.  one_device: leave out what is mounted below it.
    """
    found: list[Hit] = []
    try:
        device = root.stat().st_dev
    except OSError:
        return found
    for directory, folders, names in os.walk(root):
        if one_device:
            folders[:] = [name for name in folders if _device(f"{directory}/{name}") == device]
        place = shown + directory.removeprefix(str(root)) if shown else directory
        listed = b"\n".join(os.fsencode(name) for name in (*folders, *names))
        found += needles.within(f"names in {place}", [listed])
        for name in names:
            path = Path(directory) / name
            found += needles.within(f"{place}/{name}", _target(path) if path.is_symlink() else pieces(path))
    return found


def _device(path: str) -> int:
    try:
        return os.lstat(path).st_dev
    except OSError:
        return -1


def _target(path: Path) -> list[bytes]:
    try:
        return [os.fsencode(path.readlink())]
    except OSError:
        return []


def mounts(pid: int, needles: Needles) -> list[Hit]:
    """Search every file system in memory that a process sees, through its own root."""
    found: list[Hit] = []
    root = Path(f"/proc/{pid}/root")
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return found
    seen: set[str] = set()
    for line in lines:
        fields = line.split()
        kind, device, point = fields[fields.index("-") + 1], fields[2], fields[4].encode().decode("unicode_escape")
        if kind in IN_MEMORY and device not in seen:
            seen.add(device)
            found += under(root / point.lstrip("/"), needles, shown=f"/proc/{pid}/root{point}", one_device=True)
    return found


def held_open(pid: int, needles: Needles) -> list[Hit]:
    """Search files that a process holds open, memfds and deleted ones too."""
    found: list[Hit] = []
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return found
    for descriptor in descriptors:
        try:
            target = os.readlink(descriptor)
            if not stat.S_ISREG(descriptor.stat().st_mode):
                continue
        except OSError:
            continue
        found += needles.within(f"/proc/{pid}/fd -> {target}", _opened(descriptor))
    return found


def _opened(descriptor: Path) -> Iterator[bytes]:
    # Opened anew through /proc, so that the position of its owner is not moved.
    try:
        with descriptor.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except OSError:
        return

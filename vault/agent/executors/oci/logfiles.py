"""The log files of a container on disk: their order, rotation, and compression of those that are written no more.

Blocking; from threads only.  Called by `logkeeping`, and by `logtail`, which reads them.  The newest file has the log's
name; older ones have .1, .2 behind it, and .gz once they are compressed.
"""

import gzip
import os
import re
import shutil
import zlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

from vault.agent.executors.oci.conmon import reopen_log
from vault.agent.executors.oci.paths import TaskPaths

MARK_BYTES: Final = 64
_NUMBERED: Final = re.compile(r"\.([0-9]{1,6})(\.gz)?")
_LEVEL: Final = 3  # A third of the time of the usual 6, for files a twentieth larger.
_CHUNK_BYTES: Final = 1 << 20
# What a compressed file that was damaged makes `read` raise.
DAMAGE: Final = (gzip.BadGzipFile, zlib.error, EOFError)


def all_files(log: Path) -> list[Path]:
    """Return the files there are, oldest first."""
    return [*older_files(log)[::-1], log]


def older_files(log: Path) -> list[Path]:
    """Return the rotated files, newest first; one that is being compressed just now counts once."""
    found: dict[int, Path] = {}
    for path in log.parent.glob(log.name + ".*"):
        if match := _NUMBERED.fullmatch(path.name.removeprefix(log.name)):
            number = int(match[1])
            if number not in found or not match[2]:
                found[number] = path
    return [found[number] for number in sorted(found)]


def open_log(path: Path) -> BinaryIO:
    """Open one of the files for reading, whether it is compressed or not."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def mark_of(path: Path) -> bytes:
    """Return the first bytes of a file, which begin with a time in nanoseconds: they tell it from all others.

    They stay the same when it is renamed or compressed.  Empty for one that is empty or not there.
    """
    with suppress(OSError, *DAMAGE), open_log(path) as file:
        return file.read(MARK_BYTES)
    return b""


def rotate(paths: TaskPaths, *, max_bytes: int, files: int, compress: bool = False) -> bool:
    """Move a log that has grown too big aside and have conmon begin a new one; at most `files` are kept.

    compress: those that were moved aside at an earlier call; conmon has long let go of them.
    """
    if compress:
        for path in older_files(paths.log):
            if path.suffix != ".gz":
                _compress(path)
    try:
        if paths.log.stat().st_size < max_bytes:
            return False
    except FileNotFoundError:
        return False
    for path in reversed(older_files(paths.log)):
        match = _NUMBERED.fullmatch(path.name.removeprefix(paths.log.name))
        assert match is not None
        number, suffix = int(match[1]), match[2] or ""
        if number >= files - 1:
            path.unlink(missing_ok=True)
        else:
            path.rename(paths.log.with_name(f"{paths.log.name}.{number + 1}{suffix}"))
    paths.log.rename(paths.log.with_name(f"{paths.log.name}.1"))
    reopen_log(paths)
    if files <= 1:
        paths.log.with_name(f"{paths.log.name}.1").unlink(missing_ok=True)
    return True


def _compress(path: Path) -> None:
    """Put a compressed file in the place of a plain one; a reader sees one of them at any time."""
    fresh = path.with_name(path.name + ".new")
    with path.open("rb") as source:
        before = os.fstat(source.fileno()).st_size
        with gzip.open(fresh, "wb", compresslevel=_LEVEL) as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
        if os.fstat(source.fileno()).st_size != before:  # Somebody writes to it all the same: next time.
            fresh.unlink()
            return
    fresh.chmod(path.stat().st_mode & 0o777)
    fresh.rename(path.with_name(path.name + ".gz"))
    path.unlink()

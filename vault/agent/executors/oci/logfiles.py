"""The log files of a container: read from the oldest to the newest, followed, rotated and bounded.

`Tailer` and `rotate` block and run in threads.  Called by `executor`.
"""

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from vault.agent.executors.oci.conmon import reopen_log
from vault.agent.executors.oci.paths import TaskPaths
from vault.agent.logs import Assembler, LogLine, LogQuery, parse_line

_CHUNK_BYTES: Final = 1 << 18
# The head of a piece that ends a line; never part of what a container prints, for that has no newline in the file.
_LINE_END: Final = re.compile(rb"\n\S{20,40} (stdout|stderr) F ")


class Tailer:
    """Reads a container's log from its oldest file on, through rotations.  One thread at a time."""

    def __init__(self, log: Path, query: LogQuery) -> None:
        self._log = log
        self._query = query
        self._assembler = Assembler()
        self._rest = b""
        self._file: BinaryIO | None = None

    def last(self, count: int) -> list[LogLine]:
        """Return the last `count` wanted lines there are now; reads not much more than those.

        A line that the container has not ended is counted too, and comes with `flush`.
        """
        self._skip_to_last(count)
        kept: deque[LogLine] = deque(maxlen=count)
        while (lines := self.read()) is not None:
            kept.extend(lines)
        begun = sum(self._query.wants(line) for line in self._assembler.held())
        return list(kept)[max(0, len(kept) + begun - count) :]

    def _skip_to_last(self, count: int) -> None:
        """Open the file in which the last `count` lines begin, at a line's start before them."""
        for path in reversed(self._files()):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            self.close()
            self._file = file
            at = file.seek(0, os.SEEK_END)
            while at > 0 and count >= 0:
                end, at = at, max(0, at - _CHUNK_BYTES)
                file.seek(at)
                count -= self._count_ends(file.read(end - at))
            file.seek(at)
            if at > 0:
                file.readline()  # The rest of a line that began before.
            if count < 0:
                return

    def _count_ends(self, block: bytes) -> int:
        """Return how many wanted lines end in a part of a file, or fewer; nothing is known of those before a time."""
        if self._query.until_ns is not None:
            return 0
        wanted = {b"stdout": self._query.stdout, b"stderr": self._query.stderr}
        return sum(wanted[stream] for stream in _LINE_END.findall(block))

    def read(self) -> list[LogLine] | None:
        """Return the wanted lines of the next piece; None when there is nothing new."""
        if self._file is None and not self._open_next():
            return None
        assert self._file is not None
        chunk = self._file.read(_CHUNK_BYTES)
        if not chunk:
            return [] if self._open_next() else None
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        return [line for line in self._lines(whole) if self._query.wants(line)]

    def flush(self) -> list[LogLine]:
        """Return the last lines that the container did not end."""
        return [line for line in self._assembler.flush() if self._query.wants(line)]

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _lines(self, raw: Iterable[bytes]) -> Iterator[LogLine]:
        for text in raw:
            fragment = parse_line(text)
            if fragment is not None and (line := self._assembler.feed(fragment)) is not None:
                yield line

    def _files(self) -> list[Path]:
        """Return the files there are, oldest first."""
        return [*older_files(self._log)[::-1], self._log]

    def _open_next(self) -> bool:
        """Open the file after the one that was read, or the oldest; False when there is none."""
        files = self._files()
        ours = _identity(self._file.fileno()) if self._file is not None else None
        identities = [_identity(path) for path in files]
        # When ours has been deleted meanwhile, all that are left are newer.
        following = files[identities.index(ours) + 1 :] if ours in identities and ours is not None else files
        for path in following:
            try:
                fresh = path.open("rb")
            except FileNotFoundError:
                continue
            self.close()
            self._file, self._rest = fresh, b""
            return True
        return False


def _identity(file: Path | int) -> tuple[int, int] | None:
    """Return what stays the same when a file is renamed; None when it is not there."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def older_files(log: Path) -> list[Path]:
    """Return the rotated files, newest first."""
    numbered = [
        (int(path.suffix[1:]), path) for path in log.parent.glob(log.name + ".*") if path.suffix[1:].isdecimal()
    ]
    return [path for _, path in sorted(numbered)]


def rotate(paths: TaskPaths, *, max_bytes: int, files: int) -> bool:
    """Move a log that has grown too big aside and have conmon begin a new one; at most `files` are kept."""
    try:
        if paths.log.stat().st_size < max_bytes:
            return False
    except FileNotFoundError:
        return False
    for number, path in sorted(((int(path.suffix[1:]), path) for path in older_files(paths.log)), reverse=True):
        if number >= files - 1:
            path.unlink(missing_ok=True)
        else:
            path.rename(paths.log.with_name(f"{paths.log.name}.{number + 1}"))
    paths.log.rename(paths.log.with_name(f"{paths.log.name}.1"))
    reopen_log(paths)
    if files <= 1:
        paths.log.with_name(f"{paths.log.name}.1").unlink(missing_ok=True)
    return True

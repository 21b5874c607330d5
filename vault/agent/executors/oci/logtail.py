"""Reading a container's log: from its oldest file, its last lines or a place known from before, and through rotations.

Blocking; from threads only.  Called by `logkeeping` (readers of logs) and `shipping` (lines that go elsewhere).
"""

import io
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from vault.agent.executors.oci.logfiles import DAMAGE, MARK_BYTES, all_files, mark_of, open_log
from vault.agent.logs import Assembler, LogLine, LogQuery, parse_line

_CHUNK_BYTES: Final = 1 << 18
_TRIES: Final = 5  # To open a file that is renamed or compressed at the same moment.
# The head of a piece that ends a line; never part of what a container prints, for that has no newline in the file.
_LINE_END: Final = re.compile(rb"\n\S{20,40} (stdout|stderr) F ")


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a container's log."""

    mark: bytes  # Of the file, as `logfiles.mark_of` says it.
    offset: int  # In its bytes, before it was compressed.


class Tailer:
    """Reads a container's log from its oldest file on, through rotations.  One thread at a time."""

    def __init__(self, log: Path, query: LogQuery, start: Position | None = None) -> None:
        """start: begin there; if that file is gone meanwhile, with the oldest there is."""
        self._log = log
        self._query = query
        self._assembler = Assembler()
        self._rest = b""
        self._file: BinaryIO | None = None
        self._mark = b""  # Of the open file, once it is known.
        self._safe: Position | None = start
        if start is not None:
            self._begin_at(start)

    @property
    def position(self) -> Position | None:
        """Where a reader that takes over has to begin, so that it misses nothing; None before the first line.

        A line that began before it and has not ended comes again, and what was printed meanwhile on the other stream.
        """
        return self._safe

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

    def read(self) -> list[LogLine] | None:
        """Return the wanted lines of the next piece; None when there is nothing new."""
        if self._file is None and not self._open_next():
            return None
        chunk = self._chunk()
        if not chunk:
            if not self._newer_files():
                return None
            chunk = self._chunk()  # What was written between that look and the one at newer files.
            if not chunk:
                return [] if self._open_next() else None
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        lines = [line for line in self._lines(whole) if self._query.wants(line)]
        self._note()
        return lines

    def flush(self) -> list[LogLine]:
        """Return the last lines that the container did not end."""
        return [line for line in self._assembler.flush() if self._query.wants(line)]

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _chunk(self) -> bytes:
        assert self._file is not None
        try:
            return self._file.read(_CHUNK_BYTES)
        except DAMAGE:
            return b""  # The rest of it is lost.

    def _lines(self, raw: Iterable[bytes]) -> Iterator[LogLine]:
        for text in raw:
            fragment = parse_line(text)
            if fragment is not None and (line := self._assembler.feed(fragment)) is not None:
                yield line

    def _note(self) -> None:
        """Note where this reader is, unless a line is begun and not ended."""
        if self._file is None or self._assembler.held():
            return
        self._safe = Position(mark=self._own_mark(), offset=self._file.tell() - len(self._rest))

    def _own_mark(self) -> bytes:
        """Return the mark of the open file; one that was empty has it as soon as there is something in it."""
        if len(self._mark) < MARK_BYTES and isinstance(self._file, io.BufferedReader):
            self._mark = os.pread(self._file.fileno(), MARK_BYTES, 0)
        return self._mark

    def _newer_files(self) -> list[Path]:
        """Return the files after the one that was read, or all when there is none; oldest first.

        Those of no use, damaged or gone, are left out.
        """
        if self._is_newest():
            return []
        ours = self._own_mark()
        if self._file is not None and not ours:  # An empty file is the newest there is.
            return []
        files = [(path, mark_of(path)) for path in all_files(self._log)]
        place = next((n for n, (_, mark) in enumerate(files) if _same(mark, ours)), None)
        # When ours has been deleted meanwhile, all that are left are newer.
        newer = files if place is None else files[place + 1 :]
        return [path for path, mark in newer if mark or (path == self._log and path.exists())]

    def _is_newest(self) -> bool:
        """Whether the open file is the one that is written to: the usual case, and quick to see."""
        if not isinstance(self._file, io.BufferedReader):
            return False
        ours = os.fstat(self._file.fileno())
        try:
            newest = self._log.stat()
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (newest.st_dev, newest.st_ino)

    def _open_next(self) -> bool:
        """Open the file after the one that was read, or the oldest; False when there is none."""
        for _ in range(_TRIES):
            following = self._newer_files()
            if not following:
                return False
            try:
                fresh = open_log(following[0])
            except FileNotFoundError:
                continue
            self._use(fresh)
            return True
        return False

    def _use(self, file: BinaryIO) -> None:
        self.close()
        self._file, self._mark, self._rest = file, self._head(file), b""

    @staticmethod
    def _head(file: BinaryIO) -> bytes:
        try:
            mark = file.read(MARK_BYTES)
        except DAMAGE:
            mark = b""
        file.seek(0)
        return mark

    def _begin_at(self, start: Position) -> None:
        for path in all_files(self._log):
            if start.mark and _same(mark_of(path), start.mark):
                try:
                    self._use(open_log(path))
                except FileNotFoundError:
                    return
                assert self._file is not None
                self._file.seek(start.offset)
                return

    def _skip_to_last(self, count: int) -> None:
        """Open the file in which the last `count` lines begin, at a line's start before them."""
        for path in reversed(all_files(self._log)):
            if path.suffix == ".gz" and not mark_of(path):
                continue
            try:
                self._use(open_log(path))
            except FileNotFoundError:
                continue
            count -= self._rewind_compressed(count) if path.suffix == ".gz" else self._rewind(count)
            if count < 0:
                return

    def _rewind(self, count: int) -> int:
        """Go back from the end of the open file by as many lines, or to its start; return how many there were."""
        assert self._file is not None
        passed, at = 0, self._file.seek(0, os.SEEK_END)
        while at > 0 and passed <= count:
            end, at = at, max(0, at - _CHUNK_BYTES)
            self._file.seek(at)
            passed += self._count_ends(self._file.read(end - at))
        self._begin_line(at)
        return passed

    def _rewind_compressed(self, count: int) -> int:
        """The same for a file that can only be read forwards."""
        assert self._file is not None
        ends: list[int] = []
        while chunk := self._chunk():
            ends.append(self._count_ends(chunk))
        passed, first = 0, len(ends)
        while first > 0 and passed <= count:
            first -= 1
            passed += ends[first]
        self._begin_line(first * _CHUNK_BYTES)
        return passed

    def _begin_line(self, at: int) -> None:
        assert self._file is not None
        self._file.seek(at)
        if at > 0:
            self._file.readline()  # The rest of a line that began before.

    def _count_ends(self, block: bytes) -> int:
        """Return how many wanted lines end in a part of a file, or fewer; nothing is known of those before a time."""
        if self._query.until_ns is not None:
            return 0
        wanted = {b"stdout": self._query.stdout, b"stderr": self._query.stderr}
        return sum(wanted[stream] for stream in _LINE_END.findall(block))


def _same(mark: bytes, ours: bytes) -> bool:
    """Whether two marks are of one file; a file that was short when it was looked at has grown since."""
    return bool(mark) and bool(ours) and (mark.startswith(ours) or ours.startswith(mark))

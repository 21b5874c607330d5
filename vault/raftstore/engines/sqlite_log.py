"""SQLite's write-ahead log as a crash left it: is it whole up to its end?

SQLite takes the log up to the first frame that does not fit, and forgets the rest without a word.  After a crash that
is right for the last transaction, which was never acknowledged; damage before it would silently undo commits that
were.  So: behind the first bad frame there may be the end of one transaction, not of two.
Blocking; reads the file and changes nothing.  Called by `vault.raftstore.engines.sqlite_file` before SQLite opens it.
Source: https://www.sqlite.org/fileformat2.html, section 4, "The Write-Ahead Log".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

from vault.model.errors import StoreDamaged

_HEADER: Final = Struct(">8I")  # Magic, format, page size, sequence, salts (2), checksum (2).
_FRAME: Final = Struct(">6I")  # Page, database size after a commit or 0, salts (2), checksum (2).
_MAGIC: Final = 0x377F0682  # Its last bit: the checksum's words are big endian.
_FORMAT: Final = 3007000
_MASK: Final = 0xFFFFFFFF

Sum = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Frame:
    """One page in the log."""

    ends_commit: bool
    salts: tuple[int, int]
    checksum: Sum
    summed: bytes  # What the checksum is over.


def check_log(path: Path) -> None:
    """Raise `StoreDamaged` if the log at `path` lost commits before its last one.  No log is a good one."""
    log = path.read_bytes() if path.exists() else b""
    if not any(log[: _HEADER.size]):
        return  # Never used since it was written out with zeros.
    magic, form, page_bytes, _, *rest = _HEADER.unpack(log[: _HEADER.size].ljust(_HEADER.size, b"\0"))
    salts, checksum = (rest[0], rest[1]), (rest[2], rest[3])
    words = Struct(">2I" if magic & 1 else "<2I")
    running = _summed(words, (0, 0), log[: _HEADER.size - 8])
    if magic | 1 != _MAGIC | 1 or form != _FORMAT or page_bytes not in range(512, 65537) or running != checksum:
        raise _damaged(path, 0)
    whole, commits_behind = True, 0
    for number, frame in enumerate(_frames(log, page_bytes), start=1):
        if whole:
            running = _summed(words, running, frame.summed) if frame.salts == salts else running
            whole = frame.salts == salts and running == frame.checksum
            bad = number
        if not whole:
            commits_behind += frame.ends_commit and frame.salts == salts
            if commits_behind > 1:
                raise _damaged(path, bad)


def _frames(log: bytes, page_bytes: int) -> Iterator[_Frame]:
    """Yield the frames that are there in full."""
    size = _FRAME.size + page_bytes
    for start in range(_HEADER.size, len(log) - size + 1, size):
        _, commit, salt_1, salt_2, sum_1, sum_2 = _FRAME.unpack_from(log, start)
        page = log[start + _FRAME.size : start + size]
        yield _Frame(commit != 0, (salt_1, salt_2), (sum_1, sum_2), log[start : start + 8] + page)


def _summed(words: Struct, start: Sum, data: bytes) -> Sum:
    """Return SQLite's checksum of `data`, a multiple of 8 bytes, going on from `start`."""
    one, two = start
    for even, odd in words.iter_unpack(data):
        one = (one + even + two) & _MASK
        two = (two + odd + one) & _MASK
    return one, two


def _damaged(path: Path, frame: int) -> StoreDamaged:
    return StoreDamaged(f"{path} is damaged (at frame {frame}, before its end): restore it from a backup")

"""The memory of a process, as root sees it through /proc/PID/mem: every page that is there, and no other.

Pages are found by the page map, so that memory only reserved costs nothing and is not touched.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.search.needles import Hit, Needles

PAGE = os.sysconf("SC_PAGE_SIZE")
PIECE_PAGES = 1024
PRESENT, SWAPPED = 1 << 63, 1 << 62
NOT_MEMORY = ("[vvar]", "[vsyscall]", "[vvar_vclock]", "[vdso]")


def within(pid: int, needles: Needles) -> list[Hit]:
    """Search the memory of a process; nothing if it has ended.  Raises `PermissionError` without the right to look."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):
        return []
    try:
        page_map = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):
        os.close(memory)
        return []
    found = []
    try:
        for line in lines:
            fields = line.split(maxsplit=5)
            name = fields[5] if len(fields) > 5 else "anonymous memory"
            if name not in NOT_MEMORY:
                first, last = (int(part, 16) for part in fields[0].split("-"))
                found += needles.within(f"memory of {_called(pid)}: {name}", _region(memory, page_map, first, last))
    finally:
        os.close(memory)
        os.close(page_map)
    return found


def _called(pid: int) -> str:
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} ({pid})"
    except OSError:
        return str(pid)


def _region(memory: int, page_map: int, first: int, last: int) -> Iterator[bytes]:
    """Return the pages of one mapping in order; a gap is one zero byte, so that nothing seems to go across it."""
    begin: int | None = None
    for start in range(first, last, PIECE_PAGES * PAGE):
        pages = min(PIECE_PAGES, (last - start) // PAGE)
        entries = os.pread(page_map, pages * 8, start // PAGE * 8)
        there = [entry & (PRESENT | SWAPPED) for (entry,) in struct.iter_unpack("=Q", entries[: len(entries) // 8 * 8])]
        for number in range(pages):
            address = start + number * PAGE
            if number < len(there) and there[number]:
                begin = address if begin is None else begin
            elif begin is not None:
                yield from _read(memory, begin, address)
                yield b"\0"
                begin = None
        if begin is not None:
            yield from _read(memory, begin, start + pages * PAGE)
            begin = None


def _read(memory: int, begin: int, end: int) -> Iterator[bytes]:
    while begin < end:
        try:
            piece = os.pread(memory, min(end - begin, PIECE_PAGES * PAGE), begin)
        except OSError:
            piece = b""
        if piece:
            yield piece
            begin += len(piece)
        else:  # The page went away, or cannot be read: on to the next.
            yield b"\0"
            begin += PAGE

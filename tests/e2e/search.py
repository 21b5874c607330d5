"""Looks for bytes wherever a secret could be left: files, mounts, and what processes show of themselves."""

import os
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1 << 22
PROCESS_FILES = ("cmdline", "environ", "comm")


def found_in(needle: bytes, *roots: Path) -> list[str]:
    """Return where `needle` is: in files and names under `roots`, in arguments and environment of processes."""
    return [*_files(needle, roots), *_processes(needle)]


def _files(needle: bytes, roots: tuple[Path, ...]) -> Iterator[str]:
    for root in roots:
        for directory, folders, names in os.walk(root):
            for name in (*folders, *names):
                if needle in os.fsencode(name):
                    yield f"name of {directory}/{name}"
            for name in names:
                path = Path(directory) / name
                if path.is_file() and not path.is_symlink() and holds(path, needle):
                    yield str(path)


def holds(path: Path, needle: bytes) -> bool:
    """Return whether a file holds `needle`."""
    tail = b""
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                # The end of one piece and the start of the next may share the needle.
                if needle in tail + piece:
                    return True
                tail = piece[-len(needle) :]
    except OSError:
        return False  # It is gone, or not a file of bytes.
    return False


def _processes(needle: bytes) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        for name in PROCESS_FILES:
            try:
                if needle in (entry / name).read_bytes():
                    yield f"/proc/{entry.name}/{name}"
            except OSError:
                continue  # It ended meanwhile.

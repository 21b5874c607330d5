"""The file `engine`: which engine is in charge, and in which directory.  Its rename is the commit point of every move.

One line: `1 <engine> <directory>`.  Directories that it does not name are left-overs of a move that did not finish,
and are deleted at start.  Blocking.  Called by `vault.raftstore`, and by `vault.daemon` for its own directories.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.model.errors import StoreDamaged

FILE_NAME: Final = "engine"
ENGINES: Final = ("sqlite", "etcd")
_LINE: Final = re.compile(rf"1 ({'|'.join(ENGINES)}) (\1-[0-9a-z]{{1,25}})\n")
_OURS: Final = re.compile(r"(sqlite|etcd)-[0-9a-z]{1,25}")


@dataclass(frozen=True, slots=True)
class EngineFile:
    """What the file says."""

    engine: str
    directory: str  # Beside the file.


def read(directory: Path) -> EngineFile | None:
    """Return what the file says; None = there is no store.  Raises `StoreDamaged`."""
    try:
        text = (directory / FILE_NAME).read_bytes()[:256]
    except FileNotFoundError:
        return None
    match = _LINE.fullmatch(text.decode("ascii", "replace"))
    if match is None:
        raise StoreDamaged(f"{directory / FILE_NAME} is damaged or of another version: restore it from a backup")
    return EngineFile(match[1], match[2])


def write(directory: Path, content: EngineFile) -> None:
    """Put an engine in charge, durably and at one instant."""
    temporary = directory / f".{FILE_NAME}"
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(f"1 {content.engine} {content.directory}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(directory / FILE_NAME)
    sync_directory(directory)


def remove(directory: Path) -> None:
    """Take the engine out of charge, from where on there is no store, and delete its directory."""
    if directory.is_dir():
        (directory / FILE_NAME).unlink(missing_ok=True)
        sync_directory(directory)
        sweep(directory, keep="")


def sweep(directory: Path, keep: str) -> None:
    """Delete the engines' directories that are not in charge."""
    for path in directory.iterdir():
        if path.name != keep and _OURS.fullmatch(path.name):
            shutil.rmtree(path)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory, and their renames and removals, durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

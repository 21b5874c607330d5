"""Files that exist in memory only: what a caller may ask for, and why it may be refused.

Value types, rules (pure) and the `MemoryFiles` Protocol.  `kernel` implements it with real mounts; `fake` for machines
and kernels without them.  Called by the executors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError

MAX_TOTAL_BYTES: Final = 64 << 20  # Of one task: ramfs has no bound of its own, so this is checked for every kind.
MAX_FILES: Final = 4096


class Backing(Enum):
    """What holds the files; each is better than the next."""

    NOSWAP = "tmpfs with noswap"
    RAMFS = "ramfs"
    SWAPPABLE = "tmpfs that may be swapped out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What this kernel offers.  A reason is the kernel's own text, empty when the mount works."""

    noswap_refusal: str = ""
    ramfs_refusal: str = ""

    def choose(self, *, swap_on: bool, allow_swappable: bool) -> Backing:
        """Return the best backing.  Raises `NoMemoryOnlyMount` when values could reach a swap device."""
        if not self.noswap_refusal:
            return Backing.NOSWAP
        if not self.ramfs_refusal:
            return Backing.RAMFS
        if allow_swappable or not swap_on:
            return Backing.SWAPPABLE
        raise NoMemoryOnlyMount(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFile:
    """One file: where below the mount, what is in it, and who may read it."""

    path: PurePosixPath
    data: Plaintext
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


class NoMemoryOnlyMount(VaultError):
    """This kernel has neither noswap tmpfs nor ramfs, and swap is on."""

    def __init__(self, support: Support) -> None:
        super().__init__(
            "secrets cannot be kept off the swap device of this node "
            f"(tmpfs noswap: {support.noswap_refusal}; ramfs: {support.ramfs_refusal}): "
            "run Linux 6.4 or newer, turn swap off, or set allow-swappable-mounts in vaultd's configuration"
        )
        self.support = support


class TooMuchForMemory(VaultError):
    """The files of one task are more than a node keeps in memory for it."""

    def __init__(self, what: str, *, count: int, limit: int) -> None:
        super().__init__(f"the secrets and configs of the task are {count} {what}, and {limit} is the limit: use fewer")


class UnsafePath(VaultError):
    """A file's path would leave its directory, or clashes with another file's."""

    def __init__(self, path: PurePosixPath, why: str) -> None:
        super().__init__(f"the target {str(path)!r} {why}: choose another target")


class MemoryFiles(Protocol):
    """Makes directories that exist in memory only.  Every method blocks for a few milliseconds at most."""

    def probe(self) -> Support:
        """Return what this kernel offers; asked once, then remembered."""
        ...

    def create(self, at: Path, files: Sequence[MemoryFile], *, label: str = "") -> Backing:
        """Mount a read-only directory with these files at `at`, which must exist; nothing is left after an error.

        label: the SELinux label of all files; "" on a kernel without SELinux.
        Raises `NoMemoryOnlyMount`, `TooMuchForMemory`, `UnsafePath`, `OSError`.
        """
        ...

    def remove(self, at: Path) -> None:
        """Unmount; the memory is free at once.  Nothing mounted there is no error."""
        ...


def check_files(files: Sequence[MemoryFile]) -> None:
    """Raise `TooMuchForMemory` or `UnsafePath` unless these files can live in one mount."""
    if len(files) > MAX_FILES:
        raise TooMuchForMemory("files", count=len(files), limit=MAX_FILES)
    total_bytes = sum(len(file.data) for file in files)
    if total_bytes > MAX_TOTAL_BYTES:
        raise TooMuchForMemory("bytes", count=total_bytes, limit=MAX_TOTAL_BYTES)
    seen: set[PurePosixPath] = set()
    for file in files:
        if file.path.is_absolute() or not file.path.parts or ".." in file.path.parts or "\0" in str(file.path):
            raise UnsafePath(file.path, "does not stay in its directory")
        if file.path in seen:
            raise UnsafePath(file.path, "is asked for twice")
        seen.add(file.path)
    for file in files:
        if not seen.isdisjoint(file.path.parents):
            raise UnsafePath(file.path, "lies below another target, which is a file")


def directories_of(files: Sequence[MemoryFile]) -> list[PurePosixPath]:
    """Return the directories that must be made for the files, parents first."""
    wanted = {parent for file in files for parent in file.path.parents if parent.parts}
    return sorted(wanted, key=lambda path: (len(path.parts), path))

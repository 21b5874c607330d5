"""Memory files for machines that cannot mount: they live in a dictionary.

For tests of what lies above, and of kernels this machine does not have: `support` says which kernel is played.
"""

from collections.abc import Sequence
from pathlib import Path

from vault.tmpfs.port import Backing, MemoryFile, Support, check_files

NO_NOSWAP = "mount: Invalid argument"  # What Linux before 6.4 says to `noswap`.
NO_RAMFS = "mount: No such device"  # What a kernel built without ramfs says.
OLD_KERNEL = Support(noswap_refusal=NO_NOSWAP)
BARE_KERNEL = Support(noswap_refusal=NO_NOSWAP, ramfs_refusal=NO_RAMFS)


class FakeMemoryFiles:
    """`MemoryFiles` without a kernel."""

    def __init__(self, support: Support | None = None, *, swap_on: bool = True, allow_swappable: bool = False) -> None:
        self.mounted: dict[Path, tuple[MemoryFile, ...]] = {}
        self._support = support or Support()
        self._swap_on = swap_on
        self._allow_swappable = allow_swappable

    def probe(self) -> Support:
        """Return the kernel that is played."""
        return self._support

    def create(self, at: Path, files: Sequence[MemoryFile]) -> Backing:
        """Remember the files."""
        check_files(files)
        backing = self._support.choose(swap_on=self._swap_on, allow_swappable=self._allow_swappable)
        self.mounted[at] = tuple(files)
        return backing

    def remove(self, at: Path) -> None:
        """Forget them."""
        self.mounted.pop(at, None)

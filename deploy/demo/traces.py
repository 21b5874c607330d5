"""What a vaultd may leave behind, and must not: mounts, processes, namespaces, cgroups, plaintext."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path


def mounts(root: Path) -> list[str]:
    """Return the mount points under `root`."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point.startswith(f"{root}/")]


def processes(root: Path) -> list[str]:
    """Return the processes whose command line names `root`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # It ended meanwhile.
        if str(root) in command:
            found.append(f"{entry.name} {command}")
    return found


def containers(root: Path) -> list[str]:
    """Return what is left of tasks under the roots."""
    return [str(path) for place in ("data/tasks", "run/tasks") for path in (root / place).glob("*")]


def files_with(needle: bytes, *roots: Path) -> Iterator[Path]:
    """Yield every file under `roots` that holds `needle`, without following links."""
    for root in roots:
        for directory, _, names in os.walk(root):
            for name in names:
                path = Path(directory) / name
                if path.is_file() and not path.is_symlink() and _holds(path, needle):
                    yield path


def _holds(path: Path, needle: bytes) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(needle) >= 0
    except (OSError, ValueError):  # Empty, gone, or not a file of bytes.
        return False

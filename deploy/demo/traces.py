"""What a vaultd may leave behind, and must not: mounts, processes, namespaces, cgroups, plaintext."""

import os
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1 << 22


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

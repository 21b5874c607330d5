"""Which processes belong to a node, and what each shows of itself: arguments, environment, name."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.cluster.search.needles import Hit, Needles

SHOWN = ("cmdline", "environ", "comm")


def _all() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def family(roots: Iterable[int], *mentions: str) -> list[int]:
    """Return processes and their descendants, and those that name one of `mentions` in their arguments, with theirs.

    Supervisors of containers leave their parent's tree; their arguments name the node's directories.
    """
    every = list(_all())
    children: dict[int, list[int]] = {}
    for pid in every:
        children.setdefault(_parent(pid), []).append(pid)
    todo, found = [*roots], []
    for pid in every:
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if any(os.fsencode(mention) in arguments for mention in mentions):
            todo.append(pid)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.append(pid)
            todo += children.get(pid, [])
    return sorted(found)


def shown(pid: int, needles: Needles) -> list[Hit]:
    """Search what a process shows of itself."""
    found = []
    for name in SHOWN:
        try:
            found += needles.within(f"/proc/{pid}/{name}", [Path(f"/proc/{pid}/{name}").read_bytes()])
        except OSError:
            continue  # It ended meanwhile.
    return found

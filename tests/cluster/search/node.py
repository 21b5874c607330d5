"""One node, searched from end to end."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.search import files, memory, processes
from tests.cluster.search.needles import Hit, Needles


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where one node keeps anything."""

    name: str
    roots: tuple[Path, ...]  # Data root, run root, and whatever else is written there (logs).
    pids: tuple[int, ...]  # vaultd, if it runs; what belongs to it is found from there.


def held(places: Places, values: Mapping[str, bytes]) -> list[Hit]:
    """Return every value a node holds, anywhere: files, names, mounts, open files, memory, what processes show."""
    needles = Needles(values)
    found: list[Hit] = []
    for root in places.roots:
        found += files.under(root, needles)
    # A path that ends with a slash is no prefix of another node's.
    members = processes.family(places.pids, *(f"{root}/" for root in places.roots))
    for namespace in _mount_namespaces(members):
        found += files.mounts(namespace, needles)
    for pid in members:
        found += processes.shown(pid, needles)
        found += files.held_open(pid, needles)
        found += memory.within(pid, needles)
    return sorted(set(found))


def _mount_namespaces(pids: Iterable[int]) -> list[int]:
    """Return one process for each set of mounts and root but the machine's.

    Several nodes may share the machine's: what a node has mounted there is under its roots, and searched with them.
    """
    own = os.readlink("/proc/self/ns/mnt")
    one: dict[tuple[str, str], int] = {}
    for pid in pids:
        try:
            namespace = os.readlink(f"/proc/{pid}/ns/mnt")
            if namespace != own:
                one.setdefault((namespace, os.readlink(f"/proc/{pid}/root")), pid)
        except OSError:
            continue
    return list(one.values())

"""The end of a lab, and of a node's processes: what is there is found by name and place, whatever happened before.

Not pure; blocking.  Each step may be repeated.  Nothing is asked of vaultd, which may be dead, stopped or cut off.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from vault.lab import cgroups, clocks, disks, links
from vault.lab.namespaces import identity
from vault.lab.plan import DEFAULT_BASE, Place, Site
from vault.lab.processes import end_all, in_networks
from vault.network.wireguard.process import remove_sockets
from vault.tmpfs.mount import mounts_under, unmount_all

_NODE: Final = re.compile(r"(?:manager|worker)[0-9]{1,2}")


def remains(at: Site) -> tuple[Place, ...]:
    """Return the nodes of which there is anything, also of a lab that was never finished."""
    names = sorted(each.name for each in at.directory.iterdir() if _NODE.fullmatch(each.name))
    return tuple(Place(name=name, address="", site=at) for name in names)


def take_down(at: Site) -> None:
    """End every process of a lab and remove all it made.  Its directory must be locked."""
    nodes = remains(at)
    end_all(lambda: _processes(at, nodes))
    for node in nodes:
        cgroups.remove_tasks(node)
        cgroups.remove(node)
        clocks.forget(node)
        remove_sockets(node.run_root)
    _unmount(at)
    for node in nodes:
        disks.remove(node)
    at.record.unlink(missing_ok=True)
    shutil.rmtree(at.directory)
    if at.directory.parent == DEFAULT_BASE:
        with contextlib.suppress(OSError):  # Other labs are in it.
            DEFAULT_BASE.rmdir()


def cut_power(node: Place) -> None:
    """Leave of a node what a power cut leaves: its data root."""
    end_all(lambda: chain(cgroups.daemons(node), cgroups.task_processes(node)))
    cgroups.remove_tasks(node)
    remove_sockets(node.run_root)
    for each in reversed(mounts_under(node.run_root)):
        unmount_all(each.point)
    shutil.rmtree(node.run_root)
    node.run_root.mkdir(mode=0o755)
    for each in reversed(mounts_under(node.data_root)):
        if each.point != node.data_root:
            unmount_all(each.point)
    links.lose(node)


def _processes(at: Site, nodes: Sequence[Place]) -> Iterator[int]:
    """Yield the pids of all that belongs to a lab: by cgroup, and by network namespace what has entered a node."""
    namespaces = [number for path in (at.switch, *(node.net for node in nodes)) if (number := identity(path))]
    ours = os.stat("/proc/self/ns/net").st_ino
    for node in nodes:
        yield from cgroups.daemons(node)
        yield from cgroups.task_processes(node)
    yield from in_networks([number for number in namespaces if number != ours])


def _unmount(at: Site) -> None:
    for each in reversed(mounts_under(at.directory)):
        unmount_all(each.point)

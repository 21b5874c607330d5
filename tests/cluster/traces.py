"""What networks leave on the nodes of a lab, listed so that before and after can be compared."""

import json
import os
import re
from pathlib import Path

from tests.cluster.world import World
from vault.lab.node import Node
from vault.tmpfs.mount import mounts_under

Listing = dict[str, list[str]]
_STAYS = ("dns.log", "vault.sock")  # A log of what was; what vaultd itself has.


def listings(world: World) -> dict[str, Listing]:
    """Return, of every node, its links, addresses, routes, rules, namespaces, mounts, files and helpers."""
    return {node.name: listing(node) for node in world.lab.nodes}


def listing(node: Node) -> Listing:
    """Return what one node has."""
    links = json.loads(node.run("ip", "-json", "address", "show").out)
    run_root = node.run_root
    return {
        "links": sorted(link["ifname"] for link in links),
        "addresses": sorted(f"{each['local']} {link['ifname']}" for link in links for each in link["addr_info"]),
        "routes": sorted(line.strip() for line in node.run("ip", "route", "show", "table", "all").out.splitlines()),
        "rules": node.run("nft", "--stateless", "list", "ruleset").out.splitlines(),
        "neighbours": sorted(node.run("ip", "neighbour", "show", "nud", "permanent").out.splitlines()),
        "namespaces": sorted(path.name for path in run_root.glob("netns/*")),
        "mounts": sorted(str(mount.point.relative_to(run_root)) for mount in mounts_under(run_root)),
        "files": sorted(_files(run_root)),
        "layers": sorted(path.name for path in (node.data_root / "tasks").glob("*")),
        "helpers": sorted(_helpers(run_root)),
    }


def differences(before: dict[str, Listing], after: dict[str, Listing]) -> list[str]:
    """Return what is in one and not in the other, a line each."""
    found = []
    for node in before:
        for kind, had in before[node].items():
            has = after[node][kind]
            found += [f"{node}, {kind}: + {each}" for each in has if each not in had]
            found += [f"{node}, {kind}: - {each}" for each in had if each not in has]
    return found


def _files(run_root: Path) -> list[str]:
    found = []
    for directory, names, files in os.walk(run_root):
        names[:] = [name for name in names if not os.path.ismount(os.path.join(directory, name))]
        found += [os.path.relpath(os.path.join(directory, each), run_root) for each in (*names, *files)]
    return [each for each in found if each not in _STAYS and not re.fullmatch(r"(etcd|engine).*", each)]


def _helpers(run_root: Path) -> list[str]:
    """Return the names of processes that serve networks of this node: names, and encryption."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # It has ended.
                continue
            if "vault.dns.main" in command and f"{run_root} " in command:
                found.append("vault-dns")
    return found

"""A lab's beginning: namespaces, disks, a vaultd each, then a swarm by the `vault` command.

Not pure; blocking.  Called by `vault.lab.lab`, which undoes all of it when it fails.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Final

from vault.lab import cgroups, disks, launching, links
from vault.lab.errors import NotAnswering
from vault.lab.node import Node
from vault.lab.plan import Place, Site
from vault.lab.state import State

Say = Callable[[str], None]
PORT: Final = 2377
READY_LIMIT_S: Final = 60.0
_LOOK_AGAIN_S: Final = 0.1


def bring_up(at: Site, nodes: Sequence[Place], state: State, *, join: bool, say: Say) -> None:
    """Make everything of a lab and return once its nodes answer."""
    say(f"Making {len(nodes)} nodes, joined by a bridge of their own")
    for node in nodes:
        for directory in (node.directory, node.data_root, node.run_root):
            directory.mkdir(mode=0o755)
        cgroups.make(node)
    links.connect(at, nodes)
    if state.disk_bytes:
        say(f"Making a disk of {state.disk_bytes >> 20} MiB for each")
        for node in nodes:
            disks.make(node, state.disk_bytes)
    say("Starting vaultd on " + ", ".join(node.name for node in nodes))
    started = [
        (node, launching.launch_vaultd(node, log_level=state.log_level, environment=os.environ)) for node in nodes
    ]
    for node, process in started:
        launching.wait_until_answers(node, process)
    if join:
        make_swarm([Node(place=node) for node in nodes], say)


def make_swarm(nodes: Sequence[Node], say: Say) -> None:
    """Make the first node a swarm's first manager, and the others join it."""
    first, *others = nodes
    first.vault("swarm", "init", "--advertise-addr", first.address)
    say(f"{first.name} has made a swarm")
    for node in others:
        role = "manager" if node.place.manager else "worker"
        token = first.vault("swarm", "join-token", "--quiet", role).out.strip()
        node.vault("swarm", "join", "--advertise-addr", node.address, "--token", token, f"{first.address}:{PORT}")
        say(f"{node.name} has joined as a {role}")
    _wait_until_ready(first, {node.name for node in nodes})


def _wait_until_ready(first: Node, names: set[str]) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while True:
        shown = first.vault("node", "ls", "--format", "{{.Hostname}} {{.Status}}").out.splitlines()
        late = names - {line.removesuffix(" Ready") for line in shown if line.endswith(" Ready")}
        if not late:
            return
        if time.monotonic() > deadline:
            which = Place(name=min(late), address="", site=first.place.site)
            raise NotAnswering(which.name, f"is not ready within {READY_LIMIT_S:.0f} s of joining", which.log)
        time.sleep(_LOOK_AGAIN_S)

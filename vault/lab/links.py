"""The lab's network: a bridge in a namespace of its own, and a veth pair from it to each node.

Not pure.  On the bridge's side a port bears the node's name, on the node's side it is `eth0`.  The bridge has an
address too, so that programs beside it can visit the nodes from outside.  The machine's own network is not touched:
every link lives in a namespace of the lab.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import Final

from vault.lab.errors import ProgramFailed
from vault.lab.namespaces import make_host, make_network
from vault.lab.plan import NETWORK_PREFIX, OUTSIDE_ADDRESS, Place, Site
from vault.lab.programs import run

BRIDGE: Final = "bridge"
# Where the kernel has br_netfilter, bridged packets would pass through rules meant for routed ones.
_PLAIN_BRIDGE: Final = "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 >$f; done"


def connect(at: Site, nodes: Sequence[Place]) -> None:
    """Make the namespaces of the lab and join them."""
    make_network(at.switch)
    for node in nodes:
        make_host(node.net, node.uts, node.name)
    run("ip", "-batch", "-", script=bridge_script(nodes), inside=at.switch)
    run("sh", "-c", _PLAIN_BRIDGE, inside=at.switch)
    for node in nodes:
        run("ip", "-batch", "-", script=node_script(node), inside=node.net)


def bridge_script(nodes: Sequence[Place]) -> str:
    """Return what `ip` does on the bridge's side.  Pure."""
    lines = ["link set dev lo up", f"link add name {BRIDGE} type bridge", f"link set dev {BRIDGE} up"]
    lines.append(f"address add {OUTSIDE_ADDRESS}/{NETWORK_PREFIX} broadcast + dev {BRIDGE}")
    for node in nodes:
        lines.append(f"link add name {node.name} type veth peer name eth0 netns {node.net}")
        lines.append(f"link set dev {node.name} master {BRIDGE} up")
    return "\n".join(lines) + "\n"


def node_script(node: Place) -> str:
    """Return what `ip` does on the node's side.  Pure."""
    return (
        f"link set dev lo up\naddress add {node.address}/{NETWORK_PREFIX} broadcast + dev eth0\nlink set dev eth0 up\n"
    )


def lose(node: Place) -> None:
    """Remove what a restart of a machine would: links of tasks, packet rules, routes that hold a subnet."""
    for link in json.loads(run("ip", "-json", "link", "show", inside=node.net)):
        if link["ifname"] not in ("lo", "eth0"):
            with contextlib.suppress(ProgramFailed):  # Its peer has taken it along, or it belongs to the kernel.
                run("ip", "link", "delete", "dev", link["ifname"], inside=node.net)
    run("nft", "flush", "ruleset", inside=node.net)
    run("ip", "route", "flush", "type", "unreachable", inside=node.net)

"""Cut links: which packets the bridge drops.

The rules stand on the bridge, outside every node: nothing that a node or a task does gets round them, and connections
that were open before are cut like new ones, since each frame is looked at by itself (ARP too) and no connection is
tracked.  Pure but for `apply`.
"""

from collections.abc import Collection, Iterable
from typing import Final

from vault.lab.plan import Site
from vault.lab.programs import run

Cuts = frozenset[tuple[str, str]]  # Packets from the first to the second are dropped.
_TABLE: Final = "vault_lab"
_MOST_LINK_NAME: Final = 15


def cut(cuts: Cuts, nodes: Iterable[str], node: str, *, to: str | None = None, one_way: bool = False) -> Cuts:
    """Return the cuts when `node` is cut from `to`, or from all others; one way: only what `node` sends is lost."""
    others = [other for other in nodes if other != node] if to is None else [to]
    sent = {(node, other) for other in others}
    return cuts | sent if one_way else cuts | sent | {(other, node) for other in others}


def heal(cuts: Cuts, node: str | None) -> Cuts:
    """Return the cuts without those of a node; none at all without a node."""
    return frozenset(pair for pair in cuts if node is not None and node not in pair)


def describe(cuts: Cuts, nodes: Collection[str], node: str) -> list[str]:
    """Return what `status` says of a node's cuts, such as `cut` or `cut from worker1`."""
    others = [other for other in nodes if other != node]
    sends = {other for other in others if (node, other) in cuts}
    hears = {other for other in others if (other, node) in cuts}
    both = sends & hears
    if others and both == set(others):
        return ["cut"]
    said = [f"cut from {','.join(sorted(both))}"] if both else []
    said += [f"cut to {','.join(sorted(sends - both))}"] if sends - both else []
    return said + ([f"deaf to {','.join(sorted(hears - both))}"] if hears - both else [])


def relay_port(node: str) -> str:
    """Return the name of a node's port on the bridge while its packets are delayed."""
    return f"{node[: _MOST_LINK_NAME - 1]}~"


def rules(cuts: Cuts) -> str:
    """Return the nft script that makes these cuts, and no others, in one transaction."""
    pairs = [f'"{source}" . "{target}"' for a, b in sorted(cuts) for source in _ports(a) for target in _ports(b)]
    script = f"table bridge {_TABLE} {{}}\ndelete table bridge {_TABLE}\n"
    if pairs:
        script += (
            f"table bridge {_TABLE} {{\n  chain forward {{\n    type filter hook forward priority 0; policy accept;\n"
            f"    iifname . oifname {{ {', '.join(pairs)} }} drop\n  }}\n}}\n"
        )
    return script


def apply(at: Site, cuts: Cuts) -> None:
    """Make the bridge drop what these cuts say."""
    run("nft", "-f", "-", script=rules(cuts), inside=at.switch)


def _ports(node: str) -> tuple[str, str]:
    return node, relay_port(node)

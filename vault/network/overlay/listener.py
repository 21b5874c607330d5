"""What the parts of a node that follow overlay networks hear: names (`vault.dns`) and the routing mesh.

Value type and Protocol, without behaviour.  `NodeNetworks` calls each listener in the order in which they were given,
on the event loop, so a listener only takes note and does its work in a task of its own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vault.network.overlay.state import OverlayState


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedTask:
    """A task of this node that has links to overlay networks."""

    task_id: str
    namespace: Path  # File of its network namespace.
    networks: tuple[str, ...]  # Ids, in the order of its links: the first is eth0.
    link_address: str = ""  # IPv4, of its link to this node, its way out; empty where all its networks are internal.
    nameservers: tuple[str, ...] = ()  # The service's own; empty = the node's.


class OverlayListener(Protocol):
    """Hears of every change; what it is told is the whole state, which shares what did not change."""

    def told(self, state: OverlayState) -> None:
        """Take note of what the managers say, less what ended here meanwhile."""
        ...

    def opened(self, network_id: str, namespace: Path) -> None:
        """Take note that a network's namespace is there, at this file; one that was there before is gone.

        The ingress network has one on every node that was told of it, others where a task is attached.
        """
        ...

    def attached(self, task: AttachedTask) -> None:
        """Take note of a task whose links are there; it starts afterwards.  May be said again."""
        ...

    def detached(self, task_id: str) -> None:
        """Take note of a task whose links are about to go.  May be said of a task that was never attached."""
        ...

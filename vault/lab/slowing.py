"""Slow nodes: the rate of a node's link, the delay of its packets, and its processor time.

Not pure; blocking.
"""

from vault.lab import cgroups
from vault.lab.plan import Place
from vault.lab.state import Slow


def slow_down(node: Place, how: Slow) -> None:
    """Make a node as slow as that, and no slower."""
    cgroups.limit(node, how.cpus)

"""Which nodes may take a task, and why others may not.  Pure.

SwarmKit's order and texts: a node is counted only against the first filter it fails.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from vault.model.task import Task
from vault.scheduler.constraint import node_matches, parse_stored
from vault.scheduler.load import Load, host_ports, reserved

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def ready(task: Task, load: Load) -> bool:
    """Whether the node takes new tasks at all."""
    return load.node.ready


def resources(task: Task, load: Load) -> bool:
    """Whether what the task reserves is still free."""
    nano_cpus, memory_bytes = reserved(task.spec)
    return (not nano_cpus or nano_cpus <= load.free_nano_cpus) and (
        not memory_bytes or memory_bytes <= load.free_memory_bytes
    )


def constraints(task: Task, load: Load) -> bool:
    """Whether the node meets the placement constraints."""
    placement = task.spec.placement
    return placement is None or node_matches(parse_stored(placement.constraints), load.node)


def platform(task: Task, load: Load) -> bool:
    """Whether the image exists for the node's architecture and system; what is not given fits all."""
    wanted = task.spec.placement.platforms if task.spec.placement else ()
    has = load.node.description.platform
    return not wanted or any(
        _same(str(one.get("OS", "")), has.os) and _same(str(one.get("Architecture", "")), has.architecture)
        for one in wanted
    )


def free_ports(task: Task, load: Load) -> bool:
    """Whether the ports the task opens on its node are free there."""
    return load.ports.keys().isdisjoint(host_ports(task))


def max_replicas(task: Task, load: Load) -> bool:
    """Whether the node may have another task of the service."""
    limit = task.spec.placement.max_replicas if task.spec.placement else 0
    return not limit or load.active_of[task.service_id] < limit


def encryption(task: Task, load: Load) -> bool:
    """Whether the node can encrypt, if the task is on a network that asks for it."""
    return load.node.description.encryption is not None or not task.encrypts


def _same(wanted: str, has: str) -> bool:
    wanted, has = wanted.lower(), has.lower()
    return not wanted or ARCHITECTURES.get(wanted, wanted) == ARCHITECTURES.get(has, has)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


Filter = Callable[[Task, Load], bool]
PIPELINE: tuple[tuple[Filter, Callable[[int], str]], ...] = (
    (ready, lambda count: f"{_nodes(count)} not available for new tasks"),
    (resources, lambda count: f"insufficient resources on {_nodes(count)}"),
    (constraints, lambda count: f"scheduling constraints not satisfied on {_nodes(count)}"),
    (platform, lambda count: f"unsupported platform on {_nodes(count)}"),
    (encryption, lambda count: f"no WireGuard for encrypted networks on {_nodes(count)}"),
    (free_ports, lambda count: f"host-mode port already in use on {_nodes(count)}"),
    (max_replicas, lambda count: "max replicas per node limit exceed"),
)


def first_failed(task: Task, load: Load) -> int | None:
    """Return the place in the pipeline of the first filter that a node fails; None when it may take the task."""
    for place, (passes, _) in enumerate(PIPELINE):
        if not passes(task, load):
            return place
    return None


def explain(failed: Iterable[int]) -> str:
    """Return `no suitable node (…)` for the filters that nodes failed, the most frequent first."""
    counts = Counter(failed)
    places: Iterator[int] = iter(sorted(counts, key=lambda place: (-counts[place], place)))
    reasons = "; ".join(PIPELINE[place][1](counts[place]) for place in places)
    return f"no suitable node ({reasons})" if reasons else "no suitable node"

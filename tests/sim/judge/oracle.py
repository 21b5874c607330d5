"""What is right, worked out a second time from the reference's words and in the plainest way; no decider is asked.

Only what `tests.sim.specs` can say is understood here.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from vault.model.node import Node, NodeResources
from vault.model.service import Reservation, RestartPolicy, Service, TaskSpec
from vault.model.task import State, Task
from vault.store.snapshot import Snapshot

NOTHING: Mapping[str, int] = {}
ASSIGNED, RUNNING = State.ASSIGNED.rank, State.RUNNING.rank
WANTED = (State.READY, State.RUNNING, State.COMPLETE)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@lru_cache(maxsize=1024)
def meets(constraint: str, node_id: str, values: tuple[tuple[str, str], ...], addr: str) -> bool:
    """Return whether a node meets a constraint.  values: what it has, by key."""
    key, equal, wanted = constraint.partition("!=" if "!=" in constraint else "==")
    key, wanted = key.strip(), wanted.strip().lower()
    if key == "node.ip":
        found = ipaddress.ip_address(addr) in ipaddress.ip_network(wanted)
    else:
        found = dict(values).get(key, "").lower() == wanted
    return found is (equal == "==")


def allowed(spec: TaskSpec, node: Node) -> bool:
    """Return whether a node meets the constraints of a task."""
    if spec.placement is None or not spec.placement.constraints:
        return True
    values = [("node.id", node.id), ("node.hostname", node.description.hostname), ("node.role", node.spec.role)]
    values.append(("node.platform.os", node.description.platform.os))
    values += [(f"node.labels.{name}", value) for name, value in node.spec.labels.items()]
    values += [(f"engine.labels.{name}", value) for name, value in node.description.engine.labels.items()]
    known = tuple(values)
    return all(meets(one, node.id, known, node.status.addr) for one in spec.placement.constraints)


def may_stay(service: Service, task: Task, node: Node) -> bool:
    """Return whether a task may go on where it runs: its service's constraints allow it, or those it was placed by."""
    return allowed(service.spec.task_template, node) or allowed(task.spec, node)


def needs(task: Task) -> Mapping[str, int]:
    """Return how much of what a task reserves."""
    found = task.spec.resources.reservations if task.spec.resources else None
    return NOTHING if found is None else asked_by(found)


@lru_cache(maxsize=1024)
def asked_by(found: Reservation) -> Mapping[str, int]:
    """Return how much of what is reserved."""
    asked = Counter(cpu=found.nano_cpus, memory=found.memory_bytes)
    for one in found.generic_resources:
        if one.discrete_resource_spec is not None:
            asked[one.kind] += one.discrete_resource_spec.value
    return asked


@lru_cache(maxsize=1024)
def has(resources: NodeResources) -> Mapping[str, int]:
    """Return how much of what a node has."""
    there = Counter(cpu=resources.nano_cpus, memory=resources.memory_bytes)
    for one in resources.generic_resources:
        there[one.kind] += one.discrete_resource_spec.value if one.discrete_resource_spec is not None else 1
    return there


def opens(task: Task) -> list[tuple[str, int]]:
    """Return the ports that a task opens on its node."""
    return [(port.protocol, port.published_port) for port in task.host_ports]


def holding(tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that hold what they need of their node: until they have ended."""
    return [task for task in tasks if ASSIGNED <= task.status.state.rank <= RUNNING]


def running(tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that run: those that are yet to start are judged once they do."""
    return [task for task in tasks if task.state is State.RUNNING]


def obstacle(task: Task, node: Node, there: list[Task]) -> str:
    """Return why a task cannot be placed on a node that holds some tasks; "" when it can."""
    if node.status.state != "ready" or node.spec.availability != "active":
        return "not available for new tasks"
    if too_much(there, task, node):
        return "insufficient resources"
    if not allowed(task.spec, node):
        return "scheduling constraints not satisfied"
    if not runs_on(task.spec, node):
        return "unsupported platform"
    if node.description.encryption is None and any(place.network.spec.encrypted for place in task.networks_attachments):
        return "no WireGuard for encrypted networks"
    taken = {port for other in there for port in opens(other)}
    if taken & set(opens(task)):
        return "host-mode port already in use"
    most = task.spec.placement.max_replicas if task.spec.placement else 0
    same = {other.slot_key for other in there if other.service_id == task.service_id and is_wanted(other)}
    # It and the one it takes over from are one replica; nobody is placed to be taken over from.
    if any(other.id == task.beside for other in there):
        same.discard(task.slot_key)
    if most and len(same) >= most:
        return "max replicas per node limit exceed"
    return ""


def runs_on(spec: TaskSpec, node: Node) -> bool:
    """Return whether a node has the platform that a task was made for."""
    wanted = spec.placement.platforms if spec.placement else ()
    platform = node.description.platform
    return not wanted or any(
        one["OS"] == platform.os and one["Architecture"] == ARCHITECTURES[platform.architecture] for one in wanted
    )


def left(node: Node, there: Iterable[Task]) -> dict[str, int]:
    """Return what is left of a node beside some tasks."""
    found = dict(has(node.description.resources))
    for held in map(needs, there):
        for kind, number in held.items():
            found[kind] = found.get(kind, 0) - number
    return found


def too_much(there: list[Task], task: Task, node: Node) -> bool:
    """Return whether a node has too little left for another task."""
    asked = needs(task)
    if not asked:
        return False
    found = left(node, there)
    return any(number > found.get(kind, 0) for kind, number in asked.items() if number)


def reason(snap: Snapshot, task: Task) -> str:
    """Return why a task is not placed, in Swarm's words; "" when there is no reason."""
    nodes = list(snap.nodes.values())
    if task.node_id:
        nodes = [snap.nodes[task.node_id]] if task.node_id in snap.nodes else []
    met: Counter[str] = Counter()
    for node in nodes:
        why = obstacle(task, node, holding(snap.tasks_on(node.id)))
        if not why:
            return ""
        met[why] += 1
    return ", ".join(f"{count} {why}" for why, count in met.most_common()) or "no node"


def eligible(service: Service, node: Node) -> bool:
    """Return whether a global service has a task on a node."""
    return (
        node.status.state != "down" and node.spec.availability != "drain" and allowed(service.spec.task_template, node)
    )


def outdated(snap: Snapshot, service: Service, task: Task) -> bool:
    """Return whether a task is not what its service's spec asks for now."""
    if task.spec_version == service.spec_version:
        return False
    wanted = service.spec.task_template
    ports = service.spec.endpoint_spec.ports if service.spec.endpoint_spec else ()
    if task.host_ports != tuple(port for port in ports if port.publish_mode == "host"):
        return True
    if task.spec == wanted:
        return False
    fields = [name for name in task.spec.__struct_fields__ if name != "placement"]
    if any(getattr(task.spec, name) != getattr(wanted, name) for name in fields):
        return True
    node = snap.nodes.get(task.node_id)
    return node is None or not allowed(wanted, node)


def is_wanted(task: Task) -> bool:
    """Return whether nobody has asked a task to end."""
    return task.desired_state in WANTED


def overlap(one: Task, other: Task) -> bool:
    """Return whether an update that starts the new task first lets two tasks of a slot be wanted, and run."""
    return one.beside == other.id or other.beside == one.id


def is_kept(old: Task, tasks: Iterable[Task]) -> bool:
    """Return whether a task is kept until the one that an update started first runs, which may have ended for good."""
    return any(other.beside == old.id and (is_wanted(other) or other.stays_down) for other in tasks)


def is_old(snap: Snapshot, service: Service, task: Task, tasks: Iterable[Task] | None = None) -> bool:
    """Return whether an update should have exchanged a task.  tasks: those of its slot, or more, if not as stored."""
    if not outdated(snap, service, task):
        return False
    node = snap.nodes.get(task.node_id)
    if service.is_global and node is not None and node.spec.availability == "pause":
        return False
    return not is_kept(task, snap.tasks_at(service.id, task.slot_key) if tasks is None else tasks)


def is_satisfied(task: Task) -> bool:
    """Return whether a task did what it was for: it completed, and is not to do so again."""
    conditions = ("none", "on-failure") if task.job_iteration is None else ("none", "on-failure", "any", "")
    return task.state is State.COMPLETE and policy_of(task).condition in conditions


def policy_of(task: Task) -> RestartPolicy:
    """Return a task's restart policy."""
    return task.spec.restart_policy or RestartPolicy()


def history_limit(snap: Snapshot, service: Service) -> int:
    """Return how many tasks of a slot are kept; negative = all."""
    policy = service.spec.task_template.restart_policy
    if policy is not None and policy.max_attempts:
        return policy.max_attempts + 1
    assert snap.cluster is not None, "it was founded first"
    kept = snap.cluster.spec.orchestration.task_history_retention_limit
    return 5 if kept is None else kept


def grace_s(task: Task) -> float:
    """Return how long a task may take to stop."""
    grace_ns = task.spec.container_spec.stop_grace_period
    return 10.0 if grace_ns is None else grace_ns / 1e9

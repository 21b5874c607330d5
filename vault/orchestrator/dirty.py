"""Which tasks are not what their service's spec asks for, or are to move, and so which slots an update is about.  Pure.

Used by `update` and `exchange`, and by the API, which tells waiting clients which tasks are up to date.
"""

from msgspec.structs import replace

from vault.model.service import EndpointSpec
from vault.model.task import Task
from vault.orchestrator.global_ import eligible
from vault.orchestrator.work import SlotKey, Work
from vault.scheduler.constraint import node_matches, parse_stored


def is_slot_dirty(work: Work, key: SlotKey) -> bool:
    """Whether a slot's task is to be exchanged: nothing in it is, or was before it ended for good, as the spec asks.

    A global service's task stays as it is on a node that takes no new one.
    """
    filling = [*work.wanted(key), *work.ended_for_good(key)]  # Both: start-first, a new one may have ended for good.
    return bool(filling) and all(is_dirty(work, task) for task in filling) and not takes_none(work, key)


def superfluous(work: Work, key: SlotKey) -> list[Task]:
    """Return the dirty tasks of a slot that also has a task as the spec asks for, which none of them is to make way to.

    An update that another one overtook leaves them: start-first, it had its new task beside the old one.
    """
    wanted = work.wanted(key)
    if len(wanted) < 2:
        return []
    clean = [task for task in wanted if not is_dirty(work, task)]
    kept = {*(task.id for task in clean), *(task.beside for task in clean)}
    return [task for task in wanted if clean and task.id not in kept]


def takes_none(work: Work, key: SlotKey) -> bool:
    """Whether a slot is that of a global service on a node that takes no new task of it, for now or at all."""
    if not isinstance(key, str):
        return False
    node, placement = work.snap.nodes.get(key), work.service.spec.task_template.placement
    constraints = parse_stored(placement.constraints if placement else ())
    return node is None or node.spec.availability != "active" or not eligible(node, constraints)


def is_dirty(work: Work, task: Task) -> bool:
    """Whether a task is not what the service's present spec asks for, or is to move."""
    service = work.service
    if task.id in work.moves and task.live:  # One that has ended is for its restart policy.
        return True
    if task.spec_version is not None and task.spec_version == service.spec_version:
        return False
    if task.host_ports != host_ports(service.spec.endpoint_spec):
        return True
    wanted = service.spec.task_template
    if task.spec == wanted:
        return False
    if replace(task.spec, placement=wanted.placement) != wanted:
        return True
    node = work.node_of(task)  # Only the placement differs: a task on a node that it still allows may stay.
    constraints = wanted.placement.constraints if wanted.placement else ()
    return node is None or not node_matches(parse_stored(constraints), node)


def host_ports(endpoint: EndpointSpec | None) -> tuple[object, ...]:
    """Return the ports that tasks open on their nodes."""
    return tuple(port for port in (endpoint.ports if endpoint else ()) if port.publish_mode == "host")

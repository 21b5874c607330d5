"""No address of a network, and no port of the mesh, has two holders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.sim.judge.oracle import is_wanted
from tests.sim.story import slot_of
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.service import Service
from vault.model.task import State, Task
from vault.store.changes import AnyObject
from vault.store.snapshot import Key

if TYPE_CHECKING:
    from tests.sim.judge import Written
    from tests.sim.world import World

HOLDERS = frozenset((Kind.TASK, Kind.SERVICE, Kind.NODE))
Place = tuple[str, str]


class Addresses:
    """Who holds what."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.holders: dict[Place, Key] = {}

    def committed(self, changes: Written) -> None:
        """Follow a commit."""
        for _, old, new in changes:
            if isinstance(new, Task) and new.state is State.ASSIGNED and (old is None or old.state < State.ASSIGNED):
                self._check_placed(new)
        pairs = [(key, set(held(old)), set(held(new))) for key, old, new in changes if key[0] in HOLDERS]
        for key, before, after in pairs:
            for place in before - after:
                if self.holders.get(place) == key:
                    del self.holders[place]
        for key, before, after in pairs:
            for place in after - before:
                other = self.holders.setdefault(place, key)
                if other != key:
                    raise self._world.story.fail(
                        f"{place[1]} of {place[0]} is held by {other[1]} and {key[1]}", key[1], other[1]
                    )

    def _check_placed(self, task: Task) -> None:
        """A task that is on its way to a node has an address on each of its networks."""
        asked = sorted(place.target for place in task.spec.networks)
        given = sorted(place.network.id for place in task.networks_attachments if place.addresses)
        if asked != given:
            raise self._world.story.fail(f"{slot_of(task)} has addresses on {given}, not {asked}", task.id)


def held(obj: AnyObject | None) -> Iterator[Place]:
    """Yield what an object holds."""
    if isinstance(obj, Task):
        if obj.networks_attachments and holds(obj):
            for place in obj.networks_attachments:
                yield from ((place.network.id, address) for address in place.addresses)
    elif isinstance(obj, Service):
        yield from ((vip.network_id, vip.addr) for vip in obj.endpoint.virtual_ips)
        for port in obj.endpoint.ports:
            if port.publish_mode == "ingress":
                yield port.protocol, str(port.published_port)
    elif isinstance(obj, Node):
        for attachment in obj.attachments:
            yield from ((attachment.network_id, address) for address in attachment.addresses)


def holds(task: Task) -> bool:
    """Whether a task may yet run, or runs."""
    if task.status.state.rank > State.RUNNING.rank:
        return False
    return task.status.state.rank >= State.ASSIGNED.rank or is_wanted(task)

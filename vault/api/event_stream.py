"""/events: what changed in the cluster, told from one committed snapshot to the next, and what happens to the
containers of the node that was asked.

`events_between` is pure.  A reader that is slow sees an object's changes summed up, since only newest snapshots come.
"""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vault.api import answers
from vault.api.context import Context, Endpoint, Reach
from vault.api.filters import Filters, matches_labels, parse_filters
from vault.api.ports import ContainerEvent, Store
from vault.api.streams import Produce, Streamed, Write
from vault.api.times import seconds
from vault.model.errors import NotAManager
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.service import Service
from vault.store.changes import AnyObject, name_of
from vault.store.snapshot import Key, Snapshot

KINDS = (Kind.NODE, Kind.SERVICE, Kind.NETWORK, Kind.SECRET, Kind.CONFIG)
FILTERS = (
    *("type", "event", "scope", "label", "container", "image", "volume", "daemon", "plugin"),
    *("node", "service", "network", "secret", "config"),
)
MAX_WAIT_S = 10 * 365 * 86400.0


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is about."""

    id: str = msgspec.field(name="ID")
    attributes: dict[str, str] = msgspec.field(name="Attributes")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One message of `/events`."""

    type: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")
    actor: Actor = msgspec.field(name="Actor")
    scope: str = "swarm"
    time: int = 0  # Seconds since 1970.
    time_nano: int = msgspec.field(name="timeNano", default=0)


class Events:
    """The handler of /events."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def endpoints(self) -> list[Endpoint]:
        """Return what this class serves."""
        query = ("since", "until", "filters")
        how: dict[str, Any] = {"query": query, "reach": Reach.BOTH, "streams": True, "beside": self.own}
        return [Endpoint("GET", "/events", self.events, replies=Event, **how)]

    async def events(self, request: Request) -> Response:
        """Tell what changes in the cluster and happens to this node's containers, from now on."""
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)
        wait_s = self._wait_s(request)
        try:
            store: Store | None = self.context.manager.store()
        except NotAManager:
            store = None  # What a worker has to tell, it says beside this.

        async def produce(write: Write) -> None:
            before: Snapshot | None = None
            try:
                async with asyncio.timeout(wait_s):
                    if store is None:
                        await asyncio.Event().wait()
                        return
                    async for after in store.snapshots():
                        for event in () if before is None else events_between(before, after, self.context.now_s()):
                            if passes(filters, event):
                                await write(answers.encode(event) + b"\n")
                        before = after
            except TimeoutError:
                return

        return Streamed(produce, answers.JSON)

    def own(self, request: Request) -> Produce:
        """Return what tells of this node's containers."""
        filters = parse_filters(request.query_params.get("filters", ""), FILTERS)

        async def produce(write: Write) -> None:
            async with aclosing(self.context.node.container_events()) as happenings:
                async for one in happenings:
                    if passes(filters, event := event_of(one)):
                        await write(answers.encode(event) + b"\n")

        return produce

    def _wait_s(self, request: Request) -> float:
        until_s = seconds(request.query_params.get("until", ""))
        return MAX_WAIT_S if until_s is None else max(0.0, until_s - self.context.now_s())


def event_of(one: ContainerEvent) -> Event:
    """Return what happened to a container, in Docker's shape: its labels are among the attributes."""
    container = one.container
    attributes = {**container.labels, **one.details, "image": container.image, "name": container.name}
    return Event(
        type="container",
        action=one.action,
        actor=Actor(id=container.id, attributes=attributes),
        scope="local",
        time=int(one.at.timestamp()),
        time_nano=int(one.at.timestamp() * 1_000_000) * 1000,
    )


def events_between(before: Snapshot, after: Snapshot, now_s: float) -> list[Event]:
    """Return an event for each object that differs, the oldest change first; what is gone went at `now_s`."""
    touched = after.changed_since(before)
    keys = _all_keys(before, after) if touched is None else touched
    found = []
    for kind, object_id in sorted(keys):
        old, new = before.get(kind, object_id), after.get(kind, object_id)
        if kind not in KINDS or old is new:
            continue
        one = new or old
        if one is None:
            continue
        action = "create" if old is None else "remove" if new is None else "update"
        attributes = {"name": name_of(one) or _host(one)} | (_changes(old, new) if old and new else {})
        when_s = one.updated_at.timestamp() if new is not None else now_s
        found.append(
            Event(
                type=kind.value,
                action=action,
                actor=Actor(id=object_id, attributes=attributes),
                time=int(when_s),
                time_nano=int(when_s * 1_000_000) * 1000,
            )
        )
    return sorted(found, key=lambda event: (event.time_nano, event.action != "create"))


def passes(filters: Filters, event: Event) -> bool:
    """Whether an event is asked for."""
    for key, values in filters.items():
        match key:
            case "type":
                wanted = event.type in values
            case "event":
                # Docker takes what stands before the colon for the whole of it.
                wanted = event.action in values or event.action.partition(":")[0] in values
            case "scope":
                wanted = event.scope in values
            case "node" | "service" | "network" | "secret" | "config" | "container":
                name = event.actor.attributes.get("name", "")
                wanted = event.type == key and any(value in (event.actor.id, name) for value in values)
            case "image":
                wanted = event.actor.attributes.get("image", "") in values
            case "label":
                wanted = matches_labels(event.actor.attributes, values)
            case _:
                wanted = False  # Events of volumes, plugins and the daemon are not told.
        if values and not wanted:
            return False
    return True


def _all_keys(before: Snapshot, after: Snapshot) -> set[Key]:
    return {(kind, object_id) for snapshot in (before, after) for kind in KINDS for object_id in snapshot.objects[kind]}


def _host(one: AnyObject) -> str:
    return one.description.hostname if isinstance(one, Node) else ""


def _changes(old: AnyObject, new: AnyObject) -> dict[str, str]:
    """Return what Docker tells of an update: each value that changed, old and new."""
    pairs = zip(_watched(old), _watched(new), strict=True)
    changed = [(key, was, now) for (key, was), (_, now) in pairs if was != now]
    return {f"{key}.{when}": value for key, was, now in changed for when, value in (("old", was), ("new", now))}


def _watched(one: AnyObject) -> Iterator[tuple[str, str]]:
    if isinstance(one, Service):
        yield "image", one.spec.task_template.container_spec.image
        yield "replicas", str(one.replicas) if one.spec.mode.name == "replicated" else ""
        yield "updatestate", one.update_status.state.value if one.update_status else ""
    if isinstance(one, Node):
        yield "state", one.status.state
        yield "availability", one.spec.availability
        yield "role", one.spec.role
        yield "leader", str(bool(one.manager_status and one.manager_status.leader)).lower()
        yield "reachability", one.manager_status.reachability if one.manager_status else ""

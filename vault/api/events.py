"""Events: what changed from one committed snapshot to the next, what happened to a container, and which are wanted.

Pure.  A reader that is slow sees an object's changes summed up, since only newest snapshots come.  Called by
`vault.api.event_stream`; `Recent` is kept up to date by the daemon, on every manager.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from vault.api.container_values import ContainerEvent
from vault.api.filters import Filters, matches_labels
from vault.api.times import ns_of
from vault.model.base import SECOND_NS, from_s
from vault.model.ids import Kind
from vault.model.node import Node
from vault.model.service import Service
from vault.store.changes import AnyObject, name_of
from vault.store.snapshot import Key, Snapshot

KINDS: Final = frozenset((Kind.NODE, Kind.SERVICE, Kind.NETWORK, Kind.SECRET, Kind.CONFIG))
REMEMBERED: Final = 256  # As many as Docker's daemon.


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


class Recent:
    """The last events of the cluster, as far as this manager has seen them."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=REMEMBERED)
        self.seen: Snapshot | None = None

    def look(self, snapshot: Snapshot, now_s: float) -> None:
        """Remember what changed since the last look; of what was there before the first one nothing is told."""
        before, self.seen = self.seen, snapshot
        if before is not None and before is not snapshot:
            self.events.extend(events_between(before, snapshot, now_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events a reader asks for.  Times are nanoseconds since 1970; None: no limit."""

    since_ns: int | None = None
    until_ns: int | None = None
    filters: Filters = field(default_factory=dict)

    def of_the_past(self, events: Iterable[Event]) -> list[Event]:
        """Return those of remembered events to be told again: none when the reader names no time, as with Docker."""
        if self.since_ns is None and self.until_ns is None:
            return []
        return [event for event in events if self._is_between(event) and passes(self.filters, event)]

    def _is_between(self, event: Event) -> bool:
        return (self.since_ns or 0) <= event.time_nano and (self.until_ns is None or event.time_nano <= self.until_ns)


def event_of(one: ContainerEvent) -> Event:
    """Return what happened to a container, in Docker's shape: its labels are among the attributes."""
    attributes = {**one.labels, **one.details, "image": one.image, "name": one.name}
    time_ns = ns_of(one.at)
    return Event(
        type="container",
        action=one.action,
        actor=Actor(id=one.container_id, attributes=attributes),
        scope="local",
        time=time_ns // SECOND_NS,
        time_nano=time_ns,
    )


def events_between(before: Snapshot, after: Snapshot, now_s: float) -> list[Event]:
    """Return an event for each object that differs, the oldest change first; what is gone went at `now_s`."""
    touched = after.changed_since(before)
    keys = _all_keys(before, after) if touched is None else touched
    found = []
    for kind, object_id in sorted(key for key in keys if key[0] in KINDS):  # Most are tasks, of which none tells.
        old, new = before.get(kind, object_id), after.get(kind, object_id)
        if old is new:
            continue
        one = new or old
        if one is None:
            continue
        action = "create" if old is None else "remove" if new is None else "update"
        attributes = {"name": name_of(one) or _host(one)} | (_changes(old, new) if old and new else {})
        time_ns = ns_of(one.updated_at if new is not None else from_s(now_s))
        found.append(
            Event(
                type=kind.value,
                action=action,
                actor=Actor(id=object_id, attributes=attributes),
                time=time_ns // SECOND_NS,
                time_nano=time_ns,
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

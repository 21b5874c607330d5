"""One decision from several stages: each sees what the ones before it decided, and all of it is one proposal.

So one commit takes a task from nothing to ASSIGNED.  Pure but for the stages' caches: what a stage keeps between calls
can be rebuilt from any snapshot.  Called by `vault.daemon.loops`, through `vault.orchestrator.control`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace as with_fields
from typing import Protocol

from msgspec.structs import replace

from vault.model.base import Version
from vault.model.ids import Kind, NewID
from vault.orchestrator.groups import Groups
from vault.store.changes import AnyObject, Atomic, Change, Delete, Put, PutValue, Relied, kind_of
from vault.store.decision import Decision
from vault.store.snapshot import ChangeLog, Key, Snapshot


class Stage(Protocol):
    """Decides about a snapshot in which `changed` may differ from the last one it saw; None = look at everything."""

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        """Return changes to `snap`; no clock, chance, log or I/O."""
        ...


class Rounds:
    """A decider made of stages.

    The snapshot it is given must contain what it proposed before, or the store must have refused that: decide, wait for
    `propose` to return, then decide about the newest snapshot.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = stages
        self._proposed: set[Key] = set()  # In the last round; stages saw these objects as they may never become.

    def __call__(self, before: Snapshot | None, after: Snapshot, *, now_s: float, new_id: NewID) -> Decision:
        """Return the changes of all stages, final objects only, merged so that nothing is written twice."""
        changed = after.changed_since(before) if before is not None else None
        if changed is not None:
            changed = changed | self._proposed
        overlay = with_fields(after, log=ChangeLog())  # Its own log: what is decided here may be refused.
        groups: Groups[Key] = Groups()
        relied: dict[Key, set[Key]] = {}
        asks: list[float] = []
        for stage in self.stages:
            decision = stage(overlay, changed, now_s=now_s, new_id=new_id)
            if decision.ask_again_s is not None:
                asks.append(decision.ask_again_s)
            if not decision.changes:
                continue
            overlay = overlay.apply(decision.changes, index=after.index + 1, now_s=now_s)
            for change in decision.changes:
                keys = {key: on for single in singles(change) for key, on in (noted(single),)}
                groups.join(keys)
                for key, on in keys.items():
                    relied.setdefault(key, set()).update(on)
            if changed is not None:
                changed = changed | set(groups.keys())
        self._proposed = set(groups.keys())
        return Decision(changes=merged(after, overlay, groups, relied), ask_again_s=min(asks, default=None))


def singles(change: Change | Atomic) -> Iterator[Put | Delete]:
    """Yield the writes of a change; deciders never write values."""
    for single in change.changes if isinstance(change, Atomic) else (change,):
        assert not isinstance(single, PutValue)
        yield single


def noted(change: Put | Delete) -> tuple[Key, list[Key]]:
    """Return what a change writes and what it relied on."""
    key = (change.kind, change.id) if isinstance(change, Delete) else (kind_of(change.obj), change.obj.id)
    return key, [(relied.kind, relied.id) for relied in change.relied_on]


def merged(
    after: Snapshot, overlay: Snapshot, groups: Groups[Key], relied: dict[Key, set[Key]]
) -> tuple[Change | Atomic, ...]:
    """Return the difference between two snapshots as changes to the first, by group; services come last.

    Tasks rely on their service as it was before this round, so its own change must not be applied before theirs.
    """
    last: list[Change | Atomic] = []
    first: list[Change | Atomic] = []
    for group in groups:
        writes = sorted(group, key=lambda key: (key[0] is Kind.SERVICE, key))
        changes = [change for key in writes if (change := difference(after, overlay, key, relied[key])) is not None]
        if not changes:
            continue
        target = last if any(kind is Kind.SERVICE for kind, _ in group) else first
        target.append(changes[0] if len(changes) == 1 else Atomic(tuple(changes)))
    return (*first, *last)


def difference(after: Snapshot, overlay: Snapshot, key: Key, relied: set[Key]) -> Put | Delete | None:
    """Return what leads from one state of an object to another; None when it was neither there nor is."""
    old, new = after.get(*key), overlay.get(*key)
    on = tuple(Relied(kind, object_id, version_of(after.get(kind, object_id))) for kind, object_id in sorted(relied))
    if new is not None:
        return Put(replace(new, version=Version(index=version_of(old))), on)
    return Delete(*key, version_of(old), on) if old is not None else None


def version_of(obj: AnyObject | None) -> int:
    """Return an object's version; 0 when there is none."""
    return 0 if obj is None else obj.version.index

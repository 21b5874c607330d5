"""One decision from several stages: each sees what the ones before it decided, and all of it is one proposal.

So one commit takes a task from nothing to ASSIGNED.  Pure but for the stages' caches: what a stage keeps between calls
can be rebuilt from any snapshot.  Called by `vault.daemon.loops`, through `vault.orchestrator.control`.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec.structs import replace

from vault.model.base import Version
from vault.model.ids import Kind, NewID
from vault.orchestrator.groups import Groups
from vault.store.changes import AnyObject, Atomic, Change, Delete, Put, PutValue, Relied, kind_of
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot


class Stage(Protocol):
    """Decides about a snapshot in which `changed` may differ from the last one it saw; None = look at everything."""

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        """Return changes to `snap`; no clock, chance, log or I/O."""
        ...


class Rounds:
    """A decider made of stages.

    The snapshot it is given must contain what it proposed before, or the store must have refused that: decide, wait for
    `propose` to return, then decide about the newest snapshot.  `before` stays the same while something is refused.

    ending: stages that declare tasks ended.  What they decide is proposed alone: no task may be given what another
    leaves behind in a proposal of which the store may refuse the ending.
    """

    def __init__(self, stages: Sequence[Stage], *, ending: Sequence[Stage] = ()) -> None:
        self.stages = stages
        self.ending = ending
        self._proposed: set[Key] = set()  # In the last round; stages saw these objects as they may never become.
        self._unseen: set[Key] | None = set()  # Changes that `stages` were not told of yet; None = everything.
        self._told: set[Key] | None = set()  # What they were told of for the last proposal,
        self._before = -1  # and since which snapshot that was decided.

    def __call__(self, before: Snapshot | None, after: Snapshot, *, now_s: float, new_id: NewID) -> Decision:
        """Return the changes of the stages, final objects only, merged so that nothing is written twice."""
        changed = after.changed_since(before) if before is not None else None
        changed = union(changed, self._proposed)
        self._unseen = union(self._unseen, changed)
        if self._proposed and before is not None and before.index == self._before:
            # Part of it may have been refused, and `before` may hold what led to it: an ending was proposed meanwhile.
            self._unseen = union(self._unseen, self._told)
        draft = Draft(after, now_s=now_s, new_id=new_id)
        draft.run(self.ending, changed)
        if draft.groups:
            draft.asks.append(now_s)
            self._told = set()
        else:
            draft.run(self.stages, self._unseen)
            self._told, self._unseen = self._unseen, set()
        self._before = before.index if before is not None else -1
        self._proposed = set(draft.groups.keys())
        return Decision(changes=draft.merged(), ask_again_s=min(draft.asks, default=None))


def union(some: set[Key] | None, more: set[Key] | None) -> set[Key] | None:
    """Return the keys in either; None stands for every key."""
    return None if some is None or more is None else some | more


class Draft:
    """One decision in the making: the snapshot as it would become, and which changes belong together."""

    def __init__(self, after: Snapshot, *, now_s: float, new_id: NewID) -> None:
        self.asks: list[float] = []
        self.groups: Groups[Key] = Groups()
        self._after = after
        self._overlay = after
        self._relied: dict[Key, set[Key]] = {}
        self._now_s = now_s
        self._new_id = new_id

    def run(self, stages: Sequence[Stage], changed: set[Key] | None) -> None:
        """Let stages decide one after the other."""
        for stage in stages:
            told = union(changed, set(self.groups.keys())) if self.groups else changed
            decision = stage(self._overlay, told, now_s=self._now_s, new_id=self._new_id)
            if decision.ask_again_s is not None:
                self.asks.append(decision.ask_again_s)
            if decision.changes:
                if self._overlay is self._after:
                    self._overlay = self._after.apart()  # What is decided here may be refused.
                self._overlay = self._overlay.apply(decision.changes, index=self._after.index + 1, now_s=self._now_s)
            for change in decision.changes:
                keys = dict(map(noted, singles(change)))
                self.groups.join(keys)
                for key, on in keys.items():
                    self._relied.setdefault(key, set()).update(on)

    def merged(self) -> tuple[Change | Atomic, ...]:
        """Return what leads from the snapshot to what it would become, by group; services come last.

        Tasks rely on their service as it was before this round, so its own change must not be applied before theirs.
        """
        first: list[Change | Atomic] = []
        last: list[Change | Atomic] = []
        for group in self.groups:
            writes = sorted(group, key=lambda key: (key[0] is Kind.SERVICE, key))
            found = (difference(self._after, self._overlay, key, self._relied[key]) for key in writes)
            if changes := [change for change in found if change is not None]:
                target = last if any(kind is Kind.SERVICE for kind, _ in group) else first
                target.append(changes[0] if len(changes) == 1 else Atomic(tuple(changes)))
        return (*first, *last)


def singles(change: Change | Atomic) -> Iterator[Put | Delete]:
    """Yield the writes of a change; deciders never write values."""
    for single in change.changes if isinstance(change, Atomic) else (change,):
        assert not isinstance(single, PutValue)
        yield single


def noted(change: Put | Delete) -> tuple[Key, list[Key]]:
    """Return what a change writes and what it relied on."""
    key = (change.kind, change.id) if isinstance(change, Delete) else (kind_of(change.obj), change.obj.id)
    return key, [(relied.kind, relied.id) for relied in change.relied_on]


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

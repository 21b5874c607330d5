"""The revision of a stack: a short text that changes whenever somebody changes the stack, by whatever way.

Pure; called by `vault.stack.deploy` and `vault.api.stacks`.  `1042-9f3a21c0`: the commit in which a user last changed
one of the stack's objects, and a digest over all of them, which also shows that one was removed.  What the cluster
itself notes on objects (the progress of an update, addresses) is no change.
"""

import hashlib
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from vault.model.base import Version
from vault.model.errors import VaultError
from vault.model.ids import Kind
from vault.model.network import Network
from vault.model.secret import Config, Secret
from vault.model.service import Service
from vault.model.stack import StackPart, StackRecord
from vault.stack.namespace import NAMESPACE_LABEL
from vault.store.snapshot import Snapshot

NONE: Final = "0"  # Of a stack that is not there.
KINDS: Final = (Kind.NETWORK, Kind.SECRET, Kind.CONFIG, Kind.SERVICE)
_DIGITS: Final = 8
_NAMED: Final = 5  # So many changes are named at the most.


class BaseMoved(VaultError):
    """A deploy was made for a revision that is not the present one."""

    status = HTTPStatus.CONFLICT

    def __init__(self, name: str, *, base: str, present: str, happened: str) -> None:
        super().__init__(
            f"stack {name} is at revision {present}, and this deploy was made for {base}: {happened}. "
            "See what it would change now (vault stack deploy --plan), then deploy again with that revision, or none"
        )


def stacks_in(snapshot: Snapshot) -> dict[str, tuple[StackPart, ...]]:
    """Return the objects that carry a stack's label, by stack, sorted: stacks by name, objects by `KINDS` and name."""
    found: dict[str, list[StackPart]] = {}
    for kind in KINDS:
        labelled = [obj for obj in _objects(snapshot, kind) if obj.spec.labels.get(NAMESPACE_LABEL)]
        for obj in sorted(labelled, key=lambda obj: obj.spec.name):
            part = StackPart(kind=kind.value, id=obj.id, name=obj.spec.name, index=_changed(obj))
            found.setdefault(obj.spec.labels[NAMESPACE_LABEL], []).append(part)
    return {name: tuple(found[name]) for name in sorted(found)}


def parts_of(snapshot: Snapshot, name: str) -> tuple[StackPart, ...]:
    """Return the objects of one stack; () when there is no such stack."""
    return stacks_in(snapshot).get(name, ())


def record_of(snapshot: Snapshot, name: str) -> StackRecord | None:
    """Return what is remembered of a stack's last deploy; None for one that no deploy of ours has changed."""
    found = (record for record in snapshot.stacks.values() if record.spec.name == name)
    return max(found, key=lambda record: record.version.index, default=None)


def revision_of(parts: Iterable[StackPart], index: int = 0) -> str:
    """Return the revision of a stack that has these parts.

    index: the commit of the deploy that left them so, which stands for 0 of all but networks.
    """
    live = sorted((part.kind, part.id, _at(part, index)) for part in parts if part.action != "remove")
    if not live:
        return NONE
    digest = hashlib.sha256("\n".join(f"{kind} {id_} {at}" for kind, id_, at in live).encode()).hexdigest()
    return f"{max(at for _, _, at in live)}-{digest[:_DIGITS]}"


def check_base(snapshot: Snapshot, name: str, base: str) -> None:
    """Raise `BaseMoved`, which says what happened since, unless `base` is the stack's present revision."""
    parts = parts_of(snapshot, name)
    present = revision_of(parts)
    if base != present:
        raise BaseMoved(name, base=base[:64], present=present, happened=_happened(snapshot, name, base, parts))


def _at(part: StackPart, index: int) -> int:
    return 0 if part.kind == Kind.NETWORK else part.index or index


def _objects(snapshot: Snapshot, kind: Kind) -> Iterable[Network | Secret | Config | Service]:
    match kind:
        case Kind.NETWORK:
            return snapshot.networks.values()
        case Kind.SECRET:
            return snapshot.secrets.values()
        case Kind.CONFIG:
            return snapshot.configs.values()
        case _:
            return snapshot.services.values()


def _changed(obj: Network | Secret | Config | Service) -> int:
    """Return the commit in which a user last changed an object; a network never changes."""
    match obj:
        case Network():
            return 0
        case Service():
            return (obj.spec_version or Version()).index or obj.version.index
        case _:
            return obj.version.index


def _happened(snapshot: Snapshot, name: str, base: str, parts: tuple[StackPart, ...]) -> str:
    """Return what is known of what happened to a stack since a revision, as part of a sentence."""
    number, dash, _ = base.partition("-")
    if base != NONE and not (dash and number.isascii() and number.isdecimal() and len(number) < 20):
        return "no stack ever had that revision"
    since = int(number) if base != NONE else 0
    record = record_of(snapshot, name)
    happened = [f"{part.kind} {part.name} was made or changed" for part in parts if part.index > since]
    if record is not None and record.version.index <= since:
        ids = {part.id for part in parts}
        lost = (part for part in record.parts if part.action != "remove" and part.id not in ids)
        happened += [f"{part.kind} {part.name} was removed" for part in lost]
    if not happened:
        happened = ["something of it was removed" if parts else "it is not there any more"]
    more = len(happened) - _NAMED
    told = ", ".join(happened[:_NAMED]) + (f", and {more} more" if more > 0 else "")
    if record is not None and record.version.index > since:
        when = record.created_at.isoformat(timespec="seconds").replace("+00:00", "Z")
        return f"it was deployed again at {when} by {record.deployed_by or 'an unknown client'}; {told}"
    return told

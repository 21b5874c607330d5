"""A deploy as one proposal: what it does, the changes that do it, and the record by which it is known again.

Pure; called by `vault.api.stacks` inside `Store.submit`, against the proposed snapshot.  All of it is committed
together, or nothing of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vault.crypto.plaintext import Plaintext
from vault.model.ids import Kind, NewID
from vault.model.secret import Config, Secret
from vault.model.stack import StackPart, StackRecord, StackSpec
from vault.model.task import State
from vault.stack.carry import Carrying, Done
from vault.stack.convert import Deployment
from vault.stack.existing import existing_in
from vault.stack.generations import Key, Tag, settled
from vault.stack.namespace import NAMESPACE_LABEL
from vault.stack.plan import plan
from vault.stack.revision import parts_of, stacks_in
from vault.store.changes import Change, Delete, Put
from vault.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How to deploy."""

    prune: bool = False  # Remove what the files no longer name: services, and secrets and configs that nothing uses.
    keep_images: bool = False  # A service whose image in the file did not change keeps the image it has.
    rotate: bool = False  # Changed bytes of a file become a new secret or config.
    auths: Mapping[str, Plaintext] = field(default_factory=dict)  # Credentials, by the host of the registry.


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a deploy, or a removal, comes to."""

    changes: tuple[Change, ...]  # The record's among them; none when there is nothing to do.
    done: tuple[Done, ...]
    parts: tuple[StackPart, ...]  # What the record says.


def deploy(
    deployment: Deployment,
    snapshot: Snapshot,
    wishes: Wishes,
    *,
    same: Mapping[Key, bool],
    tag: Tag,
    record_id: str,
    caller: str,
    new_id: NewID,
    now_s: float,
) -> Proposal:
    """Return what brings the cluster to what a stack says.

    same, tag: as in `vault.stack.generations`.  record_id: drawn for this deploy before it was sent.
    Raises `StackError` or `StepRefused` for what stands in the way, `NotCompared`.
    """
    wanted = settled(deployment, snapshot, same=same, tag=tag, rotate=wishes.rotate)
    steps = plan(wanted, existing_in(snapshot), prune=wishes.prune, keep_images=wishes.keep_images)
    carrying = Carrying(snapshot, new_id=new_id, now_s=now_s, auths=wishes.auths)
    carrying.take_all(steps)
    if wishes.prune:
        for superseded in tuple(_superseded(wanted, carrying.draft)):
            carrying.remove_value(superseded)
    return _proposal(carrying, snapshot, wanted.namespace.name, record_id=record_id, caller=caller)


def removal(snapshot: Snapshot, name: str, *, new_id: NewID, now_s: float) -> Proposal:
    """Return what removes everything of a stack.  Raises `StepRefused` for what something outside of it still uses."""
    carrying = Carrying(snapshot, new_id=new_id, now_s=now_s)
    parts = parts_of(snapshot, name)
    for part in (part for part in parts if part.kind == Kind.SERVICE):
        carrying.remove_service(part.id, part.name)
    for part in parts:
        found = snapshot.get(Kind(part.kind), part.id)
        if isinstance(found, Secret | Config):
            carrying.remove_value(found)
    for part in (part for part in parts if part.kind == Kind.NETWORK):
        carrying.remove_network(part.id, part.name)
    return _proposal(carrying, snapshot, name, record_id="", caller="")


def _superseded(wanted: Deployment, draft: Snapshot) -> Iterator[Secret | Config]:
    """Yield the stack's secrets and configs that its files do not name, and that nothing uses any more.

    In use: by a service's spec or the spec that it would roll back to, and by tasks that may still run.
    """
    stack = wanted.namespace.name
    by_tasks: set[Key] | None = None
    for kind, news in ((Kind.SECRET, wanted.secrets), (Kind.CONFIG, wanted.configs)):
        named = {new.spec.name for new in news}
        held: Iterable[Secret | Config] = draft.secrets.values() if kind is Kind.SECRET else draft.configs.values()
        for one in sorted(held, key=lambda one: one.spec.name):
            if one.spec.labels.get(NAMESPACE_LABEL) != stack or one.spec.name in named:
                continue
            if any(draft.services_using(kind, one.id)):
                continue
            if by_tasks is None:
                by_tasks = set(_used_by_tasks(draft, stack))
            if (kind, one.id) not in by_tasks:
                yield one


def _used_by_tasks(draft: Snapshot, stack: str) -> Iterator[Key]:
    """Yield the secrets and configs of the tasks of a stack's services that are to run, or still do."""
    for service in draft.services.values():
        if service.spec.labels.get(NAMESPACE_LABEL) != stack:
            continue
        for task in draft.tasks_of(service.id):
            if task.desired_state <= State.RUNNING and task.state <= State.RUNNING:
                container = task.spec.container_spec
                yield from ((Kind.SECRET, one.secret_id) for one in container.secrets)
                yield from ((Kind.CONFIG, one.config_id) for one in container.configs)


def _proposal(carrying: Carrying, snapshot: Snapshot, name: str, *, record_id: str, caller: str) -> Proposal:
    """Return what was carried out, with the record of it in place of the one before."""
    parts = tuple(_parts(carrying, name))
    if not carrying.changes:
        return Proposal(changes=(), done=tuple(carrying.done), parts=parts)
    there = stacks_in(carrying.draft)
    ended = [one for one in snapshot.stacks.values() if one.spec.name == name or one.spec.name not in there]
    changes = [Delete(Kind.STACK, one.id, one.version.index) for one in ended]
    record: list[Change] = []
    if record_id:
        stack = StackRecord(id=record_id, spec=StackSpec(name=name), deployed_by=caller, parts=parts)
        record.append(Put(stack))
    return Proposal(changes=(*carrying.changes, *changes, *record), done=tuple(carrying.done), parts=parts)


def _parts(carrying: Carrying, name: str) -> Iterator[StackPart]:
    """Yield what was done, in order, then what the stack has besides."""
    left = {(part.kind, part.id): part for part in parts_of(carrying.draft, name)}
    for done in carrying.done:
        part = left.pop((done.kind.value, done.id), None)
        # The draft's index is a guess: 0 stands for the commit that the store makes of it.
        index = 0 if part is None or part.index == carrying.index else part.index
        yield StackPart(kind=done.kind.value, id=done.id, name=done.name, action=done.action, index=index)
    yield from left.values()

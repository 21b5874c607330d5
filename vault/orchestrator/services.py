"""The stage that keeps every service as its spec says: number of tasks, restarts, updates, holds.

Pure but for a cache of what is due, which it can rebuild.  Called by `vault.orchestrator.rounds` as the stage after
`orphans`.  Work follows what changed: a task's report makes it look at that task's slot, not at the whole service.
"""

from collections import deque
from collections.abc import Iterable
from itertools import chain
from math import inf

from vault.model.ids import Kind, NewID
from vault.model.service import Service
from vault.model.task import Task
from vault.orchestrator import depends, exchange, global_, jobs, judge, replicated, restart, update
from vault.orchestrator.job_slots import JobBook
from vault.orchestrator.leaving import Leaving
from vault.orchestrator.progress import Progress
from vault.orchestrator.work import SlotKey, Work
from vault.store.changes import Atomic, Change, Put
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot

MAX_LOOKS = 2_000  # Tasks looked at in one decision, about 10 ms; what is left over follows in the next.
MAX_CHANGES = replicated.MAX_NEW


class Services:
    """Looks at the slots and services that something happened to, and at those whose time has come."""

    def __init__(self) -> None:
        self._due_s: dict[str, dict[SlotKey | None, float]] = {}  # Service -> slot, or None for all of it -> when.
        self._empty: dict[str, deque[int]] = {}  # Service -> slots to fill, without another look at all of it.
        self._waiting = depends.Waiting()
        self._updates = update.Updates()
        self._books: dict[str, JobBook] = {}  # Job -> which of its slots have room.
        self._leaving = Leaving()
        self._made: dict[str, tuple[str, SlotKey]] = {}  # Tasks that the last decision was to make -> service and slot.

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        """Return what brings the services concerned nearer to their specs."""
        if changed is None:
            self._empty, self._books, self._made = {}, {}, {}
            self._updates, self._leaving = update.Updates(), Leaving()
            self._due_s = {service_id: {None: now_s} for service_id in {*snap.services, *snap.by_service}}
        else:
            for service_id, key in chain(concerned(snap, changed), self._refused(snap, changed)):
                self._due_s.setdefault(service_id, {})[key] = now_s
            for service_id in self._waiting.concerned(snap, changed):
                self._due_s.setdefault(service_id, {})[None] = now_s
        changes: list[Change | Atomic] = []
        filling = sorted(self._empty)
        looks = 0
        for service_id in sorted(self._due_s):
            due = [key for key, due_s in self._due_s[service_id].items() if due_s <= now_s]
            if not due:
                continue
            if looks >= MAX_LOOKS or len(changes) >= MAX_CHANGES:
                break
            service = snap.services.get(service_id)
            keys = None if service is None or self._is_whole(service, due) else [key for key in due if key is not None]
            if service is None:
                self._forget(service_id)
                self._leaving.note(snap, service_id, due)
                looks += len(due)
            else:
                looks += len(due) if keys is not None else 1 + len(snap.by_service.get(service_id, ()))
                work = look(Work(snap, service, keys, now_s=now_s, new_id=new_id), self._updates, self._books)
                changes.extend(work.changes())
                self._note(work, now_s)
                if work.keys is None and service_id in filling:
                    filling.remove(service_id)  # What is empty was found anew.
        for service_id in filling:
            # A look at the whole that is due and had no turn yet comes first: what is to be filled may be another
            # matter by now.
            whole_first = self._due_s.get(service_id, {}).get(None, inf) <= now_s
            if service_id in self._empty and not whole_first and len(changes) < MAX_CHANGES:
                changes.extend(self._fill(snap, service_id, now_s, new_id))
        self._made = made_by(changes)
        changes.extend(self._leaving.ask(snap, now_s))
        asks = [at_s for due_of in self._due_s.values() for at_s in due_of.values()]
        asks += [now_s] * bool(self._empty or self._leaving)
        return Decision(changes=tuple(changes), ask_again_s=min(asks, default=None))

    def _refused(self, snap: Snapshot, changed: set[Key]) -> Iterable[tuple[str, SlotKey]]:
        """Yield the service and slot of each task that was to be made, and that the store did not take.

        The news that it was to be made for may be older than those which are told again with it.
        """
        for task_id, slot in self._made.items():
            if (Kind.TASK, task_id) in changed and task_id not in snap.tasks:
                yield slot

    def _forget(self, service_id: str) -> None:
        """Drop what is known of a service that is gone."""
        self._updates.forget(service_id)
        for known in (self._due_s, self._empty, self._books):
            known.pop(service_id, None)

    def _is_whole(self, service: Service, due: list[SlotKey | None]) -> bool:
        """Whether a service must be looked at as a whole: it changed, or earlier looks did not find what is known."""
        is_new_job = service.spec.mode.replicated_job is not None and service.id not in self._books
        return None in due or not self._updates.knows(service) or is_new_job

    def _fill(self, snap: Snapshot, service_id: str, now_s: float, new_id: NewID) -> tuple[Change | Atomic, ...]:
        """Make tasks for some of the slots that are empty; after the last of them the whole is looked at again."""
        empty = self._empty[service_id]
        slots = [empty.popleft() for _ in range(min(MAX_CHANGES, len(empty)))]
        if not empty:
            del self._empty[service_id]
            self._due_s.setdefault(service_id, {})[None] = now_s
        work = Work(snap, snap.services[service_id], slots, now_s=now_s, new_id=new_id)
        work.waits_for = depends.unmet(snap, work.service)
        replicated.fill(work)
        restart.release_held(work)
        return work.changes()

    def _note(self, work: Work, now_s: float) -> None:
        """Remember when to look again at what was looked at just now."""
        due = self._due_s.pop(work.service.id)
        self._waiting.note(work)
        if work.keys is None:
            self._empty.pop(work.service.id, None)
            if work.empty:
                self._empty[work.service.id] = deque(work.empty)
        kept = {key: at_s for key, at_s in due.items() if work.keys is not None and key not in work.keys}
        if work.unsure and not work.empty:
            kept[None] = now_s  # Part of it may be refused: only a look at the whole that finds nothing to do ends it.
        for key, at in work.due.items():
            kept[key] = min(max(at.timestamp(), now_s), kept.get(key, inf))
        if kept:
            self._due_s[work.service.id] = kept


def concerned(snap: Snapshot, changed: set[Key]) -> Iterable[tuple[str, SlotKey | None]]:
    """Yield the services, and their slots, that a change of these objects may concern; None = the whole service."""
    for kind, object_id in changed:
        if kind is Kind.SERVICE:
            yield object_id, None
        elif kind is Kind.TASK and (task := snap.tasks.get(object_id)) is not None:
            yield task.service_id, task.slot_key
        elif kind is Kind.NODE:
            yield from ((task.service_id, task.slot_key) for task in snap.tasks_on(object_id))
            yield from ((service.id, object_id) for service in snap.services.values() if service.is_global)


def made_by(changes: Iterable[Change | Atomic]) -> dict[str, tuple[str, SlotKey]]:
    """Return the service and slot of each task that is new, by its id."""
    singles = chain.from_iterable(change.changes if isinstance(change, Atomic) else (change,) for change in changes)
    new = (one.obj for one in singles if isinstance(one, Put) and not one.obj.version.index)
    return {task.id: (task.service_id, task.slot_key) for task in new if isinstance(task, Task)}


def look(work: Work, updates: update.Updates, books: dict[str, JobBook]) -> Work:
    """Decide about a service, or about some of its slots; return what was decided.

    books: of the jobs of slots, by id; looked up and kept up to date.
    """
    work.waits_for = depends.unmet(work.snap, work.service)
    depends.note_met(work)
    if work.service.is_job:
        jobs.reconcile(work, books)
        depends.tell(work)
        work.unsure = work.keys is None and work.decided
        return work
    progress = updates.progress(work)
    if progress is not None and judge.has_failed(work, progress):
        return work  # The rest is decided about what the service is then.
    if work.service.is_global:
        global_.reconcile(work)
        restart.restart_ended(work)
    else:
        restart.restart_ended(work)
        if work.keys is None:
            replicated.reconcile(work)
    if work.keys is not None and needs_whole(work, progress):
        return look(work.as_whole(), updates, books)
    work.unsure = work.keys is None and work.decided
    if work.keys is None or progress is not None:
        update.advance(work, progress)
    exchange.hand_over(work)
    restart.release_held(work)
    depends.tell(work)
    return work


def needs_whole(work: Work, progress: Progress | None) -> bool:
    """Whether a look at some slots shows that all must be looked at: an update begins, or some slot is empty."""
    if progress is None and update.is_due(work):
        return True
    return not work.service.is_global and any(map(work.misses, work.keys or ()))

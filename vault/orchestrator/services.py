"""The stage that keeps every service as its spec says: number of tasks, restarts, updates, holds.

Pure but for a cache of times it can rebuild.  Called by `vault.orchestrator.rounds` as the stage after `enforcer`.
"""

from vault.model.base import from_s
from vault.model.ids import Kind, NewID
from vault.model.service import Service
from vault.model.task import State
from vault.orchestrator import global_, replicated, restart, update
from vault.orchestrator.work import Work, asked_to_stop
from vault.store.changes import Atomic, Change, Put
from vault.store.decision import Decision
from vault.store.snapshot import Key, Snapshot

BUDGET = 20_000  # Tasks looked at in one decision, about 20 ms; the services left over follow in the next.


class Services:
    """Looks at the services that something happened to, and at those whose time has come."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}  # Service -> when to look at it again.

    def __call__(self, snap: Snapshot, changed: set[Key] | None, *, now_s: float, new_id: NewID) -> Decision:
        """Return what brings the services concerned nearer to their specs."""
        if changed is None:
            self._due_s = dict.fromkeys([*snap.services, *_without_service(snap)], now_s)
        else:
            self._due_s.update(dict.fromkeys(concerned(snap, changed), now_s))
        changes: list[Change | Atomic] = []
        budget = BUDGET
        for service_id in sorted(key for key, due_s in self._due_s.items() if due_s <= now_s):
            if budget <= 0:
                break
            budget -= 1 + len(snap.by_service.get(service_id, ()))
            del self._due_s[service_id]
            service = snap.services.get(service_id)
            if service is None:
                changes.extend(_remove_tasks(snap, service_id, now_s))
                continue
            work = Work(snap, service, now_s=now_s, new_id=new_id)
            _decide(work)
            changes.extend(work.changes())
            if work.again_at is not None:
                self._due_s[service_id] = max(work.again_at.timestamp(), now_s)
        return Decision(changes=tuple(changes), ask_again_s=min(self._due_s.values(), default=None))


def concerned(snap: Snapshot, changed: set[Key]) -> set[str]:
    """Return the services that a change of these objects may concern."""
    services: set[str] = set()
    for kind, object_id in changed:
        if kind is Kind.SERVICE:
            services.add(object_id)
        elif kind is Kind.TASK and (task := snap.tasks.get(object_id)) is not None:
            services.add(task.service_id)
        elif kind is Kind.NODE:
            services.update(task.service_id for task in snap.tasks_on(object_id))
            services.update(service.id for service in snap.services.values() if service.is_global)
    return services


def _decide(work: Work) -> None:
    if not _is_served(work.service):
        return
    if work.service.is_global:
        global_.reconcile(work)
        restart.restart_ended(work)
    else:
        restart.restart_ended(work)
        replicated.reconcile(work)
    update.advance(work)
    restart.release_held(work)


def _is_served(service: Service) -> bool:
    """Whether the service is of a mode that this orchestrator runs; the API refuses the others."""
    mode = service.spec.mode
    return mode.replicated_job is None and mode.global_job is None


def _without_service(snap: Snapshot) -> set[str]:
    return {service_id for service_id in snap.by_service if service_id not in snap.services}


def _remove_tasks(snap: Snapshot, service_id: str, now_s: float) -> list[Change | Atomic]:
    """Return what asks the tasks of a service that is no more to go."""
    now = from_s(now_s)
    return [
        Put(asked_to_stop(task, now, State.REMOVE))
        for task in snap.tasks_of(service_id)
        if task.desired_state < State.REMOVE
    ]

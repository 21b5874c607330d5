"""Tasks of removed services are asked to go, some in each decision.

Pure but for a queue, which any snapshot can rebuild.  Called by `services` for services that are no more: once with
all of their tasks, and then with those that something happened to, so that the end of each costs nothing of the others.
"""

from collections.abc import Iterable
from itertools import islice

from vault.model.base import from_s
from vault.model.task import State
from vault.orchestrator.work import SlotKey, asked_to_stop
from vault.store.changes import Put
from vault.store.snapshot import Snapshot

MAX_ASKED = 512  # Tasks in one decision,
MAX_LOOKS = 2_000  # and so many looked at for it.


class Leaving:
    """The tasks that are to be looked at."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._ids)

    def note(self, snap: Snapshot, service_id: str, keys: Iterable[SlotKey | None]) -> None:
        """Look at some slots of a service that is no more; None = at all of them."""
        slots = set(keys)
        if None in slots:
            # Those of one node together, so that it is told of all of them at once, and reports them at once.
            tasks = sorted(snap.tasks_of(service_id), key=lambda task: (task.node_id, task.id))
            self._ids.update((task.id, None) for task in tasks)
            return
        found = (task.id for key in slots if key is not None for task in snap.tasks_at(service_id, key))
        self._ids.update(dict.fromkeys(sorted(found)))

    def ask(self, snap: Snapshot, now_s: float) -> list[Put]:
        """Return what asks tasks to go that nobody asked yet, as many as one decision takes."""
        now, asked = from_s(now_s), list[Put]()
        for task_id in list(islice(self._ids, MAX_LOOKS)):
            if len(asked) >= MAX_ASKED:
                break
            del self._ids[task_id]
            task = snap.tasks.get(task_id)
            if task is not None and task.desired_state < State.REMOVE and task.service_id not in snap.services:
                asked.append(Put(asked_to_stop(task, now, State.REMOVE)))
        return asked

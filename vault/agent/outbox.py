"""What this node observed and no manager has acknowledged: the newest status of each task.

Pure but for its memory.  Used by `vault.agent.worker`.  One report is under way at a time; what happens meanwhile goes
into the next.
"""

from datetime import datetime
from itertools import islice

from vault.model.task import TaskStatus
from vault.rpc.messages import STATUSES_MAX, Report


class Outbox:
    """Statuses on their way to the managers."""

    def __init__(self) -> None:
        self._waiting: dict[str, TaskStatus] = {}
        self._sent: dict[str, TaskStatus] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting.keys() | self._sent.keys())

    def put(self, task_id: str, status: TaskStatus) -> None:
        """Keep a status until it is acknowledged, or a newer one is there."""
        self._waiting[task_id] = status

    def take(self, now: datetime) -> Report | None:
        """Return the next report; None while one is under way, or when there is nothing to say."""
        if self._sent or not self._waiting:
            return None
        self._number += 1
        self._sent = dict(islice(self._waiting.items(), STATUSES_MAX))
        for task_id in self._sent:
            del self._waiting[task_id]
        return Report(number=self._number, sent_at=now, statuses=tuple(self._sent.items()))

    def acknowledge(self, number: int) -> None:
        """Forget what report `number` said."""
        if number == self._number:
            self._sent = {}

    def rewind(self) -> None:
        """Say again what was not acknowledged; for the start of a session."""
        self._waiting = self._sent | self._waiting
        self._sent = {}

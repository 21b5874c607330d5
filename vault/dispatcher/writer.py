"""What nodes report and whether they are there, written to the store: many nodes, few commits.

Not pure.  Called by `vault.dispatcher.service`.  While one commit is under way everything else gathers for the next;
what the store does not take, for want of space or of a leader, is kept and tried again: it stays true.  Newest wins, so
what waits is bounded by the nodes and tasks there are.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from vault.dispatcher.pacing import Allowance
from vault.dispatcher.reports import observed
from vault.dispatcher.stream import Store
from vault.model.errors import VaultError
from vault.model.node import NodeDescription, NodeStatus
from vault.model.task import TaskStatus
from vault.store.changes import Change, Put
from vault.store.snapshot import Snapshot

logger = logging.getLogger(__name__)

COMMIT_ITEMS: Final = 500  # About 15 ms of the event loop.
GATHER_S: Final = 0.05  # At most so often,
BURST: Final = 4  # but some at once: a task that starts is reported three times within 100 ms.
RETRY_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """How a node is to be shown."""

    status: NodeStatus
    description: NodeDescription | None = None  # None: as it is.


@dataclass(slots=True)
class _Waiting:
    """What one commit takes."""

    presence: dict[str, Presence] = field(default_factory=dict)
    statuses: dict[tuple[str, str], TaskStatus] = field(default_factory=dict)  # By node and task.
    written: list[Callable[[], None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.presence or self.statuses or self.written)


class Writer:
    """Gathers and commits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting = _Waiting()
        self._news = asyncio.Event()

    def shows(self, node_id: str, presence: Presence) -> None:
        """Let a node be shown so from now on."""
        before = self._waiting.presence.get(node_id)
        if presence.description is None and before is not None and before.description is not None:
            presence = Presence(status=presence.status, description=before.description)
        self._waiting.presence[node_id] = presence
        self._news.set()

    def observed(self, node_id: str, statuses: Iterable[tuple[str, TaskStatus]], written: Callable[[], None]) -> None:
        """Write what a node saw of its tasks, and call `written` once that is in the store."""
        tasks = self._store.committed.tasks
        for task_id, status in statuses:
            task = tasks.get(task_id)
            if task is None or task.node_id != node_id:
                continue
            before = self._waiting.statuses.get((node_id, task_id))
            if before is None or before.state <= status.state:
                self._waiting.statuses[node_id, task_id] = status
        self._waiting.written.append(written)
        self._news.set()

    async def run(self) -> None:
        """Commit until cancelled."""
        allowance, now = Allowance(every_s=GATHER_S, burst=BURST), asyncio.get_running_loop().time
        while True:
            await self._news.wait()
            self._news.clear()
            waiting, self._waiting = self._waiting, _Waiting()
            while waiting:
                await self._commit(waiting)
            await asyncio.sleep(allowance.pause_s(now()))

    async def _commit(self, waiting: _Waiting) -> None:
        """Write a piece of what waits, and take it out."""
        presence = dict(list(waiting.presence.items())[:COMMIT_ITEMS])
        statuses = dict(list(waiting.statuses.items())[: COMMIT_ITEMS - len(presence)])

        def build(snap: Snapshot) -> Sequence[Change]:
            shown = [put for node_id, wanted in presence.items() for put in _shown(snap, node_id, wanted)]
            seen = [put for (node_id, i), status in statuses.items() for put in observed(snap, node_id, i, status)]
            return (*shown, *seen)

        while not await self._submitted(build):
            await asyncio.sleep(RETRY_S)
            for node_id in presence.keys() & self._waiting.presence.keys():
                del presence[node_id]  # Something newer is to be said of it.
        for node_id in list(waiting.presence)[:COMMIT_ITEMS]:
            waiting.presence.pop(node_id)
        for key in statuses:
            del waiting.statuses[key]
        if not waiting.presence and not waiting.statuses:
            written, waiting.written = waiting.written, []
            for tell in written:
                tell()

    async def _submitted(self, build: Callable[[Snapshot], Sequence[Change]]) -> bool:
        try:
            await self._store.submit(build)
        except VaultError as error:
            logger.warning("observations_not_written", extra={"reason": error.message})
            return False
        return True


def _shown(snap: Snapshot, node_id: str, wanted: Presence) -> tuple[Put, ...]:
    node = snap.nodes.get(node_id)
    if node is None:
        return ()
    status = wanted.status
    if not status.addr:
        status = msgspec.structs.replace(status, addr=node.status.addr)
    description = node.description if wanted.description is None else wanted.description
    if node.status == status and node.description == description:
        return ()
    return (Put(msgspec.structs.replace(node, status=status, description=description)),)

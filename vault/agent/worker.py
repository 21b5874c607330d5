"""The agent: takes assignments, runs one runner a task, and hands out reports.

Not pure.  Called by `vault.agent.connection`, which carries messages between it and a manager, and by the daemon.
Tasks run on while no manager answers; a full set afterwards puts everything right, and until one is there to its last
part nothing that was found running is touched.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime

from vault.agent.executors.port import Adopted, Phase
from vault.agent.machine import Machine
from vault.agent.outbox import Outbox
from vault.agent.overlay_parts import merged
from vault.agent.runner import Runner
from vault.agent.step import Local, adopted
from vault.model.errors import VaultError
from vault.model.ids import TaskID
from vault.model.overlay import OverlayChange
from vault.model.task import Task, TaskStatus
from vault.rpc.messages import Assignments, Report

logger = logging.getLogger(__name__)
NOTHING = -1  # No message follows this one.
RETRY_S = 1.0  # Between tries to end or remove a task, as Swarm's agent does.


class Gap(Exception):
    """A message does not follow the one before; the session must start again."""


class Replayed(Exception):
    """A message comes from an older leadership than one seen before; it is refused."""


class Worker:
    """The tasks of this node."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.runners: dict[str, Runner] = {}
        self._adopted: dict[str, Adopted] = {}
        self._left: dict[str, Runner] = {}  # Of an earlier vaultd, as it knew them; nothing is done for them.
        self._outbox = Outbox()
        self._seen: dict[str, TaskStatus] = {}  # Task -> what was observed last.
        self._news = asyncio.Event()
        self._sequence = NOTHING
        self._epoch = (0, 0)
        self._group: asyncio.TaskGroup | None = None
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._named: set[str] | None = None  # Tasks of a full set that is still coming in.
        self._overlay: OverlayChange | None = None  # Parts of what is told of networks, until the last is there.
        self._applying: asyncio.Future[None] | None = None
        self._reaped = False
        self._released = False

    @property
    def known(self) -> Mapping[str, Runner]:
        """Every task that is here, those too of which no manager has spoken since this vaultd began."""
        return {**self._left, **self.runners}

    async def run(self) -> None:
        """Take over what an earlier vaultd left, then run tasks until cancelled; they stay when it is."""
        self._adopted = {found.task_id: found for found in await self.machine.executor.adopt()}
        for found in self._adopted.values():
            if found.task is not None:
                self._left[found.task_id] = self._taken_over(found.task, found)
        async with asyncio.TaskGroup() as group:
            self._group = group
            for found in self._adopted.values():
                if found.phase is not Phase.PREPARED:
                    group.create_task(self._unlink(found))
            self._ready.set()
            await asyncio.Event().wait()

    def begin(self, epoch: tuple[int, int]) -> None:
        """A session begins: take a full set first, and nothing from a leadership older than this one."""
        self._epoch = max(self._epoch, epoch)
        self._sequence = NOTHING

    async def ready(self) -> None:
        """Wait until what an earlier vaultd left was looked at."""
        await self._ready.wait()

    async def assign(self, message: Assignments) -> None:
        """Do what a message says; raises `Gap` or `Replayed`.  A node that was released takes nothing more."""
        await self._ready.wait()
        if self._released:
            return
        epoch = (message.generation, message.counter)
        if epoch < self._epoch:
            raise Replayed
        if not message.full and (epoch != self._epoch or message.applies_to != self._sequence):
            raise Gap
        self._epoch, self._sequence = epoch, message.sequence
        if message.full:
            self._named, self._overlay = set(), None
        if message.overlay is not None:
            self._overlay = merged(self._overlay, message.overlay)
        if self._overlay is not None and message.overlay_complete:
            overlay, self._overlay = self._overlay, None
            await self._apply(overlay)
        self.machine.values.take(message)
        for task in message.put_tasks:
            self._put(task)
        self._drop(message.remove_tasks)
        if self._named is not None:
            self._named |= {task.id for task in message.put_tasks}
            self._named -= set(message.remove_tasks)
            if message.complete:
                self._drop([task_id for task_id in self.runners if task_id not in self._named])
                self._named = None
                await self._reap()

    async def reports(self) -> AsyncIterator[Report]:
        """Yield what was observed, the newest status of each task, until cancelled.

        The next report comes once this one is acknowledged.  What was not acknowledged before is said again first.
        """
        self._outbox.rewind()
        while True:
            if (report := self._outbox.take(datetime.now(UTC))) is not None:
                yield report
            else:
                self._news.clear()
                await self._news.wait()

    def acknowledge(self, number: int) -> None:
        """Forget a report: the managers have it."""
        self._outbox.acknowledge(number)
        self._news.set()

    async def release(self) -> None:
        """End and forget every task of this node, also those that no manager spoke of, and every value, for good.

        Returns when nothing is left of them.  The manager may go on replacing what ends, above all when it is this
        node's own: that must neither keep the node here nor leave it a value.
        """
        await self._ready.wait()
        self._released = True
        self._forget_adopted()
        self._drop(list(self.runners))
        while self.runners:
            self._idle.clear()
            await self._idle.wait()
        self.machine.values.clear()
        await self._apply(OverlayChange(full=True))
        await self.machine.executor.reap(())
        await self.machine.networks.reap(())

    async def _unlink(self, found: Adopted) -> None:
        """Take a task out of its networks when it ends before a manager has spoken of it: nobody is to send there."""
        try:
            if found.phase is Phase.RUNNING:
                exit_ = await self.machine.executor.wait(found.task_id)
                if (left := self._left.get(found.task_id)) is not None:
                    left.local = adopted(left.local, Phase.EXITED, exit_, left.local.health)
            if found.task_id not in self.runners:
                await self.machine.networks.remove(found.task_id)
        except VaultError as error:  # It is gone already, or `reap` tries again.
            logger.info("task_not_unlinked", extra={"task_id": found.task_id, "reason": error.message})

    async def _apply(self, change: OverlayChange) -> None:
        """Let the node's networks follow; a session that ends meanwhile leaves none of it half done."""
        if self._applying is not None:
            await asyncio.wait((self._applying,))
        self._applying = asyncio.ensure_future(self.machine.networks.apply(change))
        await asyncio.shield(self._applying)

    def _drop(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            if (runner := self.runners.get(task_id)) is not None:
                runner.drop()

    async def _reap(self) -> None:
        """Remove what an earlier vaultd left and nobody wants, once."""
        if self._reaped:
            return
        self._forget_adopted()
        known = {TaskID(task_id) for task_id in self.runners}
        await self.machine.executor.reap(known)
        await self.machine.networks.reap(known)
        self._reaped = True

    def _put(self, task: Task) -> None:
        runner = self.runners.get(task.id)
        if runner is not None:
            runner.tell(task)
            seen = self._seen.get(task.id)
            if self._named is not None and seen is not None and seen.state > task.status.state:
                self._observe(task.id, seen)  # A manager that was restored knows less than one that was told.
            return
        runner = self._taken_over(task, self._adopted.get(task.id))
        self._left.pop(task.id, None)
        self.runners[task.id] = runner
        assert self._group is not None, "assign waits until the agent runs"
        self._group.create_task(self._run(runner))

    def _taken_over(self, task: Task, found: Adopted | None) -> Runner:
        """Return the runner of a task, which knows what was found of it."""
        runner = Runner(self.machine, Local(task=task, state=task.status.state), self._observe)
        if found is not None:
            runner.adopt(found)
        return runner

    def _forget_adopted(self) -> None:
        self._adopted.clear()
        self._left.clear()

    async def _run(self, runner: Runner) -> None:
        try:
            while not await self._ran(runner):
                await asyncio.sleep(RETRY_S)
        finally:
            del self.runners[runner.task_id]
            self._seen.pop(runner.task_id, None)
            self._idle.set()

    async def _ran(self, runner: Runner) -> bool:
        try:
            await runner.run()
        except Exception:  # One task's trouble is not the others'; it is tried again from where it stands.
            logger.exception("task_runner_failed", extra={"task_id": runner.task_id})
            return False
        return True

    def _observe(self, task_id: str, status: TaskStatus) -> None:
        self._seen[task_id] = status
        self._outbox.put(task_id, status)
        self._news.set()

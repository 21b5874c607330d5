"""The agent: takes assignments, runs one runner a task, and hands out reports.

Not pure.  Called by the daemon, which connects it to a manager's session.  Tasks run on while no manager answers; a
full set afterwards puts everything right.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from vault.agent.executors.port import Adopted
from vault.agent.runner import Machine, Runner
from vault.agent.step import Local, adopted
from vault.model.ids import TaskID
from vault.model.task import Task, TaskStatus
from vault.rpc.messages import Assignments, Report

logger = logging.getLogger(__name__)
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
        self._pending: dict[str, TaskStatus] = {}
        self._news = asyncio.Event()
        self._sequence = 0
        self._epoch = (0, 0)
        self._group: asyncio.TaskGroup | None = None
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._reaped = False

    async def run(self) -> None:
        """Take over what an earlier vaultd left, then run tasks until cancelled; they stay when it is."""
        self._adopted = {found.task_id: found for found in await self.machine.executor.adopt()}
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._ready.set()
            await asyncio.Event().wait()

    async def assign(self, message: Assignments) -> None:
        """Do what a message says; raises `Gap` or `Replayed`."""
        await self._ready.wait()
        epoch = (message.generation, message.counter)
        if epoch < self._epoch:
            raise Replayed
        if not message.full and (epoch != self._epoch or message.applies_to != self._sequence):
            raise Gap
        self._epoch, self._sequence = epoch, message.sequence
        self.machine.values.take(message)
        for task in message.put_tasks:
            self._put(task)
        sent = {task.id for task in message.put_tasks}
        for task_id in [i for i in self.runners if i not in sent] if message.full else message.remove_tasks:
            if (runner := self.runners.get(task_id)) is not None:
                runner.drop()
        if message.full and not self._reaped:
            self._reaped = True
            self._adopted.clear()
            known = {TaskID(task_id) for task_id in self.runners}
            await self.machine.executor.reap(known)
            await self.machine.networks.reap(known)

    async def reports(self) -> AsyncIterator[Report]:
        """Yield what was observed, the newest status of each task; one report at a time, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            statuses, self._pending = self._pending, {}
            yield Report(statuses=tuple(statuses.items()))

    async def release(self) -> None:
        """End and forget every task of this node; returns when nothing is left of them."""
        for runner in self.runners.values():
            runner.drop()
        while self.runners:
            self._idle.clear()
            await self._idle.wait()

    def _put(self, task: Task) -> None:
        runner = self.runners.get(task.id)
        if runner is not None:
            runner.tell(task)
            return
        local = Local(task=task, state=task.status.state)
        found = self._adopted.get(task.id)
        local = adopted(local, found.phase if found else None, found.exit if found else None)
        runner = Runner(self.machine, local, self._observe)
        if found is not None:
            runner.container, runner.started_at = found.container, found.started_at
            runner.image = self.machine.images.find(task.spec.container_spec.image)
        self.runners[task.id] = runner
        assert self._group is not None, "assign waits until the agent runs"
        self._group.create_task(self._run(runner))

    async def _run(self, runner: Runner) -> None:
        try:
            while not await self._ran(runner):
                await asyncio.sleep(RETRY_S)
        finally:
            del self.runners[runner.task_id]
            self._idle.set()

    async def _ran(self, runner: Runner) -> bool:
        try:
            await runner.run()
        except Exception:  # One task's trouble is not the others'; it is tried again from where it stands.
            logger.exception("task_runner_failed", extra={"task_id": runner.task_id})
            return False
        return True

    def _observe(self, task_id: str, status: TaskStatus) -> None:
        self._pending[task_id] = status
        self._news.set()

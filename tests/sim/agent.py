"""A node's vaultd in virtual time: what `vault.agent.worker` and `runner` do.

`step`, `health`, `values` and `outbox` are the real ones.  It may die at any moment: what it held in memory dies with
it, the containers do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.sim.images import behaviour
from tests.sim.judge.credentials import check_pulled
from tests.sim.session import Session
from vault.agent.executors.port import Exit, Phase
from vault.agent.health import Health, HealthStatus, KeptHealth, Result, check_of, judged, wait_s
from vault.agent.outbox import Outbox
from vault.agent.step import UNHEALTHY, Action, Local, adopted, ending, next_action
from vault.agent.values import ValueMissing, ValueNotGiven, Values
from vault.crypto import Plaintext
from vault.model.base import from_s
from vault.model.ids import Kind
from vault.model.task import State, Task, TaskStatus
from vault.rpc.messages import Assignments

if TYPE_CHECKING:
    from tests.sim.machine import Machine

VALUE = Plaintext(b"any")


class Job:
    """Something a task's runner waits for; whoever finds another in its place does nothing."""

    __slots__ = ("action",)

    def __init__(self, action: Action) -> None:
        self.action = action


class Agent:
    """What one vaultd knows and does."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.world = machine.world
        self.clock = machine.world.clock
        self.alive = True
        self.released = False  # Removed from the cluster: it takes nothing more.
        self.session: Session | None = None
        self.tasks: dict[str, Local] = {}
        self.values = Values(lambda sealed, message: Plaintext(sealed.payload) if sealed.payload else VALUE)
        self._found = set(machine.containers)  # What an earlier vaultd left, until a manager has spoken of it.
        self._jobs: dict[str, Job] = {}
        self._outbox = Outbox()
        self._seen: dict[str, TaskStatus] = {}
        self._sequence = -1
        self._reaped = False
        self._named: set[str] | None = None  # Tasks of a full set that is still coming in.
        self._dial_soon()

    def die(self) -> None:
        """Lose all memory."""
        self.alive = False
        if self.session is not None:
            self.session.breaks()

    # The session.

    def _dial_soon(self) -> None:
        self.clock.after(self.clock.between(0.1, 1.0), self._dial)

    def _dial(self) -> None:
        if not self.alive or self.session is not None or self.released:
            return
        leader = self.world.store.leader
        if leader is None or not self.machine.linked or leader.epoch < self.machine.epoch:
            self._dial_soon()
        elif (session := leader.desk.welcome(self)) is None:
            self._release()
        else:
            self.session = session
            self.machine.epoch = session.epoch
            self._sequence = -1
            self._outbox.rewind()
            self._report()

    def broken(self, session: Session) -> None:
        """A session has ended."""
        if self.session is session:
            self.session = None
            if self.alive:
                self._dial_soon()

    def is_removed(self, session: Session) -> None:
        """The managers say that the node is no member any more."""
        session.open = False
        if self.session is session and self.machine.linked:
            self.session = None
            self._release()
        else:
            self.broken(session)

    def _release(self) -> None:
        """End every task, forget every value."""
        self.released = True
        self._drop(list(self.tasks))
        self.values.clear()
        self._reap()

    def take(self, session: Session, message: Assignments) -> None:
        """Do what the leader says."""
        if not self.alive or self.session is not session:
            return
        if not message.full and (message.counter != self.machine.epoch or message.applies_to != self._sequence):
            session.breaks()
            return
        self._sequence = message.sequence
        if message.full:
            self._named = set()
        self.values.take(message)
        for task in message.put_tasks:
            self._put(task, full=self._named is not None)
        self._drop(message.remove_tasks)
        if self._named is not None:
            self._named |= {task.id for task in message.put_tasks}
            self._named -= set(message.remove_tasks)
            if message.complete:
                self._drop([task_id for task_id in self.tasks if task_id not in self._named])
                self._named = None
                self._reap()

    def _put(self, task: Task, *, full: bool) -> None:
        local = self.tasks.get(task.id)
        if local is not None:
            self.tasks[task.id] = replace(local, task=task, dropped=False)
            seen = self._seen.get(task.id)
            if full and seen is not None and seen.state > task.status.state:
                self._say(task.id, seen)
        else:
            found = self.machine.containers[task.id] if task.id in self._found else None
            local = Local(task=task, state=task.status.state)
            if found is not None:
                local = adopted(local, found.phase, found.exit, found.health.status if found.health else None)
            self.tasks[task.id] = local
            if found is not None and found.phase is Phase.RUNNING and found.health is not None:
                self._probe_later(task.id)
        self._act(task.id)

    def _drop(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            if (local := self.tasks.get(task_id)) is not None:
                self.tasks[task_id] = replace(local, dropped=True)
                self._act(task_id)

    def _reap(self) -> None:
        """Remove what an earlier vaultd left and nobody wants, once."""
        if not self._reaped:
            self._reaped = True
            self._found = set()
            for task_id in [task_id for task_id in self.machine.containers if task_id not in self.tasks]:
                self.machine.remove(task_id)

    def acknowledged(self, session: Session, number: int) -> None:
        """The leader has written a report."""
        if self.alive and self.session is session:
            self._outbox.acknowledge(number)
            self._report()

    def _report(self) -> None:
        if self.session is not None and (report := self._outbox.take(from_s(self.clock.now_s))) is not None:
            self.session.report(report)

    def _observe(self, task_id: str, state: State, message: str, err: str = "") -> None:
        local = self.tasks[task_id]
        state = max(state, local.state)
        self.tasks[task_id] = replace(local, state=state)
        status = TaskStatus(
            timestamp=from_s(self.clock.now_s), state=state, message=message, err=err, unhealthy=local.unhealthy
        )
        self._say(task_id, status)

    def _say(self, task_id: str, status: TaskStatus) -> None:
        self._seen[task_id] = status
        self._outbox.put(task_id, status)
        self._report()

    # Tasks, one action at a time.

    def _act(self, task_id: str) -> None:
        """Do what is next for a task, unless what is under way still has its use."""
        local, job = self.tasks[task_id], self._jobs.get(task_id)
        action = next_action(local)
        if job is not None:
            breaks_off = job.action in (Action.PREPARE, Action.START) and not local.wanted
            if not breaks_off and (job.action is not Action.WATCH or action is Action.WATCH):
                return
            del self._jobs[task_id]
            if breaks_off:
                action = next_action(self.tasks[task_id])
        match action:
            case Action.PREPARE:
                self._prepare(task_id)
            case Action.START:
                self._observe(task_id, State.STARTING, "starting")
                self._later(task_id, Action.START, 0.05, self._start)
            case Action.SERVE:
                self._observe(task_id, State.RUNNING, "started")
                self._act(task_id)
            case Action.WATCH | Action.STOP:
                self._jobs[task_id] = Job(action)
                if action is Action.STOP and local.unhealthy and local.wanted:
                    self._observe(task_id, local.state, "started", UNHEALTHY)
                if self.machine.containers[task_id].exit is not None:
                    self.ended(task_id)
                elif action is Action.STOP:
                    self.machine.stop(task_id)
            case Action.DISCARD:
                self.machine.remove(task_id)
                self.tasks[task_id] = replace(self.tasks[task_id], phase=None, exit=None)
                self._observe(task_id, State.SHUTDOWN, "shutdown")
            case Action.END:
                self._end(task_id)
            case Action.FORGET:
                self._forget(task_id)
            case Action.HOLD:
                pass

    def _later(
        self, task_id: str, action: Action, within_s: float, then: Callable[[str], None], *, at_least_s: float = 0.0
    ) -> None:
        """Begin something that takes a while; it comes to nothing when another action takes its place."""
        job = self._jobs[task_id] = Job(action)
        delay_s = max(self.clock.between(0.0, within_s) * self.machine.slowness, at_least_s)

        def finish() -> None:
            if self.alive and self._jobs.get(task_id) is job:
                del self._jobs[task_id]
                then(task_id)

        self.clock.after(delay_s, finish)

    def _prepare(self, task_id: str) -> None:
        task = self.tasks[task_id].task
        self._observe(task_id, State.ACCEPTED, "accepted")
        self._observe(task_id, State.PREPARING, "preparing")
        pull_s = self.machine.pull_s(task.spec.container_spec.image, behaviour(task).pull_s)
        self._later(task_id, Action.PREPARE, 0.0, self._pulled, at_least_s=pull_s)

    def _pulled(self, task_id: str) -> None:
        task = self.tasks[task_id].task
        if task.spec.container_spec.image not in self.machine.images:
            check_pulled(self.world, task, self.values.registry_auth(task))
        if not behaviour(task).found:
            self._failed(task_id, State.REJECTED, "no such image")
            return
        self.machine.images.add(task.spec.container_spec.image)
        try:
            secrets, configs = self.values.for_task(task, {})
        except (ValueMissing, ValueNotGiven) as error:
            self.world.judge.values.lacks(task, given=not isinstance(error, ValueMissing))
            self._failed(task_id, State.REJECTED, error.message)
            return
        self.world.judge.values.mounted(task, secrets)
        mounted = [(Kind.SECRET, str(i)) for i in secrets] + [(Kind.CONFIG, str(i)) for i in configs]
        self.machine.prepare(task, frozenset(mounted))
        self._later(task_id, Action.PREPARE, 0.02, self._prepared)

    def _prepared(self, task_id: str) -> None:
        check = check_of(self.tasks[task_id].task.spec.container_spec.healthcheck, None)
        kept = None if check is None else KeptHealth(check=check, status=HealthStatus.STARTING, failing_streak=0)
        self.machine.containers[task_id].health = kept
        health = None if kept is None else kept.status
        self.tasks[task_id] = replace(self.tasks[task_id], phase=Phase.PREPARED, health=health)
        self._observe(task_id, State.READY, "prepared")
        self._act(task_id)

    def _start(self, task_id: str) -> None:
        if not behaviour(self.tasks[task_id].task).starts:
            self._failed(task_id, State.FAILED, "no such command")
            return
        self.machine.start(task_id)
        self._later(task_id, Action.START, 0.02, self._started)  # It runs, and nobody has noted that yet.

    def _started(self, task_id: str) -> None:
        self.tasks[task_id] = replace(self.tasks[task_id], phase=Phase.RUNNING)
        if self.machine.containers[task_id].health is not None:
            self._probe_later(task_id)
        self._act(task_id)

    def _probe_later(self, task_id: str) -> None:
        """Ask a container whether it is well, as often as its check says."""
        container = self.machine.containers[task_id]
        kept = container.health
        assert kept is not None, "a container with a check"

        def probe() -> None:
            if not self.alive or self.machine.containers.get(task_id) is not container or container.stopping:
                return
            if container.phase is not Phase.RUNNING or kept.status is HealthStatus.UNHEALTHY:
                return
            self._probed(task_id, kept, self.machine.probe(task_id))
            self._probe_later(task_id)

        age_s = self.clock.now_s - container.since_s
        self.clock.after(wait_s(kept.check, health_of(kept), age_s=age_s), probe)

    def _probed(self, task_id: str, kept: KeptHealth, well: bool) -> None:
        container, now = self.machine.containers[task_id], from_s(self.clock.now_s)
        result = Result(begun_at=now, ended_at=now, exit_code=0 if well else 1)
        health = judged(kept.check, health_of(kept), result, age_s=self.clock.now_s - container.since_s)
        container.health = KeptHealth(check=kept.check, status=health.status, failing_streak=health.failing_streak)
        if health.status is not self.tasks[task_id].health:
            self.tasks[task_id] = replace(self.tasks[task_id], health=health.status)
            self._act(task_id)

    def _failed(self, task_id: str, state: State, err: str) -> None:
        self.machine.remove(task_id)
        self.tasks[task_id] = replace(self.tasks[task_id], phase=None, exit=None)
        self._observe(task_id, state, "preparing" if state is State.REJECTED else "starting", err)
        self._act(task_id)

    def ended(self, task_id: str) -> None:
        """A container has ended; the runner hears of it if it is waiting for that."""
        job = self._jobs.get(task_id)
        if job is not None and job.action in (Action.WATCH, Action.STOP):
            del self._jobs[task_id]
            self._exited(task_id, self.machine.containers[task_id].exit)
            self._act(task_id)

    def _exited(self, task_id: str, exit_: Exit | None) -> None:
        self.tasks[task_id] = replace(self.tasks[task_id], phase=Phase.EXITED, exit=exit_)

    def _end(self, task_id: str) -> None:
        if self.tasks[task_id].phase is not Phase.EXITED:
            self.machine.remove(task_id)
            self.tasks[task_id] = replace(self.tasks[task_id], phase=None)
        end = ending(self.tasks[task_id])
        self._observe(task_id, end.state, end.message, end.err)
        self._act(task_id)

    def _forget(self, task_id: str) -> None:
        self.machine.remove(task_id)
        del self.tasks[task_id]
        self._jobs.pop(task_id, None)
        self._seen.pop(task_id, None)


def health_of(kept: KeptHealth) -> Health:
    """Return how a container stands by what is kept of it."""
    return Health(status=kept.status, failing_streak=kept.failing_streak)

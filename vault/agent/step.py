"""What a node does next for one of its tasks.

Pure: what is wanted and what is there in, one action out.  Called by `vault.agent.runner` whenever something changed.
Owns the agent's steps: ASSIGNED to RUNNING, and the states in which a task ends.
"""

from dataclasses import dataclass, replace
from enum import Enum

from vault.agent.executors.port import Exit, Phase
from vault.agent.health import HealthStatus
from vault.model.task import State, Task

UNHEALTHY = "dockerexec: unhealthy container"  # Docker's words; clients look for them.


class Action(Enum):
    """What to do now; each is carried out once and changes `Local`."""

    PREPARE = "prepare"  # Get the image, mount files and root, make the container.
    START = "start"
    SERVE = "serve"  # It is up, and well if it has a check: say RUNNING.
    WATCH = "watch"  # Wait until it ends, or until something else is wanted.
    STOP = "stop"  # Signal, grace time, kill.
    DISCARD = "discard"  # It never ran and will not: remove what was prepared, say SHUTDOWN.
    END = "end"  # It ended: say how.
    HOLD = "hold"  # Nothing to do until something else is wanted.
    FORGET = "forget"  # The managers have dropped it: remove every trace.


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """One task as this node knows it."""

    task: Task  # As last told.
    state: State  # As last observed here; never goes back.
    phase: Phase | None = None  # What the executor has of it; None = nothing.
    exit: Exit | None = None  # Set when phase is EXITED.
    health: HealthStatus | None = None  # None: it has no health check.
    dropped: bool = False  # No longer assigned.

    @property
    def wanted(self) -> bool:
        """Whether it should run, now or later."""
        return not self.dropped and self.task.wanted

    @property
    def unhealthy(self) -> bool:
        """Whether its health check has given it up."""
        return self.health is HealthStatus.UNHEALTHY


def next_action(local: Local) -> Action:
    """Return what to do now for a task."""
    if local.dropped:
        return Action.STOP if local.phase is Phase.RUNNING else Action.FORGET
    if local.state.terminal:  # It may run all the same: the managers gave it up while nobody heard of this node.
        return Action.STOP if local.phase is Phase.RUNNING else Action.HOLD
    match local.phase:
        case Phase.EXITED:
            return Action.END
        case Phase.RUNNING:
            return _while_running(local)
        case Phase.PREPARED if local.state < State.STARTING:
            return _before_start(local)
        case None if local.state < State.STARTING:
            return Action.PREPARE if local.wanted else Action.DISCARD
        case _:
            return Action.END  # It had started, and nothing is left of it.


def _before_start(local: Local) -> Action:
    if not local.wanted:
        return Action.DISCARD
    return Action.START if local.task.released else Action.HOLD


def _while_running(local: Local) -> Action:
    if local.unhealthy or not local.wanted:
        return Action.STOP
    if local.state < State.RUNNING and local.health is not HealthStatus.STARTING:
        return Action.SERVE
    return Action.WATCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a task ended, in the words of its status."""

    state: State
    message: str
    err: str = ""
    exit_code: int = 0


def ending(local: Local) -> Ending:
    """Return how a task that has ended should be reported.

    One that was asked to end is SHUTDOWN whatever its exit code; one whose container vanished (the machine was
    restarted), or that was stopped because it was unhealthy, has FAILED, so that it is replaced.
    """
    code = local.exit.code if local.exit else 0
    if not local.wanted:
        return Ending(state=State.SHUTDOWN, message="shutdown", exit_code=code)
    if local.exit is None:
        return Ending(state=State.FAILED, message="started", err="task: its container is gone: was the node restarted?")
    if local.exit.lost:
        return Ending(
            state=State.FAILED, message="started", err="task: its supervisor ended, so the exit code is unknown",
            exit_code=code,
        )  # fmt: skip
    if local.unhealthy:  # Even if it stopped in good order: Docker says COMPLETE then, and `on-failure` lets it lie.
        how = f"non-zero exit ({code})" if code else "exit (0)"
        return Ending(state=State.FAILED, message="started", err=f"task: {how}: {UNHEALTHY}", exit_code=code)
    if code == 0:
        return Ending(state=State.COMPLETE, message="finished")
    reason = f"task: non-zero exit ({code})" + (": out of memory" if local.exit.oom else "")
    return Ending(state=State.FAILED, message="started", err=reason, exit_code=code)


def adopted(local: Local, phase: Phase | None, exit_: Exit | None, health: HealthStatus | None = None) -> Local:
    """Return a task as a new vaultd takes it over: what was prepared and never started is prepared again.

    health: as the earlier vaultd had come to know it; None for a container without a check.
    """
    if phase is Phase.PREPARED:
        return replace(local, phase=None, exit=None)
    return replace(local, phase=phase, exit=exit_, health=health)

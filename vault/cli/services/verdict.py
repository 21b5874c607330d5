"""How the wait for a service ends: it converged, or its change was paused, taken back, overtaken, late, or hopeless.

Pure; `progress` asks, draws what is returned, and turns a `Failed` into the error of the command.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vault.cli.screen import Line
from vault.cli.services.convergence import Picture
from vault.model.durations import go_duration

SECOND_NS = 1_000_000_000
DEFAULT_MONITOR_S = 5.0
IN_PROGRESS = ("updating", "rollback_started")
COMPLETED = ("completed", "rollback_completed")
UNKNOWN: Final[Mapping[str, Any]] = {}  # What was in force before is not known.
_NAMES_A_TASK = re.compile(r"task ([0-9a-z]{25})")
_RUNS_OUT = "it goes on in the background: see `vault service ps {0}`"


class Failed(Exception):
    """The wait is over and the service is not as it was asked to be.

    task_id: the task that is to blame, "" when none is; its error belongs between `what` and `advice`.
    """

    def __init__(self, what: str, advice: str = "", *, task_id: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.task_id = task_id or next(iter(_NAMES_A_TASK.findall(what)), "")

    def sentence(self, reason: str) -> str:
        """Return all of it; reason: what the task to blame said, "" when nothing."""
        said = f" ({reason})" if reason and reason not in self.what else ""
        return f"{self.what}{said}" + (f": {self.advice}" if self.advice else "")


class Verdict:
    """What was seen so far of one wait."""

    def __init__(self, service: str, *, before: Mapping[str, Any] | None = UNKNOWN, rollback_wanted: bool) -> None:
        """Begin to wait; before: the spec that the change replaced, None where there was none."""
        self.rollback = False  # Whether a former spec is, or is being put, in force again.
        self.converged = False
        self.over = False
        self.last_words = ""  # To be said below the lines once it is over.
        self._service = service
        self._before = before
        self._rollback_wanted = rollback_wanted
        self._mine: Mapping[str, Any] | None = None  # The spec that is waited for, as the daemon shows it.
        self._state = ""
        self._former: Any = None  # When the update began that was complete before this wait, if that is all it can be.
        self._opened = False
        self._reason = ""  # Why it went back to the former spec.
        self._since_s: float | None = None  # Since when it is as it should be,
        self._missing_since_s: float | None = None  # since when it is not although nothing is about to change that,
        self._alone_since_s: float | None = None  # and since when no update with a deadline of its own is under way.

    def heed(self, found: Mapping[str, Any]) -> Iterator[Line]:
        """Take note of the state of an update.  Raises `Failed` when there is nothing to wait for any more."""
        status = found.get("UpdateStatus") or {}
        if self._mine is None and self._before is UNKNOWN and status.get("State") in COMPLETED:
            self._former = status.get("StartedAt")
        if self._former is not None and self._former == status.get("StartedAt"):
            status = {}
        self._state, message = status.get("State", ""), status.get("Message", "")
        self._reason = status.get("Reason") or self._reason
        self._check_overtaken(found)
        see = f"see `vault service ps {self._service}`"
        match self._state:
            case "updating":
                self.rollback = False
            case "paused":
                back = f"or take it back with `vault service rollback {self._service}`"
                raise Failed(f"service update paused: {message}", f"{see}, then update the service again {back}")
            case "rollback_paused":
                raise Failed(f"service rollback paused: {message}", f"{see}, then update the service again")
            case "rollback_started":
                if not self.rollback and message:
                    yield Line("rollback", message)
                    self._reason = self._reason or message
                self.rollback = True
            case "rollback_completed":
                self.rollback = True

    def _check_overtaken(self, found: Mapping[str, Any]) -> None:
        spec, previous = found["Spec"], found.get("PreviousSpec")
        if self._mine is None:
            self._mine = spec
            if self._before is UNKNOWN or previous == self._before:
                return
        elif spec == self._mine:
            return
        goes_back = self._state.startswith("rollback_") and not self._rollback_wanted
        if goes_back and (self._before is UNKNOWN or spec == self._before):
            return
        raise Failed(
            f"this change of service {self._service} was overtaken by a newer one before it was complete",
            f"see `vault service inspect --pretty {self._service}` for how that goes",
        )

    def judge(self, seen: Picture, service: Mapping[str, Any], now_s: float) -> Iterator[Line]:
        """Return what to draw, and note in `over` whether the wait is over.  Raises `Failed`."""
        config = service["Spec"].get("UpdateConfig") or {}
        monitor_s = (config.get("Monitor") or 0) / SECOND_NS or DEFAULT_MONITOR_S
        if not self._opened and seen.wanted is not None:
            self._opened = True
            yield from seen.opening
        yield from seen.lines
        self.converged = seen.converged
        if service.get("JobStatus") is not None:
            self._judge_job(seen)
            return
        if not seen.converged:
            if self._since_s is not None:
                yield Line("verify", "Detected task failure")
            self._since_s = None
            self._check_hope(seen, monitor_s, now_s)
            self._check_time(seen, config.get("Deadline") or 0, now_s)
            return
        self._missing_since_s = None
        self._since_s = now_s if self._since_s is None else self._since_s
        left_s = monitor_s - (now_s - self._since_s)
        if seen.wanted and left_s > 0:
            yield Line("verify", f"Waiting {math.ceil(left_s)} seconds to verify that tasks are stable...")
        elif self._state not in IN_PROGRESS:
            yield from self._end()

    def _judge_job(self, seen: Picture) -> None:
        """Note whether a job is done; it stays so, and needs no watching."""
        if seen.converged:
            self.over, self.last_words = True, "job complete"
        elif seen.hopeless:
            raise Failed(f"job {self._service} did not complete: {_end_of(seen)}")

    def _end(self) -> Iterator[Line]:
        self.over = True
        yield Line("verify", f"Service {self._service} converged")
        if self._state == "rollback_completed":
            yield Line("rollback", "rollback completed")
        if self.rollback and not self._rollback_wanted:
            raise Failed(
                f"service update rolled back: {self._reason or 'its tasks failed'}",
                "the former spec is in force again: mend the cause, then update the service again",
            )

    def _check_hope(self, seen: Picture, monitor_s: float, now_s: float) -> None:
        """Give up when tasks have been missing for a while, and the update is over or they are not tried again."""
        went_on = self._state in COMPLETED
        if self._state in IN_PROGRESS or not (seen.hopeless or went_on):
            self._missing_since_s = None
            return
        self._missing_since_s = now_s if self._missing_since_s is None else self._missing_since_s
        if now_s - self._missing_since_s < monitor_s:
            return
        if seen.hopeless:
            raise Failed(f"service {self._service} did not converge: {_end_of(seen)}")
        raise Failed(
            f"the {'rollback' if self.rollback else 'update'} of service {self._service} went on in spite of failures, "
            f"as it was told to: {seen.shortfall}",
            f"see `vault service ps {self._service}`",
        )

    def _check_time(self, seen: Picture, deadline_ns: int, now_s: float) -> None:
        """Give up at the deadline where the cluster has none to keep: at a creation, or when only numbers change."""
        if self._state in IN_PROGRESS:
            self._alone_since_s = None
            return
        self._alone_since_s = now_s if self._alone_since_s is None else self._alone_since_s
        if deadline_ns and now_s - self._alone_since_s > deadline_ns / SECOND_NS:
            raise Failed(
                f"service {self._service} did not converge within {go_duration(deadline_ns)}: {seen.shortfall}",
                _RUNS_OUT.format(self._service),
            )


def _end_of(seen: Picture) -> str:
    """Return how the first task ended that is not tried again."""
    task = seen.given_up[0]
    reason = task["Status"].get("Err") or task["Status"]["State"]
    return f"task {task['ID']} ended ({reason}) and its restart policy does not try again"

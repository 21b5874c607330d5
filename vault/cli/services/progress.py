"""Waiting for a service: ask, draw, until it has converged, failed, or the person presses Ctrl-C.

Ends the command with exit code 1 when an update was paused or rolled back, where Docker ends with 0 after a rollback.
"""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from vault.cli.client import Client
from vault.cli.errors import CommandError
from vault.cli.screen import Line, Screen
from vault.cli.services.convergence import Picture, picture
from vault.cli.services.job_progress import job_picture
from vault.cli.wire import filters

SECOND_NS = 1_000_000_000
SHORTEST_S, LONGEST_S = 0.05, 0.2
DEFAULT_MONITOR_S = 5.0


def wait_for(
    client: Client, service: str, *, quiet: bool = False, rollback: bool = False, screen: Screen | None = None
) -> None:
    """Wait until a service has converged.

    rollback: whether going back to the former spec is what was asked for.
    Raises `CommandError` if the update was paused or rolled back, or if its tasks failed and are not tried again.
    """
    screen = screen or Screen(sys.stdout, quiet=quiet)
    watch = _Watch(service, rollback_wanted=rollback)
    pause_s = SHORTEST_S
    try:
        while True:
            found = client.get(f"/services/{service}")
            watch.heed(found.get("UpdateStatus") or {}, screen)
            seen = _look(client, found, rollback=watch.rollback)
            if watch.judge(seen, found, screen, time.monotonic()):
                return
            time.sleep(pause_s)
            pause_s = min(LONGEST_S, pause_s * 1.25)
    except KeyboardInterrupt:
        if not watch.converged:
            screen.say("Operation continuing in background.")
            screen.say(f"Use `vault service ps {service}` to check progress.")


def _look(client: Client, service: Mapping[str, Any], *, rollback: bool) -> Picture:
    tasks = client.get("/tasks", filters=filters([("service", service["ID"]), ("_up-to-date", "true")]))
    nodes = client.get("/nodes")
    active = [node["ID"] for node in nodes if node["Status"]["State"] != "down"]
    if service.get("JobStatus") is not None:
        return job_picture(service, tasks)
    return picture(service, tasks, active, rollback=rollback)


class _Watch:
    """What was seen so far of one wait."""

    def __init__(self, service: str, *, rollback_wanted: bool) -> None:
        self.rollback = False
        self.converged = False
        self._service = service
        self._rollback_wanted = rollback_wanted
        self._state = ""
        self._opened = False
        self._reason = ""  # Why it went back to the former spec.
        self._since_s: float | None = None
        self._hopeless_since_s: float | None = None

    def heed(self, status: Mapping[str, Any], screen: Screen) -> None:
        """Take note of the state of an update."""
        self._state, message = status.get("State", ""), status.get("Message", "")
        match self._state:
            case "updating":
                self.rollback = False
            case "paused":
                raise CommandError(f"service update paused: {message}")
            case "rollback_paused":
                raise CommandError(f"service rollback paused: {message}")
            case "rollback_started":
                if not self.rollback and message:
                    screen.draw(Line("rollback", message))
                    self._reason = message
                self.rollback = True
            case "rollback_completed":
                self.rollback = True

    def judge(self, seen: Picture, service: Mapping[str, Any], screen: Screen, now_s: float) -> bool:
        """Draw what was seen; return whether the wait is over."""
        monitor_ns = (service["Spec"].get("UpdateConfig") or {}).get("Monitor") or 0
        monitor_s = monitor_ns / SECOND_NS if monitor_ns else DEFAULT_MONITOR_S
        if not self._opened and seen.wanted is not None:
            self._opened = True
            for line in seen.opening:
                screen.draw(line)
        for line in seen.lines:
            screen.draw(line)
        if service.get("JobStatus") is not None:
            return self._judge_job(seen, screen)
        was_converged, self.converged = self.converged, seen.converged
        if not seen.converged:
            if self._since_s is not None:
                screen.draw(Line("verify", "Detected task failure"))
            self._since_s = None
            self._check_hope(seen, monitor_s, now_s)
            # An update that ends while tasks are missing went on in spite of failures, as it was told to.
            return self._state == "completed" and not was_converged
        self._since_s = now_s if self._since_s is None else self._since_s
        left_s = monitor_s - (now_s - self._since_s)
        if left_s > 0:
            screen.draw(Line("verify", f"Waiting {math.ceil(left_s)} seconds to verify that tasks are stable..."))
            return False
        screen.draw(Line("verify", f"Service {self._service} converged"))
        if self._state == "rollback_completed":
            screen.draw(Line("rollback", "rollback completed"))
        if self.rollback and not self._rollback_wanted:
            raise CommandError(f"service update rolled back: {self._reason or 'the former spec is in force again'}")
        return True

    def _judge_job(self, seen: Picture, screen: Screen) -> bool:
        """Return whether a job is done; it stays so, and needs no watching."""
        self.converged = seen.converged
        if seen.converged:
            screen.say("job complete")
        elif seen.hopeless:
            raise CommandError(f"job {self._service} did not complete: {_end_of(seen)}")
        return seen.converged

    def _check_hope(self, seen: Picture, monitor_s: float, now_s: float) -> None:
        if not seen.hopeless or self._state in ("updating", "rollback_started"):
            self._hopeless_since_s = None
            return
        self._hopeless_since_s = now_s if self._hopeless_since_s is None else self._hopeless_since_s
        if now_s - self._hopeless_since_s >= monitor_s:
            raise CommandError(f"service {self._service} did not converge: {_end_of(seen)}")


def _end_of(seen: Picture) -> str:
    """Return how the first task ended that is not tried again."""
    task = seen.given_up[0]
    reason = task["Status"].get("Err") or task["Status"]["State"]
    return f"task {task['ID']} ended ({reason}) and its restart policy does not try again"

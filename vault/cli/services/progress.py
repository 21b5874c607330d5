"""Waiting for a service: ask, draw, until `verdict` says that it has converged or failed, or somebody presses Ctrl-C.

Ends the command with exit code 1 when what was asked for is not what runs, where Docker ends with 0 after a rollback.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from vault.cli.client import Client
from vault.cli.errors import ApiError, CommandError, joined
from vault.cli.screen import Screen
from vault.cli.services.convergence import Picture, picture
from vault.cli.services.job_progress import job_picture
from vault.cli.services.verdict import UNKNOWN, Failed, Verdict
from vault.cli.wire import filters

SHORTEST_S, LONGEST_S = 0.05, 0.2


def wait_for(
    client: Client,
    service: str,
    *,
    before: Mapping[str, Any] | None = UNKNOWN,
    quiet: bool = False,
    rollback: bool = False,
    verdict: Verdict | None = None,
) -> bool:
    """Wait until a service has converged; return whether it has, and not somebody pressed Ctrl-C.

    before: the spec that the change replaced, None for a new service; tells a change that another overtook.
    rollback: whether going back to the former spec is what was asked for.  verdict: one that has looked already.
    Raises `CommandError` if the change was paused, rolled back or overtaken, if its deadline passed, or if tasks failed
    and are not tried again.
    """
    screen = Screen(sys.stdout, quiet=quiet)
    verdict = verdict or Verdict(service, before=before, rollback_wanted=rollback)
    pause_s = SHORTEST_S
    try:
        while not _look(client, service, verdict, screen):
            time.sleep(pause_s)
            pause_s = min(LONGEST_S, pause_s * 1.25)
    except Failed as failed:
        raise CommandError(failed.sentence(_words_of(client, failed.task_id))) from None
    except KeyboardInterrupt:
        if not verdict.converged:
            screen.say("Operation continuing in background.")
            screen.say(f"Use `vault service ps {service}` to check progress.")
        return False
    return True


def wait_for_each(client: Client, services: Sequence[str], *, quiet: bool = False) -> None:
    """Wait until each of some services has converged.  Raises `CommandError` with a line for each that has not."""
    errors: list[CommandError] = []
    verdicts = {service: Verdict(service, rollback_wanted=False) for service in services}
    for (
        service,
        verdict,
    ) in verdicts.items():  # All before the first is waited for: what becomes of the last shows, too.
        with suppress(Failed):  # It will be said again in its turn.
            list(verdict.heed(client.get(f"/services/{service}")))
    for service, verdict in verdicts.items():
        try:
            if not wait_for(client, service, quiet=quiet, verdict=verdict):
                break
        except CommandError as error:
            errors.append(CommandError(f"{service}: {error}"))
    joined(errors)


def _look(client: Client, service: str, verdict: Verdict, screen: Screen) -> bool:
    """Look once and draw what is seen; return whether the wait is over."""
    found = client.get(f"/services/{service}")
    for line in verdict.heed(found):
        screen.draw(line)
    for line in verdict.judge(_picture(client, found, verdict.rollback), found, time.monotonic()):
        screen.draw(line)
    if verdict.last_words:
        screen.say(verdict.last_words)
    return verdict.over


def _picture(client: Client, service: Mapping[str, Any], rollback: bool) -> Picture:
    tasks = client.get("/tasks", filters=filters([("service", service["ID"]), ("_up-to-date", "true")]))
    nodes = client.get("/nodes")
    expected = _expected(service, nodes)
    if service.get("JobStatus") is not None:
        return job_picture(service, tasks, expected)
    active = [node["ID"] for node in nodes if node["Status"]["State"] != "down"]
    return picture(service, tasks, active, expected=expected, rollback=rollback)


def _expected(service: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the nodes on which a global service is to get a task; none for other services."""
    if not (service["Spec"].get("Mode") or {}).keys() & {"Global", "GlobalJob"}:
        return []
    import msgspec  # Here, since these would double the start-up time of commands that wait for nothing.

    from vault.model.node import Node
    from vault.orchestrator.global_ import eligible
    from vault.scheduler.constraint import parse_stored

    placement = service["Spec"]["TaskTemplate"].get("Placement") or {}
    constraints = parse_stored(tuple(placement.get("Constraints") or ()))
    known = [msgspec.convert(node, Node) for node in nodes]
    return [node.id for node in known if eligible(node, constraints) and node.spec.availability != "pause"]


def _words_of(client: Client, task_id: str) -> str:
    """Return why a task failed; "" when it says nothing, or is gone."""
    if not task_id:
        return ""
    try:
        error: str = client.get(f"/tasks/{task_id}")["Status"].get("Err", "")
    except ApiError:
        return ""
    return error

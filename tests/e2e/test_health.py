"""A service with a health check, on a real vaultd: starting, running, given up, replaced."""

import pytest

from tests.e2e.node import WAITS_FOR_TERM, Node

pytestmark = pytest.mark.machine
UNHEALTHY = "task: exit (0): dockerexec: unhealthy container"


def test_a_service_runs_once_it_is_healthy_and_is_replaced_when_it_is_not(node: Node) -> None:
    check = ("--health-cmd", "test -e /tmp/well", "--health-interval", "100ms", "--health-retries", "2",
             "--health-start-period", "1m", "--health-start-interval", "100ms", "--restart-delay", "0s")  # fmt: skip
    node.vault("service", "create", "-d", "--name", "checked", *check, "busybox", *WAITS_FOR_TERM)

    def tasks() -> list[tuple[str, str, str]]:
        """Return id, state and error of each task, the newest first."""
        lines = node.vault("service", "ps", "--no-trunc", "--format", "{{.ID}}|{{.CurrentState}}|{{.Error}}", "checked")
        rows = [line.split("|") for line in lines.out.splitlines()]
        return [(task_id, state.split()[0], error.strip('"')) for task_id, state, error in rows]

    def status() -> str:
        return node.vault("container", "ls", "--format", "{{.Status}}", "--filter", "name=checked").out

    shape = "{{.Action}} {{.Actor.Attributes.name}}"
    told = node.listen("events", "--filter", "event=health_status", "--format", shape)
    try:
        node.until(lambda: "(health: starting)" in status(), "its container runs, and is not well yet")
        ((first, state, _),) = tasks()
        assert state == "Starting"
        (container,) = node.running("checked")
        node.vault("exec", container, "touch", "/tmp/well")
        node.until(lambda: tasks() == [(first, "Running", "")], "it runs")
        assert "(healthy)" in status()
        health = node.vault("container", "inspect", "--format", "{{json .State.Health}}", container).out
        assert health.startswith('{"Status":"healthy","FailingStreak":0,"Log":[{"Start":"')
        node.vault("exec", container, "rm", "/tmp/well")
        node.until(lambda: len(tasks()) == 2, "it is replaced")
        (second, state, _), ended = tasks()
        assert (second != first, state) == (True, "Starting")
        assert ended == (first, "Failed", UNHEALTHY)
        assert "(health: starting)" in status()
        assert told.stdout is not None
        name = f"checked.1.{first}"
        heard = [told.stdout.readline().decode().strip() for _ in range(2)]
        assert heard == [f"health_status: healthy {name}", f"health_status: unhealthy {name}"]
    finally:
        told.kill()
        told.communicate()
        node.vault("service", "rm", "checked")
        node.until(lambda: not node.running("checked"), "its containers go")

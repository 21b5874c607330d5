"""Health checks as `docker service`, `docker ps`, `docker inspect` and `docker service ps` know them."""

import json

import pytest

from tests.docker.client import Docker, shape
from tests.docker.test_services import WAITS

pytestmark = pytest.mark.machine
CHECK = ("--health-cmd", "test ! -e /tmp/ill", "--health-interval", "100ms", "--health-retries", "1")


def test_a_service_with_a_check_is_shown_as_docker_shows_it_well_and_unwell(docker: Docker) -> None:
    docker("service", "create", "-d", "--name", "checked", "--restart-condition", "none", *CHECK, *WAITS)
    shown = docker("service", "inspect", "--format", "{{json .Spec.TaskTemplate.ContainerSpec.Healthcheck}}", "checked")
    assert json.loads(shown) == {"Test": ["CMD-SHELL", "test ! -e /tmp/ill"], "Interval": 100_000_000, "Retries": 1}
    docker.node.until(lambda: docker("ps", "-q", "--filter", "health=healthy") != "", "it is healthy")
    assert shape(docker("ps", "--format", "{{.Status}}")) == "Up AGO (healthy)"
    container = docker("ps", "-q")
    assert docker("inspect", "--format", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}", container) == (
        "healthy 0"
    )
    docker.node.vault("exec", container, "touch", "/tmp/ill")
    error = "task: exit (0): dockerexec: unhealthy container"
    docker.node.until(lambda: error in docker("service", "ps", "--no-trunc", "checked"), "it was given up")
    (last,) = json.loads(docker("inspect", "--format", "{{json .State.Health.Log}}", container))[-1:]
    assert (last["ExitCode"], last["Output"]) == (1, "")
    docker("service", "update", "-d", "--no-healthcheck", "checked")
    docker.node.until(lambda: shape(docker("ps", "--format", "{{.Status}}")) == "Up AGO", "it runs without a check")

"""What of the tutorial waits for overlay networks: traffic between containers and ingress port 80, and nothing else."""

import shutil

import pytest

from tests.e2e.node import HERE, Node

pytestmark = pytest.mark.machine

TUTORIAL = HERE / "deploy" / "examples" / "wordpress" / "docker-compose.yml"
EXPECTED = ("Creating network", "Creating service", "Since --detach=false", "In a future release")
WAITS = [
    "network wordpress_my-network: tasks are not yet connected to each other",
    "service wordpress_web: port 80: ingress ports are not published yet",
]


def test_only_traffic_between_containers_and_ingress_port_80_wait_for_overlay(fresh: Node) -> None:
    fresh.vault("secret", "create", "password", "-", stdin=b"123456789")
    shutil.copy(TUTORIAL, fresh.root)
    said = fresh.vault("stack", "deploy", "wordpress", "--compose-file", "docker-compose.yml")
    lines = [line for line in (said.out + said.err).splitlines() if line and not line.startswith(EXPECTED)]
    notices = sorted(set(lines))
    assert [notice[: len(wait)] for notice, wait in zip(notices, WAITS, strict=True)] == WAITS
    shown = fresh.vault("stack", "services", "wordpress", "--format", "{{.Name}} {{.Mode}}").out.splitlines()
    assert sorted(shown) == ["wordpress_db global", "wordpress_web replicated"]

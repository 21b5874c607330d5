"""The tutorial's machine: a vaultd on test1, a swarm of one node, and images with the tutorial's names."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tutorial.machine import IMAGES, Machine


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """The machine, after `vault swarm init`."""
    with tempfile.TemporaryDirectory(prefix="vt-", dir="/tmp", ignore_cleanup_errors=True) as place:
        found = Machine(Path(place))
        try:
            found.start("--hostname", "test1")
            found.init()
            for name in IMAGES:
                found.load(name)
            yield found
        finally:
            found.close()


@pytest.fixture
def password(machine: Machine) -> Iterator[str]:
    """The tutorial's secret, made from a file that is removed afterwards; its id."""
    file = machine.root / "db_root_password"
    file.write_text("123456789")
    yield machine.vault("secret", "create", "-l", "mysql_root_password", "password", "db_root_password").out.strip()
    machine.vault("secret", "rm", "password")


@pytest.fixture
def wordpress(machine: Machine, password: str) -> Iterator[Machine]:
    """The machine with the tutorial's stack, its secret external, running."""
    machine.deploy("docker-compose.yml")
    yield machine
    machine.remove("wordpress")

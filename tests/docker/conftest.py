"""One node for all tests here, and each `docker` command there is: Debian's, and the one on PATH."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.client import Docker
from tests.e2e.node import HERE, Node

# Where PATH has no docker, there is nothing to test, and so no parameter that would have to be skipped.
CLIENTS = ["debian", "path"] if shutil.which("docker") else ["debian"]


@pytest.fixture(scope="session")
def bare() -> Iterator[Node]:
    """A vaultd in no swarm; a test that makes one also leaves it."""
    with tempfile.TemporaryDirectory(prefix="vb-", dir="/tmp", ignore_cleanup_errors=True) as place:
        node = Node(Path(place))
        try:
            yield node.start("--hostname", "vm")
        finally:
            node.close()


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A swarm of one node called vm, with busybox."""
    with tempfile.TemporaryDirectory(prefix="vd-", dir="/tmp", ignore_cleanup_errors=True) as place:
        node = Node(Path(place))
        try:
            node.start("--hostname", "vm")
            node.init()
            node.load("busybox")
            yield node
        finally:
            node.close()


@pytest.fixture(scope="session")
def tutorial_images(node: Node) -> None:
    """The images of the tutorial, on the shared node."""
    for name in ("mysql-5.7", "mysql-5.7.27", "wordpress"):
        node.load(name)


@pytest.fixture(scope="session", params=CLIENTS)
def command(request: pytest.FixtureRequest) -> str:
    """A docker command."""
    if request.param == "path":
        found = shutil.which("docker")
        assert found is not None
        return found
    subprocess.run([HERE / "deploy" / "docker-client.sh"], check=True, timeout=300)
    return str(HERE / ".cache" / "docker-client" / "docker")


@pytest.fixture
def docker(command: str, node: Node, tmp_path: Path) -> Iterator[Docker]:
    """A docker command pointed at the shared node; what a test makes is removed after it."""
    client = Docker(command, node, tmp_path)
    yield client
    client.clear()


@pytest.fixture
def docker_alone(command: str, bare: Node, tmp_path: Path) -> Docker:
    """A docker command pointed at the node that is in no swarm."""
    return Docker(command, bare, tmp_path)

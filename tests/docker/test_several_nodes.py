"""`docker swarm` and `docker node` against three vaultds: they join, change roles, are drained, and leave."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.client import Client
from tests.docker.test_swarm import LAST_MANAGER
from tests.membership.swarm import Member, Swarm

pytestmark = pytest.mark.machine
NAMES = ("first", "second", "third")
LISTED = ("node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}}")
WORKER = (
    "Error response from daemon: This node is not a swarm manager. "
    "Worker nodes can't be used to view or modify cluster state. "
    "Please run this command on a manager node or promote the current node to a manager."
)
IN_A_SWARM = (
    "Error response from daemon: This node is already part of a swarm. "
    'Use "docker swarm leave" to leave this swarm and join another one.'
)


@pytest.fixture(scope="module")
def members() -> Iterator[list[Member]]:
    """Three vaultds that are in no swarm; a test that makes one also leaves it."""
    with tempfile.TemporaryDirectory(prefix="vn-", dir="/tmp", ignore_cleanup_errors=True) as place:
        swarm = Swarm(Path(place))
        try:
            yield [swarm.member(name) for name in NAMES]
        finally:
            swarm.close()


def test_nodes_join_change_roles_are_drained_and_leave(command: str, members: list[Member], tmp_path: Path) -> None:
    first, second, third = clients = [Client(command, f"unix://{member.socket}", tmp_path) for member in members]
    here, there = members[0], members[1]

    def shows(client: Client, *lines: str) -> None:
        here.until(lambda: sorted(client.run(*LISTED).out.splitlines()) == sorted(lines), f"{lines} are shown")

    def joins(number: int, role: str) -> list[str]:
        address = members[number].address
        addresses = ("--advertise-addr", address, "--listen-addr", f"{address}:2377", f"{here.address}:2377")
        return ["swarm", "join", "--token", first("swarm", "join-token", "-q", role), *addresses]

    first("swarm", "init", "--advertise-addr", here.address)
    assert second(*joins(1, "worker")) == "This node joined a swarm as a worker."
    assert second.refuses(*joins(1, "worker")) == IN_A_SWARM
    assert second.refuses("node", "ls") == WORKER
    shows(first, "first Ready Active Leader", "second Ready Active ")
    assert first("node", "promote", "second") == "Node second promoted to a manager in the swarm."
    shows(second, "first Ready Active Leader", "second Ready Active Reachable")
    assert third(*joins(2, "worker")) == "This node joined a swarm as a worker."
    assert second("node", "update", "--availability", "drain", "third") == "third"
    shows(first, "first Ready Active Leader", "second Ready Active Reachable", "third Ready Drain ")
    assert first("node", "demote", "second") == "Manager second demoted in the swarm."
    here.until(lambda: not there.info()["ControlAvailable"], "the second is a worker")
    assert "attempting to demote the last manager of the swarm" in first.refuses("node", "demote", "first")
    # Its part as a manager may take a moment to end, and until then it is asked to use --force.
    there.until(lambda: second.run("swarm", "leave").out == "Node left the swarm.\n", "the second has left")
    assert third("swarm", "leave") == "Node left the swarm."
    assert "is not down and can't be removed" in first.refuses("node", "rm", "first", "second", "third")
    assert first("node", "rm", "--force", "second", "third") == "second\nthird"
    shows(first, "first Ready Active Leader")
    assert first.refuses("swarm", "leave") == LAST_MANAGER
    assert first("swarm", "leave", "--force") == "Node left the swarm."
    for client in clients:
        assert client("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"

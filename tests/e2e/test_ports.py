"""Something else has the port of the control plane: it is said, nothing is half done, and it goes on by itself."""

import socket

import pytest

from tests.e2e.node import WAITS_FOR_TERM, Node

pytestmark = pytest.mark.machine


def test_a_swarm_is_not_made_while_its_port_is_taken_and_is_once_it_is_free(fresh: Node) -> None:
    fresh.vault("swarm", "leave", "--force")
    with socket.create_server((fresh.address, 2377)):
        said = fresh.vault("swarm", "init", "--advertise-addr", fresh.address, code=1)
        assert f"cannot listen on {fresh.address}:2377: address already in use" in said.err
        assert "Swarm: inactive" in fresh.vault("info").out
    fresh.init()
    assert fresh.vault("node", "ls", "-q").out.strip()


def test_a_manager_whose_port_is_taken_at_its_start_says_so_keeps_its_tasks_and_goes_on_once_it_is_free(
    fresh: Node,
) -> None:
    fresh.vault("service", "create", "--detach", "--name", "s", "busybox", *WAITS_FOR_TERM)
    fresh.until_running("s", 1)
    before = fresh.running("s")
    fresh.kill()
    with socket.create_server((fresh.address, 2377)):
        fresh.start()
        fresh.until(lambda: "cannot listen on" in fresh.vault("service", "ls", code=None).err, "it is said")
    fresh.until(lambda: fresh.vault("ps", "-q", "--no-trunc", code=None).out.split() == before, "it goes on")

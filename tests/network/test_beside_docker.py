"""A node of ours that also runs a Docker Engine, in one network namespace: both work, and neither touches the other's.

Debian's dockerd, with its iptables rules: a policy of FORWARD that drops, its NAT, its bridge.
"""

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.network.docker_engine import engine, unpack
from tests.network.hosts import ask, scratch_host, sh
from tests.network.mesh_world import Running, Swarm, exchange, naming, traces, who
from tests.network.overlay_nodes import Node, nodes
from tests.network.traffic import Datagrams, Talk
from vault.model.service import PortConfig
from vault.network.doctor.rules import firewalls
from vault.network.links.names import Names

pytestmark = [pytest.mark.machine, pytest.mark.timeout(120)]
OURS, THEIRS, THEIRS_LATER = 8080, 8081, 8082
OUTSIDE = "10.9.0.250"


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Node]]:
    """Two nodes, and a machine outside, which is where the test's thread is."""
    unpack()
    with scratch_host(), nodes(2, tmp_path) as made:
        sh(f"ip addr add {OUTSIDE}/24 dev bridge")
        yield made


def advised(node: Node) -> list[str]:
    """Return the commands that `vault doctor network` prints for this firewall."""
    names = Names(node.run_root)
    links = (f"{names.link_prefix}+", names.mesh_link)
    (found,) = firewalls({"nft": node.sh("nft list chains")}, links=links)
    return found.advice.partition(": ")[2].partition(";")[0].split(", ")


def test_both_work_in_one_namespace_and_dockers_rules_are_as_they_were(machines: list[Node]) -> None:
    here, other = machines
    with engine(here) as docker:
        docker.serve("theirs", "docker", THEIRS)
        assert said(here, THEIRS) == "docker"
        before = docker.rules()
        assert "hook forward priority filter; policy drop;" in before
        with closed(Swarm(machines)) as swarm:
            tasks = [swarm.start(here, 1), swarm.start(other, 2)]
            swarm.publish("web", PortConfig(target_port=80, published_port=OURS))
            swarm.tell()
            assert docker.rules() == before, "ours are in tables of their own"
            with naming(*tasks):
                assert_mesh(swarm)
                assert_overlay(*tasks)
                assert docker.rules() == before
                docker.serve("later", "docker", THEIRS_LATER)
                for port in (THEIRS, THEIRS_LATER):
                    assert said(here, port) == "docker", "while we are there"
                docker.remove("later")
        assert [one for node in machines for one in traces(node) if "docker0" not in one] == []
        assert docker.rules() == before
        assert said(here, THEIRS) == "docker", "after we left"
        docker.remove("theirs")


def said(node: Node, port: int) -> str:
    """Return what Docker's container says to a machine outside; it may not listen yet."""
    deadline_s = time.monotonic() + 5
    while True:
        try:
            with closing(http.client.HTTPConnection(node.address, port, timeout=2)) as connection:
                connection.request("GET", "/")
                return connection.getresponse().read().decode().strip()
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


@contextmanager
def closed(swarm: Swarm) -> Iterator[Swarm]:
    """Yield a swarm, and remove it, whatever becomes of it."""
    try:
        yield swarm
    finally:
        for task_id in swarm.endpoints:
            for node in swarm.nodes:
                node.run(node.networks.remove(task_id))
        swarm.services, swarm.endpoints = {}, {}
        swarm.tell()
        for node in swarm.nodes:
            swarm.end(node)


def assert_mesh(swarm: Swarm) -> None:
    """The mesh answers on both nodes; from outside once the operator has done what the doctor says."""
    here, other = swarm.nodes
    both = {"task1": 2, "task2": 2}
    for node, address in ((here, "127.0.0.1"), (here, here.address), (other, "127.0.0.1"), (other, other.address)):
        assert who(node, address, 4, OURS) == both, f"{address} of {node.id}"
    with pytest.raises(TimeoutError):
        ask(here.address, OURS, timeout_s=0.5)
    commands = advised(here)
    for command in commands:
        here.sh(command)
    assert {exchange_from_outside(here) for _ in range(4)} == {"task1", "task2"}
    for command in commands:
        here.sh(command.replace(" -I ", " -D "))


def exchange_from_outside(node: Node) -> str:
    """Return the name of the task that answers a published port, from a machine that is no node."""
    with socket.create_connection((node.address, OURS), timeout=2) as one:
        return exchange(one).partition(":")[0]


def assert_overlay(one: Running, other: Running) -> None:
    """Tasks of the two nodes talk, both ways."""
    with (
        Datagrams.between(one.namespace, other.namespace, other.address, 5000) as there,
        Datagrams.between(other.namespace, one.namespace, one.address, 5000) as back,
        Talk(one.namespace, other.namespace, other.address, 5001) as talk,
    ):
        deadline_s = time.monotonic() + 5
        while min(there.sent, back.sent) < 200 or talk.answered < 20:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    assert (there.lost, back.lost, talk.broken) == (0, 0, "")

"""`docker version`, `info`, `swarm` and `node` against vaultd: from a bare node to a swarm and back."""

import json

import pytest

from tests.docker.client import Docker, shape

pytestmark = pytest.mark.machine

NO_MANAGER = (
    "Error response from daemon: This node is not a swarm manager. "
    'Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
)
INITIALIZED = """\
Swarm initialized: current node (ID) is now a manager.

To add a worker to this swarm, run the following command:

  docker swarm join --token TOKEN ADDRESS:2377

To add a manager to this swarm, run 'docker swarm join-token manager' and follow the instructions."""
JOIN_AS_WORKER = """\
To add a worker to this swarm, run the following command:

  docker swarm join --token TOKEN ADDRESS:2377"""
NODES = """\
ID  HOSTNAME  STATUS  AVAILABILITY  MANAGER STATUS  ENGINE VERSION
ID *  vm  Ready  Active  Leader  0.1.0"""
NETWORKS = """\
NETWORK ID  NAME  DRIVER  SCOPE
ID  bridge  bridge  local
ID  host  host  local
ID  ingress  overlay  swarm
ID  none  null  local"""
LAST_MANAGER = (
    "Error response from daemon: You are attempting to leave the swarm on a node that is participating as a manager. "
    "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message."
)


@pytest.mark.parametrize(
    "words",
    [
        ("secret", "ls"),
        ("secret", "create", "x", "/etc/hostname"),
        ("service", "ls"),
        ("node", "ls"),
        ("stack", "ls"),
        ("config", "ls"),
    ],
)
def test_before_a_swarm_is_made_each_command_says_so(docker_alone: Docker, words: tuple[str, ...]) -> None:
    assert docker_alone.refuses(*words) == NO_MANAGER


def test_a_swarm_is_made_shown_and_left(docker_alone: Docker) -> None:
    docker, address = docker_alone, docker_alone.node.address
    assert docker("info", "--format", "{{json .Swarm.LocalNodeState}}") == '"inactive"'
    assert shape(docker("swarm", "init", "--advertise-addr", address)) == INITIALIZED.replace("ADDRESS", address)
    assert docker.refuses("swarm", "init", "--advertise-addr", address) == (
        "Error response from daemon: This node is already part of a swarm. "
        'Use "docker swarm leave" to leave this swarm and join another one.'
    )
    assert shape(docker("swarm", "join-token", "worker")) == JOIN_AS_WORKER.replace("ADDRESS", address)
    before = docker("swarm", "join-token", "-q", "manager")
    assert shape(before) == "TOKEN"
    docker("swarm", "join-token", "--rotate", "-q", "manager")
    assert docker("swarm", "join-token", "-q", "manager") != before
    assert docker("swarm", "update", "--task-history-limit", "3") == "Swarm updated."
    assert docker.refuses("swarm", "unlock-key") == "no unlock key is set"
    swarm = json.loads(docker("info", "--format", "{{json .Swarm}}"))
    assert (swarm["LocalNodeState"], swarm["ControlAvailable"]) == ("active", True)
    assert (swarm["Nodes"], swarm["Managers"]) == (1, 1)
    assert swarm["Cluster"]["Spec"]["Orchestration"] == {"TaskHistoryRetentionLimit": 3}
    assert shape(docker("node", "ls")) == NODES
    assert shape(docker("network", "ls")) == NETWORKS
    assert docker.refuses("swarm", "leave") == LAST_MANAGER
    assert docker("swarm", "leave", "--force") == "Node left the swarm."
    assert docker.refuses("node", "ls") == NO_MANAGER


def test_the_versions_of_client_and_daemon_are_shown(docker: Docker) -> None:
    shown = docker("version")
    assert "Server: Vault for Swarm" in shown
    assert "API version:      1.50 (minimum version 1.40)" in shown
    assert "Experimental:     false" in shown
    spoken = docker("version", "--format", "{{.Client.APIVersion}}")
    assert spoken == ("1.41" if docker.is_old else "1.50")


def test_info_shows_this_node_without_a_complaint_that_is_an_error(docker: Docker) -> None:
    said = docker.run("info")
    assert said.code == 0
    assert "ERROR" not in said.out + said.err
    for line in (
        " Swarm: active",
        "  Is Manager: true",
        " Name: vm",
        " Server Version: 0.1.0",
        " Default Runtime: crun",
    ):
        assert line in said.out.splitlines(), line


def test_the_node_is_inspected_labelled_and_paused(docker: Docker) -> None:
    node_id = docker("node", "ls", "-q")
    assert docker("node", "inspect", "--format", "{{.ID}} {{.Spec.Role}} {{.Status.State}}", "self") == (
        f"{node_id} manager ready"
    )
    pretty = docker("node", "inspect", "--pretty", "vm")
    address = docker.node.address
    assert f"Manager Status:\n Address:\t\t{address}:2377\n Raft Status:\t\tReachable\n Leader:\t\tYes" in pretty
    assert "TLS Info:\n TrustRoot:\n-----BEGIN CERTIFICATE-----" in pretty
    assert docker("node", "update", "--label-add", "zone=a", "--availability", "pause", "vm") == "vm"
    spec = json.loads(docker("node", "inspect", "--format", "{{json .Spec}}", "vm"))
    assert spec == {"Labels": {"zone": "a"}, "Role": "manager", "Availability": "pause"}
    assert docker("node", "ls", "--filter", "node.label=zone=a", "--format", "{{.Availability}}") == "Pause"
    docker("node", "update", "--label-rm", "zone", "--availability", "active", "vm")
    assert docker.refuses("node", "update", "--label-add", "zone=a", "nosuch") == docker.no_such("node", "nosuch")
    assert docker.refuses("node", "rm", "vm").startswith("Error response from daemon: rpc error: code = FailedPrecond")

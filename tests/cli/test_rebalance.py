"""`vault service update --rebalance` and `vault node rebalance`."""

import pytest

from tests.cli.conftest import FakeDaemon, Vault

NODES = [{"ID": "n1", "Description": {"Hostname": "one"}}, {"ID": "n2", "Description": {"Hostname": "two"}}]
MOVE = {"TaskID": "t", "Name": "web.2", "ServiceID": "s", "From": "n1", "To": "n2"}
EVEN = {"Moves": [], "Skipped": []}


@pytest.fixture
def swarm(daemon: FakeDaemon) -> FakeDaemon:
    daemon.on("GET", "/nodes", NODES)
    answer = {"Moves": [MOVE], "Skipped": [{"Service": "all", "Reason": "it is being updated"}]}
    daemon.on("POST", "/vault/v1/nodes/rebalance", answer)
    daemon.on("POST", "/vault/v1/services/web/rebalance", {"Moves": [MOVE], "Skipped": []})
    return daemon


def test_a_service_is_told_which_of_its_tasks_move(swarm: FakeDaemon, vault: Vault) -> None:
    result = vault("service", "update", "--rebalance", "-d", "web")
    assert (result.code, result.out, result.err) == (0, "web\nweb.2: one -> two\n", "")
    swarm.on("POST", "/vault/v1/services/web/rebalance", EVEN)
    result = vault("service", "update", "--rebalance", "web")
    assert (result.code, result.out) == (0, "web\nno task moves: it is spread as evenly as can be\n")


def test_a_rebalance_is_asked_for_alone(swarm: FakeDaemon, vault: Vault) -> None:
    result = vault("service", "update", "--rebalance", "--force", "web")
    assert (result.code, result.err) == (1, "other flags may not be combined with --rebalance\n")
    result = vault("service", "update", "--rebalance", "--rollback", "web")
    assert result.code == 1
    assert not swarm.asked("POST", "/vault/v1/services/web/rebalance")


def test_nodes_get_their_share_or_only_a_plan(swarm: FakeDaemon, vault: Vault) -> None:
    lines = "web.2: one -> two\nall stays: it is being updated\n"
    assert vault("node", "rebalance", "-d", "two").out == lines
    assert vault("node", "rebalance", "--plan", "--all").out == lines
    named, everywhere = swarm.asked("POST", "/vault/v1/nodes/rebalance")
    assert (named.body, named.query) == ({"Nodes": ["two"]}, {})
    assert (everywhere.body, everywhere.query) == ({"Nodes": []}, {"dry_run": "1"})
    swarm.on("POST", "/vault/v1/nodes/rebalance", EVEN)
    assert vault("node", "rebalance", "--all").out == "no task moves: the shares are even as they are\n"


@pytest.mark.parametrize("words", [(), ("--all", "two")])
def test_it_is_said_which_nodes_are_meant(swarm: FakeDaemon, vault: Vault, words: tuple[str, ...]) -> None:
    result = vault("node", "rebalance", *words)
    assert (result.code, result.err) == (1, "name the nodes that are to get their share, or say --all\n")
    assert not swarm.asked("POST", "/vault/v1/nodes/rebalance")

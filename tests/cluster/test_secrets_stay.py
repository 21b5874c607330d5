"""No secret reaches a node that runs no task using it: every node is searched, and a thief has a worker's keys."""

import base64
import json
import secrets
import shutil
import sys
from pathlib import Path

import pytest

from tests.cluster.search.node import held
from tests.cluster.world import PORT, World
from tests.e2e.node import HERE, WAITS_FOR_TERM

pytestmark = [pytest.mark.machine, pytest.mark.timeout(300)]


def used_on(world: World, name: str, value: bytes, node: str) -> str:
    """Create a secret, and a service on one node that uses it; return the service's name."""
    via = world.leader()
    world.vault(via, "secret", "create", name, "-", stdin=value)
    world.vault(via, "service", "create", "-q", "--name", f"uses-{name}", "--secret", name, "--constraint",
                f"node.hostname=={node}", "busybox", *WAITS_FOR_TERM)  # fmt: skip
    return f"uses-{name}"


def fresh(world: World, name: str) -> None:
    """Start a node's vaultd anew, so that its memory has nothing of what it did before."""
    world.lab.kill(name, "both" if name in world.managers else "vaultd")
    world.lab.start(name)


def test_a_secret_is_on_the_node_whose_task_uses_it_and_nowhere_else(cluster: World) -> None:
    value, name = secrets.token_hex(24).encode(), f"canary{secrets.token_hex(4)}"
    service = used_on(cluster, name, value, "worker1")
    # The manager that took the request, and the one that seals values for nodes, have had it in their hands.
    for manager in cluster.managers:
        fresh(cluster, manager)
    cluster.until_whole()
    others = [node.name for node in cluster.lab.nodes if node.name not in ("worker1", cluster.leader())]
    assert len(others) == 3

    def found(node: str) -> list[str]:
        return [str(hit) for hit in held(cluster.places(node), {name: value})]

    there = found("worker1")
    assert any(f"run-secrets/{name}" in hit or f"/run/secrets/{name}" in hit for hit in there), there
    for node in others:
        assert found(node) == [], f"while the task runs on worker1, {node} holds its secret"
    cluster.vault(cluster.leader(), "service", "update", "-q", "--constraint-rm", "node.hostname==worker1",
                  "--constraint-add", "node.hostname==worker2", service)  # fmt: skip
    assert found("worker2"), "the search finds it on the node to which the task went"
    cluster.vault(cluster.leader(), "service", "rm", service)
    cluster.until(lambda: not found_in_files(cluster, "worker1", name, value), "worker1 forgets it")
    cluster.vault(cluster.leader(), "secret", "rm", name)
    for each in cluster.lab.nodes:
        assert not found_in_files(cluster, each.name, name, value), f"{each.name} keeps it after it was removed"
    for node in others:
        if node != "worker2":
            assert found(node) == [], f"after the run {node} holds it"


def found_in_files(world: World, node: str, name: str, value: bytes) -> list[str]:
    """Return where it is on a node but in memory, which a freed page may keep for a while."""
    return [hit.where for hit in held(world.places(node), {name: value}) if not hit.where.startswith("memory of")]


def test_managers_hold_only_sealed_bytes_on_disk_whoever_took_the_request(cluster: World) -> None:
    value, name = secrets.token_hex(24).encode(), f"canary{secrets.token_hex(4)}"
    for manager in cluster.managers:
        cluster.vault(manager, "secret", "create", f"{name}-{manager}", "-", stdin=value)
    for each in cluster.lab.nodes:
        assert not found_in_files(cluster, each.name, name, value)


def test_a_thief_with_a_workers_keys_gets_that_workers_secrets_and_nothing_else(cluster: World, tmp_path: Path) -> None:
    mine, theirs = secrets.token_hex(24).encode(), secrets.token_hex(24).encode()
    tag = secrets.token_hex(4)
    services = [used_on(cluster, f"mine{tag}", mine, "worker1"), used_on(cluster, f"theirs{tag}", theirs, "worker2")]
    shutil.copytree(cluster.node("worker1").data_root / "swarm", tmp_path / "swarm")
    cluster.lab.kill("worker1")
    try:
        leader = cluster.node(cluster.leader())
        said = cluster.node("worker1").run(
            sys.executable, "-m", "tests.cluster.thief", str(tmp_path), f"{leader.address}:{PORT}", "5",
            env={"PYTHONPATH": str(HERE)},
        )  # fmt: skip
    finally:
        cluster.lab.start("worker1")
    assert said.code == 0, said.err
    stolen = json.loads(said.out)
    assert {one["name"] for one in stolen["values"].values()} == {f"mine{tag}"}
    assert [base64.b64decode(one["value"]) for one in stolen["values"].values()] == [mine]
    stream = base64.b64decode(stolen["stream"])
    assert mine not in stream, "what goes over the stream is sealed to the node besides"
    assert theirs not in stream
    assert all(stolen["forbidden"].values()), f"a worker may call none of these: {stolen['forbidden']}"
    cluster.vault(cluster.leader(), "service", "rm", *services)
    cluster.vault(cluster.leader(), "secret", "rm", f"mine{tag}", f"theirs{tag}")


def test_a_removed_workers_keys_open_nothing(cluster: World, tmp_path: Path) -> None:
    shutil.copytree(cluster.node("worker2").data_root / "swarm", tmp_path / "swarm")
    leader = cluster.leader()
    cluster.vault("worker2", "swarm", "leave")
    cluster.until(
        lambda: cluster.nodes()["worker2"]["Status"]["State"] == "down", "worker2 is known to have left"
    )  # fmt: skip
    cluster.vault(leader, "node", "rm", "--force", cluster.nodes()["worker2"]["ID"])
    try:
        said = cluster.node("worker2").run(
            sys.executable, "-m", "tests.cluster.thief", str(tmp_path), f"{cluster.node(leader).address}:{PORT}", "5",
            env={"PYTHONPATH": str(HERE)},
        )  # fmt: skip
        stolen = json.loads(said.out)
        assert stolen["tasks"] == []
        assert stolen["values"] == {}
        assert stolen["ended"] != "the time was up", "the session is refused at once"
    finally:
        token = cluster.vault(leader, "swarm", "join-token", "-q", "worker").out.strip()
        address = cluster.node("worker2").address
        cluster.vault("worker2", "swarm", "join", "--token", token, "--advertise-addr", address,
                      f"{cluster.node(leader).address}:{PORT}")  # fmt: skip

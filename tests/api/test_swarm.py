"""/swarm, /nodes and /info as a swarm of several nodes needs them; backups."""

import base64
import json
from typing import Any

import msgspec
import pytest

from tests.api.client import Daemon
from tests.api.fakes import NODE_ID
from tests.api.pair import pair
from vault.api.ports import Quorum
from vault.api.swarm_checks import remotes
from vault.api.system import _warnings
from vault.model.node import ManagerStatus, Node, NodeDescription, NodeSpec
from vault.store.changes import Put

PASSPHRASE = base64.b64encode(b"correct horse").decode()


def with_nodes(daemon: Daemon, **roles: str) -> Daemon:
    """Add nodes, each named and given its role."""
    for name, role in roles.items():
        status = ManagerStatus(leader=True, reachability="reachable", addr=f"10.0.0.9:{len(name)}")
        daemon.manager.store().write(
            (
                Put(
                    Node(
                        id=name.ljust(25, "0"),
                        spec=NodeSpec(role=role),
                        description=NodeDescription(hostname=name),
                        manager_status=status if role == "manager" else None,
                    )
                ),
            )
        )
    return daemon


def key(**parts: str) -> dict[str, str]:
    return {"x-vault-key": base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")}


def test_who_leads_and_who_is_to_be_reached_is_shown_as_it_is_now() -> None:
    daemon = with_nodes(Daemon().with_swarm(), two="manager", three="manager", worker="worker")
    daemon.manager.quorum = lambda: Quorum(
        leader="two".ljust(25, "0"), reachable=frozenset({NODE_ID, "two" + "0" * 22})
    )  # type: ignore[method-assign]
    shown = {one["Description"]["Hostname"]: one.get("ManagerStatus") for one in daemon.get("/nodes").json()}
    assert shown["vm"] == {"Reachability": "reachable", "Addr": "10.0.0.5:2377"}
    assert shown["two"] == {"Leader": True, "Reachability": "reachable", "Addr": "10.0.0.9:3"}
    assert shown["three"] == {"Reachability": "unreachable", "Addr": "10.0.0.9:5"}
    assert shown["worker"] is None
    assert daemon.get("/nodes/two").json()["ManagerStatus"]["Leader"] is True


@pytest.mark.parametrize(("managers", "begins"), [(0, ""), (1, ""), (3, ""), (5, "")])
def test_odd_numbers_of_managers_are_fine(managers: int, begins: str) -> None:
    assert _warnings(managers) == ()


def test_an_even_number_of_managers_is_warned_of() -> None:
    daemon = with_nodes(Daemon().with_swarm(), two="manager", worker="worker")
    info: Any = daemon.get("/info").json()
    assert (info["Swarm"]["Managers"], info["Swarm"]["Nodes"]) == (2, 3)
    assert (
        info["Warnings"]
        == info["Swarm"]["Warnings"]
        == [
            "WARNING: Running Swarm in a two-manager configuration. This configuration provides no fault tolerance, "
            "and poses a high risk to lose control over the cluster. Refer to "
            "https://docs.docker.com/engine/swarm/admin_guide/ to configure the Swarm for fault-tolerance."
        ]
    )
    assert _warnings(4)[0].startswith("WARNING: Running Swarm with 4 managers.")


def test_a_backup_streams_out_of_the_leader_through_any_manager() -> None:
    _, follower, line = pair()
    answer = follower.post("/vault/v1/swarm/backup", {"Passphrase": PASSPHRASE})
    assert (answer.status, answer.body, answer.complete) == (200, b"sealed under correct horse", True)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "correct" not in repr(line.asked)


@pytest.mark.parametrize(
    ("posted", "message"),
    [
        ({}, "autolock is off, so a backup needs a passphrase"),
        ({"Passphrase": ""}, "the passphrase is empty"),
    ],
)
def test_a_backup_that_nothing_would_seal_is_refused(posted: dict[str, str], message: str) -> None:
    answer = Daemon().with_swarm().post("/vault/v1/swarm/backup", posted)
    assert (answer.status, answer.message) == (400, message)


def test_a_restore_takes_the_archive_as_it_comes_and_the_key_from_a_header() -> None:
    daemon = Daemon()
    url = "/vault/v1/swarm/restore?advertiseAddr=127.0.0.1"
    answer = daemon.request("POST", url, b"archive", headers=key(Passphrase=PASSPHRASE))
    assert (answer.status, answer.json()) == (200, NODE_ID)
    assert daemon.manager.restored is not None
    request, archive = daemon.manager.restored
    assert (request.advertise_addr, archive) == ("127.0.0.1", b"archive")
    assert request.passphrase is not None
    assert request.passphrase.reveal() == b"correct horse"
    assert request.unlock_key is None
    assert "correct" not in repr(request)
    joined = Daemon().with_swarm().request("POST", url, b"archive", headers=key(Passphrase=PASSPHRASE))
    assert joined.status == 503


@pytest.mark.parametrize(
    ("headers", "begins"),
    [
        ({}, "a backup is opened with a passphrase or with an unlock key"),
        ({"x-vault-key": "%%%"}, "invalid X-Vault-Key header"),
        ({"x-vault-key": "x" * 20_000}, "invalid X-Vault-Key header"),
        (key(), "a backup is opened with a passphrase or with an unlock key"),
        (
            key(Passphrase=PASSPHRASE, UnlockKey=PASSPHRASE),
            "a backup is opened with a passphrase or with an unlock key",
        ),
        (key(Passphrase="canary!"), "invalid X-Vault-Key header"),
    ],
)
def test_a_restore_without_one_key_is_refused_and_nothing_is_quoted(headers: dict[str, str], begins: str) -> None:
    daemon = Daemon()
    answer = daemon.request("POST", "/vault/v1/swarm/restore", b"archive", headers=headers)
    assert answer.status == 400
    assert answer.message.startswith(begins)
    assert "canary" not in answer.text
    assert daemon.manager.restored is None


def test_a_manager_to_join_through_has_dockers_port_when_none_is_given() -> None:
    assert remotes(("10.0.0.1", "m:99", "[::1]", "[::1]:99")) == ("10.0.0.1:2377", "m:99", "[::1]:2377", "[::1]:99")


def test_a_nodes_stored_status_is_not_changed_by_showing_it() -> None:
    daemon = Daemon().with_swarm()
    before = msgspec.json.encode(daemon.manager.store().committed.nodes[NODE_ID])
    daemon.get("/nodes")
    assert msgspec.json.encode(daemon.manager.store().committed.nodes[NODE_ID]) == before


def test_keys_of_encrypted_networks_are_not_rotated_while_there_are_none() -> None:
    answer = Daemon().with_swarm().post("/vault/v1/networks/keys/rotate")
    assert (answer.status, answer.message.partition(" desc = ")[2]) == (
        400,
        "there are no keys to rotate: no node has a task on an encrypted network",
    )

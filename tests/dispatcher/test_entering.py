"""A promoted node gets a peer certificate and the keys, and nobody else does."""

from pathlib import Path

import msgspec
import pytest

from tests.crypto import openssl
from tests.dispatcher.swarm import CLUSTER, NODE_KEY, NOW, after, cluster_in, ident, node, swarm
from vault.crypto.certificates import new_tls_key
from vault.crypto.errors import Altered, InvalidCertificate
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.manager_seal import open_at_manager
from vault.crypto.node_seal import NodeKey
from vault.crypto.peers import request_peer, serial_of
from vault.dispatcher.authority import NoLongerMember
from vault.dispatcher.entering import Entering, enter, peer_revocations, peer_url, sealed_keys
from vault.model.errors import FailedPrecondition
from vault.model.node import ManagerStatus, Node
from vault.rpc.messages_manager import Enter
from vault.store.snapshot import Snapshot

WANTED = Enter(peer_request=request_peer(new_tls_key()), peer_address="10.0.0.9", control_address="10.0.0.9:2377")


def newcomer() -> Node:
    """Return a node that was promoted and has no part yet."""
    return msgspec.structs.replace(node("b", "manager"), manager_status=None, seal_key=NODE_KEY.public())


SWARM = swarm(node("a", "manager"), newcomer(), node("w"))


def entered(snapshot: Snapshot = SWARM, wanted: Enter = WANTED) -> tuple[Entering, Snapshot]:
    made = enter(snapshot, ident("b"), wanted, now=NOW)
    return made, after(snapshot, *made.changes)


def test_the_first_to_enter_finds_a_peer_ca_made_and_the_next_the_same_one(tmp_path: Path) -> None:
    first, snapshot = entered()
    second, snapshot = entered(snapshot)
    assert first.authority == second.authority
    peers = cluster_in(snapshot).peer_authority
    assert peers is not None
    assert peers.issued == tuple((ident("b"), serial_of(made.certificate)) for made in (first, second))
    for made in (first, second):
        assert openssl.verify(tmp_path, made.certificate, trusted=made.authority, at=NOW) == "OK"
    assert first.peer_url == "https://10.0.0.9:2380"
    assert peer_url("fd00::1") == "https://[fd00::1]:2380"


def test_where_it_answers_is_noted_before_it_takes_part() -> None:
    _, snapshot = entered()
    assert snapshot.nodes[ident("b")].manager_status == ManagerStatus(reachability="unknown", addr="10.0.0.9:2377")


def test_only_nodes_that_are_to_be_managers_enter() -> None:
    for ask in (
        lambda name: enter(SWARM, ident(name), WANTED, now=NOW),
        lambda name: sealed_keys(SWARM, ident(name), RootKey.generate(), epoch=(1, 2)),
    ):
        with pytest.raises(FailedPrecondition, match="is a worker of this swarm: promote it first"):
            ask("w")
        with pytest.raises(NoLongerMember):
            ask("x")


def test_a_bad_request_is_refused() -> None:
    for wanted in (
        msgspec.structs.replace(WANTED, peer_request=b"x"),
        msgspec.structs.replace(WANTED, peer_address="host"),
    ):
        with pytest.raises(InvalidCertificate):
            entered(wanted=wanted)


@pytest.mark.parametrize("locked", [False, True])
def test_the_keys_are_sealed_to_the_key_that_was_recorded_and_tell_whether_to_lock(locked: bool) -> None:
    unlock = UnlockKey.generate()
    fields = {"unlock_key": unlock.reveal(), "unlock_key_version": 7} if locked else {}
    snapshot = swarm(newcomer(), **fields)
    root = RootKey.generate()
    payload = sealed_keys(snapshot, ident("b"), root, epoch=(1, 2))
    keys = open_at_manager(NODE_KEY, payload, cluster_id=CLUSTER, node_id=ident("b"), epoch=(1, 2))
    assert keys.root_key == root
    assert keys.unlock_version == (7 if locked else 1)
    if locked:
        assert keys.unlock_key == unlock
    else:
        assert keys.unlock_key is None
    with pytest.raises(Altered):
        open_at_manager(NodeKey.generate(), payload, cluster_id=CLUSTER, node_id=ident("b"), epoch=(1, 2))


def test_the_revocation_list_follows_the_store(tmp_path: Path) -> None:
    made, snapshot = entered()
    cluster = cluster_in(snapshot)
    assert peer_revocations(cluster_in(SWARM), now=NOW) == b""
    assert cluster.peer_authority is not None
    revoked = msgspec.structs.replace(cluster.peer_authority, revoked=(serial_of(made.certificate),))
    for state, verdict in (
        (cluster, "OK"),
        (msgspec.structs.replace(cluster, peer_authority=revoked), "certificate revoked"),
    ):
        crl = peer_revocations(state, now=NOW)
        said = openssl.verify(tmp_path, made.certificate, trusted=made.authority, crl=crl, at=NOW)
        assert verdict in said

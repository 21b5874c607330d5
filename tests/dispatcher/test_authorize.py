"""Who may call what: the store decides, not the certificate."""

import dataclasses

import msgspec
import pytest

from tests.dispatcher.swarm import AUTHORITY, NOW, after, certificate_for, ident, node, swarm
from vault.crypto.certificates import Identity, Role, identity_of
from vault.dispatcher.authority import NoLongerMember
from vault.dispatcher.authorize import CertificateNeeded, NotPermitted, authorize
from vault.model.errors import ManagerNotReady
from vault.model.ids import Kind
from vault.model.node import NodeSpec
from vault.store.changes import Delete, Put
from vault.store.snapshot import Snapshot

SWARM = swarm(node("m", "manager"), node("w"))
OPEN = ("ca.root", "ca.issue")
MEMBERS = ("node.session", "node.logs")
MANAGERS = ("manager.forward", "manager.stream", "manager.enter")


def peer(name: str, role: Role = Role.WORKER) -> Identity:
    return identity_of(certificate_for(name, role), authority_pem=AUTHORITY.certificate_pem, now=NOW)


def test_without_a_certificate_only_the_root_and_a_certificate_can_be_asked_for() -> None:
    for method in OPEN:
        authorize(SWARM, method, None)
    for method in (*MEMBERS, *MANAGERS, "other", "ca.other", ""):
        with pytest.raises(CertificateNeeded) as caught:
            authorize(SWARM, method, None)
        assert caught.value.status == 401


def test_workers_have_sessions_and_managers_forward_besides() -> None:
    for method in (*OPEN, *MEMBERS):
        authorize(SWARM, method, peer("w"))
    for method in MANAGERS:
        with pytest.raises(NotPermitted, match="is not a manager of this swarm"):
            authorize(SWARM, method, peer("w"))
    for method in (*OPEN, *MEMBERS, *MANAGERS):
        authorize(SWARM, method, peer("m", Role.MANAGER))


@pytest.mark.parametrize(("role", "claims"), [("worker", Role.MANAGER), ("manager", Role.WORKER)])
def test_the_store_s_role_counts_and_not_the_certificate_s(role: str, claims: Role) -> None:
    """A demoted manager keeps its certificate for a while; a promoted worker has not got one yet."""
    changed = msgspec.structs.replace(SWARM.nodes[ident("w")], spec=NodeSpec(role=role))
    snapshot = after(SWARM, Put(changed))
    if role == "manager":
        authorize(snapshot, "manager.enter", peer("w", claims))
        return
    with pytest.raises(NotPermitted):
        authorize(snapshot, "manager.forward", peer("w", claims))


def test_a_removed_node_is_refused_everything_even_a_new_certificate() -> None:
    gone = after(SWARM, Delete(Kind.NODE, ident("w"), SWARM.nodes[ident("w")].version.index))
    for method in {*OPEN, *MEMBERS, *MANAGERS} - {"node.session"}:
        with pytest.raises(NoLongerMember):
            authorize(gone, method, peer("w"))
    authorize(gone, "node.session", peer("w"))  # The dispatcher tells it, once it is sure of leading.


def test_a_certificate_of_another_swarm_is_refused_even_for_a_node_id_that_is_here() -> None:
    other = dataclasses.replace(peer("m", Role.MANAGER), cluster_id="d" * 25)
    for method in (*OPEN, *MEMBERS, *MANAGERS):
        with pytest.raises(NotPermitted, match="another swarm") as caught:
            authorize(SWARM, method, other)
        assert caught.value.status == 403


def test_a_method_that_nobody_foresaw_is_for_nobody() -> None:
    for method in ("store.dump", "managerial", "nod.session"):
        with pytest.raises(NotPermitted):
            authorize(SWARM, method, peer("m", Role.MANAGER))


def test_before_the_store_is_there_nobody_is_let_in() -> None:
    with pytest.raises(ManagerNotReady):
        authorize(Snapshot(), "ca.issue", None)

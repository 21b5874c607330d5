"""Certificates: for joiners by token, for members by what the store says of them."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dispatcher.swarm import (
    AUTHORITY,
    CLUSTER,
    NODE_KEY,
    NOW,
    REQUEST,
    TLS_KEY,
    FakeStore,
    after,
    cluster_in,
    ident,
    joiner,
    node,
    swarm,
)
from vault.crypto.certificates import Identity, Role, identity_of, new_authority, new_tls_key, request_certificate
from vault.crypto.errors import InvalidCertificate, InvalidJoinToken
from vault.crypto.node_seal import NodeKey
from vault.dispatcher.authority import AddressTaken, NoLongerMember, admit, announcement, managers_of, renew
from vault.dispatcher.authority_service import AuthorityService
from vault.model.cluster import CAConfig, ClusterSpec
from vault.model.errors import BadRequest, ManagerNotReady, VaultError
from vault.model.node import Node, NodeSpec
from vault.rpc.errors import NotLeader
from vault.rpc.messages_ca import ISSUE, ROOT, AskRoot, Issued, IssueRequest, RootCA, TrustIs
from vault.rpc.pipe import local_call
from vault.store.changes import Put
from vault.store.snapshot import Snapshot
from vault.store.trust import begun, rotated_tokens, trust_bundle

NEW = "n" * 25


def admitted(snapshot: Snapshot, wanted: IssueRequest) -> tuple[Snapshot, Node, Identity]:
    """Return the store after a joiner was let in, the node it became, and who its certificate says it is."""
    made = admit(snapshot, wanted, address="10.0.0.9", new_id=NEW, now=NOW)
    (change,) = made.changes
    assert isinstance(change, Put)
    assert isinstance(change.obj, Node)
    bundle = trust_bundle(cluster_in(snapshot))
    return after(snapshot, change), change.obj, identity_of(made.answer.certificate, authority_pem=bundle, now=NOW)


@pytest.mark.parametrize(("token", "role"), [("worker", Role.WORKER), ("manager", Role.MANAGER)])
def test_a_token_makes_a_node_of_its_role(token: str, role: Role) -> None:
    snapshot = swarm()
    wanted = joiner(snapshot, token, keys=(TLS_KEY, NODE_KEY))
    _, made, identity = admitted(snapshot, wanted)
    assert (identity.cluster_id, identity.node_id, identity.role) == (CLUSTER, NEW, role)
    assert identity.not_after == NOW + timedelta(days=90)
    assert (made.id, made.spec.role, made.spec.availability) == (NEW, token, "active")
    assert (made.description.hostname, made.status.addr) == ("host", "10.0.0.9")
    assert made.seal_key == NODE_KEY.public() == identity.node_key
    assert made.certificate is not None
    assert (made.certificate.role, made.certificate.not_after) == (token, identity.not_after)
    assert made.certificate.issuer == cluster_in(snapshot).tls_info.cert_issuer_public_key


def test_what_a_joiner_says_of_itself_is_taken_where_it_may_say_it() -> None:
    snapshot = swarm()
    wanted = msgspec.structs.replace(joiner(snapshot), addr="192.0.2.7", availability="drain")
    _, made, _ = admitted(snapshot, wanted)
    assert (made.status.addr, made.spec.availability) == ("192.0.2.7", "drain")
    with pytest.raises(BadRequest, match='invalid Availability: "gone"'):
        admitted(snapshot, msgspec.structs.replace(wanted, availability="gone"))


def test_a_rotated_token_admits_nobody_and_the_other_role_s_still_does() -> None:
    before = swarm()
    snapshot = after(before, Put(rotated_tokens(cluster_in(before), worker=True, manager=False)))
    with pytest.raises(InvalidJoinToken, match=r"^A valid join token is necessary to join this cluster$") as caught:
        admitted(snapshot, joiner(before, "worker"))
    assert caught.value.status == 400
    assert admitted(snapshot, joiner(before, "manager"))
    assert admitted(snapshot, joiner(snapshot, "worker"))


@pytest.mark.parametrize("token", ["", "SWMTKN-1", "SWMTKN-1-" + "0" * 50 + "-" + "0" * 25, "SWMKEY-1-x"])
def test_what_is_no_token_of_this_swarm_admits_nobody(token: str) -> None:
    snapshot = swarm()
    with pytest.raises(InvalidJoinToken):
        admitted(snapshot, msgspec.structs.replace(joiner(snapshot), token=token))


@given(st.text(max_size=120), st.binary(max_size=300))
def test_whatever_arrives_without_a_token_or_a_good_request_is_refused_by_name(text: str, data: bytes) -> None:
    snapshot = SWARM
    with pytest.raises(VaultError):
        admit(snapshot, IssueRequest(request=REQUEST, token=text), address="10.0.0.9", new_id=NEW, now=NOW)
    good = cluster_in(snapshot).join_tokens.worker
    with pytest.raises(InvalidCertificate):
        admit(snapshot, IssueRequest(request=data, token=good), address="10.0.0.9", new_id=NEW, now=NOW)


SWARM = swarm()


def test_asking_again_with_the_same_keys_makes_no_second_node() -> None:
    snapshot = swarm()
    wanted = joiner(snapshot)
    once, first, _ = admitted(snapshot, wanted)
    made = admit(once, wanted, address="10.0.0.9", new_id="x" * 25, now=NOW)
    assert made.answer.node_id == first.id
    assert len(after(once, *made.changes).nodes) == 1


def test_nobody_becomes_a_node_by_naming_its_public_seal_key() -> None:
    """The seal key can be read in any certificate; only with the TLS key, which signs the request, is it the node."""
    snapshot = swarm()
    theirs = NodeKey.generate()
    once, first, _ = admitted(snapshot, joiner(snapshot, keys=(new_tls_key(), theirs)))
    thief = joiner(once, keys=(new_tls_key(), theirs))
    assert admit(once, thief, address="10.0.0.9", new_id="x" * 25, now=NOW).answer.node_id == "x" * 25 != first.id


def test_equal_host_names_are_no_clash() -> None:
    snapshot = swarm()
    once, first, _ = admitted(snapshot, joiner(snapshot))
    made = admit(once, joiner(once), address="10.0.0.9", new_id="x" * 25, now=NOW)
    assert made.answer.node_id != first.id


@pytest.mark.parametrize(("token", "state", "taken"), [
    ("manager", "ready", True), ("manager", "down", False), ("worker", "ready", False),
])  # fmt: skip
def test_a_manager_is_not_to_be_where_another_one_answers(token: str, state: str, taken: bool) -> None:
    """The engine would take the new one's address for that of the other; of one that is dead it may be."""
    snapshot = swarm(node("m", "manager", state=state))
    wanted = msgspec.structs.replace(joiner(snapshot, token), addr="10.0.0.1")
    if taken:
        with pytest.raises(AddressTaken, match=r"10\.0\.0\.1") as caught:
            admit(snapshot, wanted, address="10.0.0.9", new_id=NEW, now=NOW)
        assert caught.value.status == 409
    else:
        assert admit(snapshot, wanted, address="10.0.0.9", new_id=NEW, now=NOW).changes


def test_a_renewal_follows_the_store_s_role_and_records_the_new_keys() -> None:
    snapshot = swarm(node("a", "worker"))
    promoted = msgspec.structs.replace(snapshot.nodes[ident("a")], spec=NodeSpec(role="manager"))
    made = renew(after(snapshot, Put(promoted)), ident("a"), REQUEST, now=NOW)
    assert (made.identity.node_id, made.identity.role) == (ident("a"), Role.MANAGER)
    (change,) = made.changes
    assert isinstance(change, Put)
    assert isinstance(change.obj, Node)
    assert change.obj.seal_key == NODE_KEY.public()
    assert change.obj.certificate is not None
    assert change.obj.certificate.role == "manager"


def test_a_demoted_manager_stays_one_until_its_part_in_the_engine_has_ended() -> None:
    """Else it would stop its engine, and of two managers the other could not let it go without quorum."""
    demoted = msgspec.structs.replace(node("a", "manager"), spec=NodeSpec(role="worker"))
    done = msgspec.structs.replace(demoted, manager_status=None)
    for known, role, named in ((demoted, "manager", Role.MANAGER), (done, "worker", Role.WORKER)):
        snapshot = swarm(known)
        told = announcement(snapshot, ident("a"))
        assert told is not None
        assert told.role == role
        assert renew(snapshot, ident("a"), REQUEST, now=NOW).identity.role is named


def test_a_removed_node_gets_no_new_certificate() -> None:
    with pytest.raises(NoLongerMember, match="not part of this swarm any more") as caught:
        renew(swarm(), ident("gone"), REQUEST, now=NOW)
    assert caught.value.status == 403


def test_certificates_live_as_long_as_the_spec_says() -> None:
    spec = ClusterSpec(name="default", ca_config=CAConfig(node_cert_expiry=3600 * 10**9))
    before = swarm()
    snapshot = after(before, Put(msgspec.structs.replace(cluster_in(before), spec=spec)))
    _, _, identity = admitted(snapshot, joiner(snapshot))
    assert identity.not_after - NOW == timedelta(hours=1)


def test_while_the_root_is_rotated_the_new_one_signs_and_the_old_one_vouches() -> None:
    before = swarm()
    successor = new_authority(now=NOW)
    snapshot = after(before, Put(begun(cluster_in(before), successor, now=NOW)))
    made = admit(snapshot, joiner(before), address="10.0.0.9", new_id=NEW, now=NOW)
    for root in (AUTHORITY, successor):
        assert identity_of(made.answer.certificate, authority_pem=root.certificate_pem, now=NOW) == made.identity
    assert made.answer.trust == AUTHORITY.certificate_pem + successor.certificate_pem


def test_without_a_cluster_there_is_nothing_to_issue() -> None:
    with pytest.raises(ManagerNotReady):
        admit(Snapshot(), IssueRequest(request=REQUEST), address="10.0.0.9", new_id=NEW, now=NOW)


def test_members_are_told_the_trust_the_role_and_the_issuer_they_are_to_have() -> None:
    snapshot = swarm(node("m", "manager"), node("w"))
    info = cluster_in(snapshot).tls_info
    told = announcement(snapshot, ident("w"))
    assert told == TrustIs(trust=AUTHORITY.certificate_pem, role="worker", issuer=info.cert_issuer_public_key)
    assert announcement(snapshot, ident("x")) is None
    assert managers_of(snapshot) == ((ident("m"), "10.0.0.1:2377"),)


def test_renewals_of_many_nodes_are_spread() -> None:
    told = announcement(swarm(*(node(f"n{number:03}") for number in range(500))), ident("n001"))
    assert told is not None
    assert told.within_s == 10


class TestService:
    """Over a call, as joiners and members use it."""

    def service(self, store: FakeStore) -> AuthorityService:
        return AuthorityService(
            store, now=lambda: NOW, new_id=lambda: NEW, leader=lambda: (ident("m"), "10.0.0.1:2377")
        )

    def ask(self, store: FakeStore, wanted: IssueRequest, peer: Identity | None = None) -> Issued:
        async def asked() -> Issued:
            async with local_call(self.service(store).handlers()[ISSUE], peer) as call:
                await call.send(wanted)
                return await call.receive(Issued)

        return asyncio.run(asked())

    def test_a_certificate_is_out_only_after_the_store_knows_it(self) -> None:
        store = FakeStore(swarm(node("m", "manager")))
        issued = self.ask(store, joiner(store.committed))
        assert store.committed.nodes[NEW].certificate is not None
        assert (issued.node_id, issued.cluster_id) == (NEW, CLUSTER)
        assert issued.managers == ((ident("m"), "10.0.0.1:2377"),)

    def test_a_member_gets_a_certificate_for_itself_whatever_token_it_sends(self) -> None:
        store = FakeStore(swarm(node("a")))
        peer = renew(store.committed, ident("a"), REQUEST, now=NOW).identity
        wanted = joiner(store.committed, "manager")
        issued = self.ask(store, wanted, peer)
        assert issued.node_id == ident("a")
        assert identity_of(issued.certificate, authority_pem=issued.trust).role is Role.WORKER
        assert len(store.committed.nodes) == 1

    def test_a_refusal_changes_nothing(self) -> None:
        store = FakeStore(swarm())
        before = store.committed
        with pytest.raises(VaultError, match="A valid join token is necessary"):
            self.ask(store, msgspec.structs.replace(joiner(before), token="no"))
        assert store.committed is before

    def test_a_manager_that_does_not_lead_names_the_one_that_does(self) -> None:
        store = FakeStore(swarm())
        store.leads = False
        with pytest.raises(NotLeader) as caught:
            self.ask(store, joiner(store.committed))
        assert (caught.value.leader, caught.value.address) == (ident("m"), "10.0.0.1:2377")

    def test_first_contact_shows_the_root_that_tokens_name_and_the_time(self) -> None:
        before = swarm()
        rotating = after(before, Put(begun(cluster_in(before), new_authority(now=NOW), now=NOW)))
        store = FakeStore(rotating)
        store.leads = False

        async def asked() -> RootCA:
            async with local_call(self.service(store).handlers()[ROOT], None) as call:
                await call.send(AskRoot())
                return await call.receive(RootCA)

        shown = asyncio.run(asked())
        assert shown == RootCA(certificate=AUTHORITY.certificate_pem, now=NOW, node_life_s=90 * 86400)

    def test_the_leader_renews_its_own_certificate_itself(self) -> None:
        store = FakeStore(swarm(node("m", "manager")))
        request = request_certificate(new_tls_key(), node_key=NODE_KEY.public())
        issued = asyncio.run(self.service(store).renew_own(ident("m"), request))
        assert identity_of(issued.certificate, authority_pem=issued.trust).role is Role.MANAGER


def test_messages_about_certificates_show_no_token() -> None:
    wanted = joiner(SWARM)
    assert wanted.token
    assert wanted.token not in repr(wanted)

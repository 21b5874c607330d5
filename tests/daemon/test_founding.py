"""What a swarm is begun with, anew or from a backup; and what is left of managers who are not part of it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tests.daemon.world import INFO, NOW_S, PLACE, founded
from tests.dispatcher.swarm import after, cluster_in, ident, node, swarm
from vault.api.ports import InitRequest
from vault.crypto.certificates import Role, identity_of, key_for
from vault.crypto.keys import RootKey, UnlockKey
from vault.crypto.tokens import JoinToken
from vault.daemon.founding import found, refound, without_other_managers
from vault.model.cluster import CAConfig, ClusterSpec, PeerAuthority
from vault.model.errors import InvalidArgument
from vault.store.changes import Put
from vault.store.snapshot import Snapshot

NOW = datetime.fromtimestamp(NOW_S, UTC)


def test_a_new_swarm_has_one_manager_which_leads_and_tokens_that_name_its_root() -> None:
    founding = founded()
    snapshot = after(Snapshot(), *founding.changes)
    cluster, (manager,) = cluster_in(snapshot), snapshot.nodes.values()
    assert (manager.id, manager.spec.role, manager.status.state) == (founding.identity.keys.node_id, "manager", "ready")
    assert manager.manager_status is not None
    assert (manager.manager_status.leader, manager.manager_status.addr) == (True, "10.0.0.1:2377")
    assert manager.seal_key == founding.identity.keys.node_key.public()
    assert cluster.join_tokens.worker != cluster.join_tokens.manager
    for token in (cluster.join_tokens.worker, cluster.join_tokens.manager):
        JoinToken.parse(token).check_authority(founding.identity.roots)
    assert {network.spec.name for network in snapshot.networks.values()} >= {"ingress"}


def test_the_first_manager_s_certificate_names_it_and_lives_as_long_as_the_settings_say() -> None:
    spec = ClusterSpec(ca_config=CAConfig(node_cert_expiry=int(timedelta(hours=7).total_seconds() * 1e9)))
    identity = found(InitRequest(spec=spec), INFO, PLACE, now_s=NOW_S).identity
    named = identity_of(identity.certificate, authority_pem=identity.roots, now=NOW)
    assert (named.cluster_id, named.node_id) == (identity.keys.cluster_id, identity.keys.node_id)
    assert (named.role, named.not_after - NOW) == (Role.MANAGER, timedelta(hours=7))
    assert key_for(identity.certificate, (identity.keys.tls_key,)) == identity.keys.tls_key


def test_two_swarms_have_nothing_in_common() -> None:
    one, other = founded(), founded()
    assert one.identity.keys.cluster_id != other.identity.keys.cluster_id
    assert one.identity.roots != other.identity.roots
    assert one.identity.keys.root_key != other.identity.keys.root_key


def test_a_swarm_that_locks_gives_its_manager_the_key_that_operators_are_shown() -> None:
    locked, cluster = founded(autolock=True).identity, cluster_in(after(Snapshot(), *(free := founded()).changes))
    assert locked.locks
    assert (free.identity.locks, cluster.unlock_key) == (False, b"")
    shown = cluster_in(after(Snapshot(), *(again := founded(autolock=True)).changes))
    assert again.identity.unlock == UnlockKey(shown.unlock_key)
    assert again.identity.unlock_version == shown.unlock_key_version


def test_settings_that_mean_nothing_for_a_new_swarm_are_refused() -> None:
    spec = ClusterSpec(ca_config=CAConfig(force_rotate=1))
    with pytest.raises(InvalidArgument, match="draws its own root CA"):
        found(InitRequest(spec=spec), INFO, PLACE, now_s=NOW_S)


OLD = swarm(
    node("a", "manager", leads=True),
    node("b", "manager"),
    node("w"),
    peer_authority=PeerAuthority(certificate="of old", issued=((ident("b"), "1"),)),
)


def test_a_restored_swarm_has_this_manager_alone_and_its_old_nodes_as_workers() -> None:
    root = RootKey.generate()
    identity, changes = refound(OLD, root, INFO, PLACE, now_s=NOW_S)
    snapshot = after(OLD, *changes)
    assert identity.keys.root_key == root
    assert identity.keys.cluster_id == cluster_in(OLD).id
    assert {one.id for one in snapshot.nodes.values() if one.is_manager} == {identity.keys.node_id}
    for former in ("a", "b"):
        left = snapshot.nodes[ident(former)]
        assert (left.spec.role, left.status.state, left.manager_status) == ("worker", "down", None)
        assert left.status.message == "the swarm was begun anew without it"
    assert snapshot.nodes[ident("w")].status == OLD.nodes[ident("w")].status
    named = identity_of(identity.certificate, authority_pem=identity.roots, now=NOW)
    assert (named.node_id, named.role) == (identity.keys.node_id, Role.MANAGER)


def test_a_former_manager_that_was_down_when_the_backup_was_made_has_a_day_to_come_back() -> None:
    was = OLD.nodes[ident("b")]
    status, since = msgspec.structs.replace(was.status, state="down"), datetime.fromtimestamp(NOW_S - 3 * 86_400, UTC)
    old = after(OLD, Put(msgspec.structs.replace(was, status=status, down_since=since)))
    assert old.nodes[ident("b")].down_since == since
    _, changes = refound(old, RootKey.generate(), INFO, PLACE, now_s=NOW_S)
    snapshot = after(old, *changes)
    assert {snapshot.nodes[ident(one)].down_since for one in "ab"} == {snapshot.nodes[ident("a")].updated_at}


def test_no_peer_certificate_of_before_is_good_in_a_restored_swarm() -> None:
    _, changes = refound(OLD, RootKey.generate(), INFO, PLACE, now_s=NOW_S)
    assert cluster_in(after(OLD, *changes)).peer_authority is None


def test_a_manager_that_goes_on_alone_keeps_its_peers_authority_and_answers_where_it_is_now() -> None:
    snapshot = after(OLD, *without_other_managers(OLD, ident("a"), at="10.9.9.9:2377"))
    assert cluster_in(snapshot).peer_authority == cluster_in(OLD).peer_authority
    kept = snapshot.nodes[ident("a")]
    assert kept.manager_status == msgspec.structs.replace(OLD.nodes[ident("a")].manager_status, addr="10.9.9.9:2377")
    assert [one.id for one in snapshot.nodes.values() if one.is_manager] == [ident("a")]


def test_the_place_of_a_manager_is_the_one_it_was_given() -> None:
    place = msgspec.structs.replace(PLACE, address="10.0.0.7", listen="0.0.0.0:9999")
    founding = found(InitRequest(spec=ClusterSpec(), availability="drain"), INFO, place, now_s=NOW_S)
    (manager,) = after(Snapshot(), *founding.changes).nodes.values()
    assert manager.manager_status is not None
    assert (manager.status.addr, manager.manager_status.addr) == ("10.0.0.7", "10.0.0.7:9999")
    assert manager.spec.availability == "drain"

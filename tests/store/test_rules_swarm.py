"""Updates of the swarm and its nodes: rotations begun, locks and their versions, guards with Docker's words."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.dispatcher.swarm import AUTHORITY, after, cluster_in, ident, node, swarm
from vault.crypto.certificates import new_authority
from vault.crypto.errors import UnusableAuthority
from vault.crypto.keys import UnlockKey
from vault.model.cluster import (
    DEFAULT_SPEC,
    CAConfig,
    Cluster,
    ClusterSpec,
    DispatcherConfig,
    EncryptionConfig,
    Orchestration,
)
from vault.model.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    LastManagerLeaving,
    ManagerLeaving,
    OutOfSequence,
    VaultError,
)
from vault.model.ids import Kind
from vault.model.node import Node, NodeSpec
from vault.store.changes import Delete, Put
from vault.store.rules_cluster import check_leaving, removed_node, updated_node
from vault.store.rules_swarm import (
    initial,
    locked_from_the_start,
    unlock_key_of,
    updated_swarm,
    wrapping,
)
from vault.store.snapshot import Snapshot

NOW = datetime.now(UTC) + timedelta(days=1)  # After what tests have OpenSSL make.
SWARM = swarm()


def updated(snapshot: Snapshot, spec: ClusterSpec | None = None, **asked: Any) -> Snapshot:
    """Return the store after an update of the swarm that was read just before."""
    cluster = cluster_in(snapshot)
    version = asked.pop("version", cluster.version.index)
    changes = updated_swarm(snapshot, spec or cluster.spec, version=version, now=NOW, **asked)
    return after(snapshot, *changes)


def with_ca(snapshot: Snapshot, **fields: Any) -> ClusterSpec:
    """Return the spec as a client posts it that read it before: with the CA's settings changed."""
    spec = cluster_in(snapshot).spec
    return msgspec.structs.replace(spec, ca_config=msgspec.structs.replace(spec.ca_config, **fields))


def locking(snapshot: Snapshot, on: bool) -> ClusterSpec:
    return msgspec.structs.replace(cluster_in(snapshot).spec, encryption_config=EncryptionConfig(auto_lock_managers=on))


def refused(snapshot: Snapshot, spec: ClusterSpec, **asked: Any) -> VaultError:
    with pytest.raises(VaultError) as caught:
        updated(snapshot, spec, **asked)
    return caught.value


class TestSettings:
    """Heartbeat, history, certificates' life."""

    def test_what_is_left_out_stays_and_what_is_given_changes(self) -> None:
        spec = ClusterSpec(
            name="default",
            orchestration=Orchestration(task_history_retention_limit=9),
            dispatcher=DispatcherConfig(heartbeat_period=10**9),
            ca_config=CAConfig(node_cert_expiry=7200 * 10**9),
        )
        kept = cluster_in(updated(SWARM, spec)).spec
        assert kept.orchestration.task_history_retention_limit == 9
        assert (kept.dispatcher.heartbeat_period, kept.ca_config.node_cert_expiry) == (10**9, 7200 * 10**9)
        assert kept.raft == DEFAULT_SPEC.raft

    def test_what_was_read_too_long_ago_is_refused(self) -> None:
        assert isinstance(refused(SWARM, cluster_in(SWARM).spec, version=99), OutOfSequence)

    @pytest.mark.parametrize(
        ("ca", "text"),
        [
            ({"external_cas": ({"Protocol": "cfssl", "URL": "https://ca"},)}, "external CAs are not supported"),
            ({"node_cert_expiry": 3599 * 10**9}, "minimum certificate expiry time is: 1h0m0s"),
            ({"signing_ca_key": "x"}, "if a signing CA key is provided, the signing CA cert must also be provided"),
            ({"signing_ca_cert": "x"}, "could not parse the desired CA certificate"),
            ({"signing_ca_cert": "ü", "signing_ca_key": "x"}, "could not parse the desired CA certificate"),
            ({"signing_ca_cert": new_authority(now=NOW).certificate_pem.decode()}, "give the key"),
        ],
    )
    def test_what_cannot_be_is_refused_in_a_sentence(self, ca: dict[str, Any], text: str) -> None:
        error = refused(SWARM, with_ca(SWARM, **ca))
        assert error.status == 400
        assert error.message.startswith("rpc error: code = InvalidArgument desc = ")
        assert text in error.message

    def test_a_new_swarm_draws_its_own_root(self) -> None:
        assert initial(ClusterSpec(), DEFAULT_SPEC) == DEFAULT_SPEC
        for ca in (CAConfig(force_rotate=1), CAConfig(signing_ca_cert="x"), CAConfig(signing_ca_key="x")):
            with pytest.raises(InvalidArgument, match="draws its own root CA"):
                initial(ClusterSpec(ca_config=ca), DEFAULT_SPEC)

    def test_tokens_are_drawn_anew_one_by_one(self) -> None:
        before = cluster_in(SWARM).join_tokens
        after_one = cluster_in(updated(SWARM, worker_token=True)).join_tokens
        assert after_one.worker != before.worker
        assert after_one.manager == before.manager
        digest = before.worker.rsplit("-", 1)[0]
        assert after_one.worker.startswith(digest)
        assert cluster_in(updated(SWARM)).join_tokens == before


class TestRoot:
    """Rotations of the root CA."""

    def own(self, folder: Path) -> dict[str, str]:
        """Return a root CA that an operator made, as fields of the settings."""
        command = (
            "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 3650 -subj /CN=mine -keyout k -out c"
        )
        usage = ("-addext", "basicConstraints=critical,CA:true", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        subprocess.run(["openssl", *command.split(), *usage], cwd=folder, check=True, capture_output=True)
        return {"signing_ca_cert": (folder / "c").read_text(), "signing_ca_key": (folder / "k").read_text()}

    def test_counting_up_begins_one_before_the_request_is_answered(self) -> None:
        cluster = cluster_in(updated(SWARM, with_ca(SWARM, force_rotate=1)))
        assert cluster.root_rotation_in_progress
        assert cluster.root_rotation is not None
        assert cluster.tls_info.trust_root == cluster_in(SWARM).tls_info.trust_root
        assert cluster.spec.ca_config.force_rotate == 1

    def test_a_client_that_posts_what_it_read_or_only_a_part_begins_none(self) -> None:
        rotating = updated(SWARM, with_ca(SWARM, force_rotate=3))
        rotation = cluster_in(rotating).root_rotation
        for spec in (cluster_in(rotating).spec, ClusterSpec(name="default"), with_ca(rotating, force_rotate=0)):
            again = cluster_in(updated(rotating, spec))
            assert again.root_rotation == rotation
            assert again.spec.ca_config.force_rotate == 3

    def test_counting_up_again_takes_another_root_vouched_for_by_the_same_old_one(self) -> None:
        one = updated(SWARM, with_ca(SWARM, force_rotate=1))
        two = cluster_in(updated(one, with_ca(one, force_rotate=2)))
        assert two.root_rotation is not None
        assert two.root_rotation != cluster_in(one).root_rotation
        assert two.tls_info.trust_root == AUTHORITY.certificate_pem.decode()

    def test_a_given_root_takes_over_and_its_key_is_in_no_settings(self, tmp_path: Path) -> None:
        own = self.own(tmp_path)
        after_it = updated(SWARM, with_ca(SWARM, **own))
        cluster = cluster_in(after_it)
        assert cluster.root_rotation is not None
        assert cluster.root_rotation.certificate == own["signing_ca_cert"]
        assert (cluster.spec.ca_config.signing_ca_key, cluster.spec.ca_config.signing_ca_cert) == (
            "",
            own["signing_ca_cert"],
        )
        rotation = cluster.root_rotation
        assert cluster_in(updated(after_it, cluster.spec)).root_rotation == rotation, "posted as read: nothing new"
        drawn = cluster_in(updated(after_it, with_ca(after_it, force_rotate=1, signing_ca_cert="")))
        assert drawn.root_rotation not in (None, rotation)
        assert drawn.spec.ca_config.signing_ca_cert == ""

    def test_asking_for_the_present_root_gives_a_rotation_up(self) -> None:
        rotating = updated(SWARM, with_ca(SWARM, force_rotate=1))
        back = cluster_in(updated(rotating, with_ca(rotating, signing_ca_cert=AUTHORITY.certificate_pem.decode())))
        assert (back.root_rotation, back.root_rotation_in_progress) == (None, False)
        assert back.tls_info == cluster_in(SWARM).tls_info

    def test_a_root_that_cannot_take_over_changes_nothing(self, tmp_path: Path) -> None:
        own = self.own(tmp_path)
        other = new_authority(now=NOW).key_pem.reveal().decode()
        error = refused(SWARM, with_ca(SWARM, **{**own, "signing_ca_key": other}))
        assert isinstance(error, UnusableAuthority)
        assert "the signing CA key does not belong to the desired CA certificate" in error.message


class TestLock:
    """The unlock key and its versions."""

    def test_turning_autolock_on_draws_a_key_under_a_new_version_once(self) -> None:
        on = updated(SWARM, locking(SWARM, True))
        cluster = cluster_in(on)
        assert cluster.unlock_key_version == 2
        assert UnlockKey.parse(unlock_key_of(cluster)) == UnlockKey(cluster.unlock_key)
        again = cluster_in(updated(on, locking(on, True)))
        assert (again.unlock_key, again.unlock_key_version) == (cluster.unlock_key, 2)

    def test_rotating_draws_another_key_and_turning_off_forgets_it(self) -> None:
        on = updated(SWARM, locking(SWARM, True))
        rotated = updated(on, unlock_key=True)
        assert cluster_in(rotated).unlock_key not in (b"", cluster_in(on).unlock_key)
        off = cluster_in(updated(rotated, locking(rotated, False)))
        assert (off.unlock_key, off.unlock_key_version, unlock_key_of(off)) == (b"", 4, "")

    def test_rotating_a_key_that_is_not_there_draws_none(self) -> None:
        cluster = cluster_in(updated(SWARM, unlock_key=True))
        assert (cluster.unlock_key, cluster.unlock_key_version) == (b"", 1)

    def test_managers_wrap_anew_when_their_file_waits_for_another_version(self) -> None:
        cluster = cluster_in(SWARM)
        assert wrapping(cluster, held_version=1) is None
        on = cluster_in(updated(SWARM, locking(SWARM, True)))
        wanted = wrapping(on, held_version=1)
        assert wanted is not None
        assert wanted.version == 2
        assert wanted.key == UnlockKey(on.unlock_key)
        assert wrapping(on, held_version=2) is None
        off = wrapping(msgspec.structs.replace(cluster, unlock_key_version=3), held_version=2)
        assert off is not None
        assert off.key is None

    def test_a_swarm_may_be_locked_from_the_start(self) -> None:
        spec = ClusterSpec(encryption_config=EncryptionConfig(auto_lock_managers=True))
        locked = locked_from_the_start(Cluster(id="c" * 25, spec=spec))
        assert len(locked.unlock_key) == 32
        assert not locked_from_the_start(Cluster(id="c" * 25)).unlock_key


def demoted(snapshot: Snapshot, name: str) -> Snapshot:
    version = snapshot.nodes[ident(name)].version.index
    return after(snapshot, *updated_node(snapshot, ident(name), NodeSpec(role="worker"), version=version, now_s=0.0))


class TestRoles:
    """Promotion, demotion, removal, leaving."""

    def test_a_worker_is_promoted_and_a_manager_demoted_where_managers_are_left(self) -> None:
        snapshot = swarm(node("a", "manager"), node("b"))
        promoted = updated_node(snapshot, ident("b"), NodeSpec(role="manager"), version=snapshot.index, now_s=0.0)
        snapshot = after(snapshot, *promoted)
        assert demoted(snapshot, "b").nodes[ident("b")].spec.role == "worker"

    def test_the_last_manager_stays_one(self) -> None:
        with pytest.raises(FailedPrecondition, match="attempting to demote the last manager of the swarm"):
            demoted(swarm(node("a", "manager"), node("b")), "a")

    @pytest.mark.parametrize(
        ("up", "down", "who", "allowed"),
        [
            ("abc", "", "c", True),
            ("ab", "c", "c", True),  # The one that is dead: what is left is all there.
            ("ab", "c", "b", False),
            ("abc", "de", "a", False),
            ("abcd", "e", "a", True),
            ("ab", "", "a", True),
            ("abc", "d", "a", True),
            ("abc", "d", "d", True),
        ],
    )
    def test_a_demotion_leaves_more_than_half_of_the_others_to_be_reached(
        self, up: str, down: str, who: str, allowed: bool
    ) -> None:
        nodes = [node(name, "manager", state="down" if name in down else "ready") for name in up + down]
        snapshot = swarm(*nodes)
        if allowed:
            assert demoted(snapshot, who)
            return
        text = "can't remove member from the raft: this would result in a loss of quorum"
        with pytest.raises(FailedPrecondition, match=text) as caught:
            demoted(snapshot, who)
        assert caught.value.status == 400

    def test_a_manager_in_preparation_may_be_demoted_whatever_the_others_do(self) -> None:
        waiting = msgspec.structs.replace(node("d", "manager"), manager_status=None)
        snapshot = swarm(node("a", "manager"), node("b", "manager"), node("c", "manager", state="down"), waiting)
        assert demoted(snapshot, "d")
        with pytest.raises(FailedPrecondition):
            demoted(snapshot, "a")

    def test_a_manager_is_removed_after_it_was_demoted_dead_or_not(self) -> None:
        snapshot = swarm(node("a", "manager"), node("b", "manager"), node("c", "manager", state="down"))
        with pytest.raises(FailedPrecondition, match="It must be demoted to worker before removal"):
            removed_node(snapshot, ident("c"), force=True)
        snapshot = demoted(snapshot, "c")
        version = snapshot.nodes[ident("c")].version.index
        assert removed_node(snapshot, ident("c"), force=False) == (Delete(Kind.NODE, ident("c"), version),)

    def test_two_nodes_do_not_get_one_name(self) -> None:
        named = msgspec.structs.replace(node("b"), spec=NodeSpec(name="db1"))
        snapshot = swarm(node("a"), named)
        for name in ("db1", "DB1"):
            with pytest.raises(AlreadyExists, match="name conflicts with an existing object: node") as caught:
                updated_node(snapshot, ident("a"), NodeSpec(name=name), version=snapshot.index, now_s=0.0)
            assert caught.value.status == 409
        (same,) = updated_node(
            snapshot, ident("b"), NodeSpec(name="DB1", labels={"x": "y"}), version=snapshot.index, now_s=0.0
        )
        assert isinstance(same, Put)
        assert isinstance(same.obj, Node)
        assert updated_node(snapshot, ident("a"), NodeSpec(), version=snapshot.index, now_s=0.0)

    def test_the_last_manager_that_leaves_is_told_what_that_erases(self) -> None:
        with pytest.raises(LastManagerLeaving):
            check_leaving(swarm(node("a", "manager"), node("b")), ident("a"))

    def test_a_manager_that_leaves_is_told_how_many_remain_of_how_many(self) -> None:
        two = swarm(node("a", "manager"), node("b", "manager"))
        with pytest.raises(ManagerLeaving, match=r"Removing this node leaves 1 managers out of 2\."):
            check_leaving(two, ident("a"))
        three = swarm(node("a", "manager"), node("b", "manager"), node("c", "manager", state="down"))
        with pytest.raises(ManagerLeaving, match=r"Removing this node leaves 1 managers out of 3\."):
            check_leaving(three, ident("a"))
        healthy = swarm(*(node(name, "manager") for name in "abcde"))
        with pytest.raises(ManagerLeaving) as caught:
            check_leaving(healthy, ident("a"))
        assert "leaves" not in caught.value.message

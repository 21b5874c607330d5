"""Rules of writes, against small worlds."""

from typing import Any

import msgspec
import pytest

from vault.model.cluster import DEFAULT_SPEC, CAConfig, Cluster, ClusterSpec, EncryptionConfig, Orchestration, Raft
from vault.model.container import ContainerSpec
from vault.model.errors import FailedPrecondition, InUse, InvalidArgument, NotFound, OutOfSequence, VaultError
from vault.model.ids import Kind
from vault.model.network import IPAMConfig, IPAMOptions, Network, NetworkAttachment, NetworkSpec
from vault.model.node import Node, NodeSpec, NodeStatus
from vault.model.secret import FileTarget, Secret, SecretReference, SecretSpec
from vault.model.service import (
    EndpointSpec,
    GlobalJob,
    NetworkAttachmentConfig,
    PortConfig,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)
from vault.model.task import State, Task, TaskStatus
from vault.store import rules
from vault.store.changes import AnyObject, Change, Delete, Put
from vault.store.rules_cluster import merged, removed_node, updated, updated_node
from vault.store.rules_network import new_network, predefined, removed_network
from vault.store.rules_service import new_service, next_run, removed_service, rolled_back, updated_service
from vault.store.snapshot import Snapshot

NOW_S = 1_000.0


def ident(name: str) -> str:
    return name.ljust(25, "0")


INGRESS = Network(id=ident("ingress"), spec=NetworkSpec(name="ingress", ingress=True))


def world(*objects: AnyObject) -> Snapshot:
    """Return a snapshot of objects, each committed by itself."""
    snapshot = Snapshot()
    for obj in objects:
        snapshot = after(snapshot, Put(obj))
    return snapshot


def after(snapshot: Snapshot, *changes: Change) -> Snapshot:
    return snapshot.apply(changes, index=snapshot.index + 1, now_s=NOW_S)


def secret(name: str) -> Secret:
    return Secret(id=ident(name), spec=SecretSpec(name=name))


def refer(name: str) -> SecretReference:
    return SecretReference(secret_id=ident(name), secret_name=name, file=FileTarget(name=name))


def spec(name: str = "web", *secrets: str, networks: tuple[str, ...] = (), ports: Any = ()) -> ServiceSpec:
    container = ContainerSpec(image="busybox", secrets=tuple(refer(one) for one in secrets))
    targets = tuple(NetworkAttachmentConfig(target=target) for target in networks)
    return ServiceSpec(
        name=name,
        task_template=TaskSpec(container_spec=container, networks=targets),
        endpoint_spec=EndpointSpec(ports=tuple(ports)),
    )


def created(snapshot: Snapshot, posted: ServiceSpec) -> Snapshot:
    return after(snapshot, new_service(snapshot, ident(posted.name), posted, now_s=NOW_S))


def task(name: str, service: str = "web", **fields: Any) -> Task:
    return Task(id=ident(name), service_id=ident(service), spec=TaskSpec(), **fields)


def test_a_secret_that_only_a_rollback_needs_is_kept_and_the_refusal_says_so() -> None:
    snapshot = created(world(secret("pw"), secret("pw2")), spec("web", "pw"))
    with pytest.raises(InUse, match=r"secret 'pw' is in use by the following service: web$"):
        rules.removed(snapshot, Kind.SECRET, ident("pw"))
    version = snapshot.services[ident("web")].version.index
    rotated = after(snapshot, updated_service(snapshot, ident("web"), spec("web", "pw2"), version=version, now_s=NOW_S))
    with pytest.raises(InUse, match=r"secret 'pw' is in use by the following service: web \(in its previous spec\)$"):
        rules.removed(rotated, Kind.SECRET, ident("pw"))
    version = rotated.services[ident("web")].version.index
    again = after(rotated, updated_service(rotated, ident("web"), spec("web", "pw2"), version=version, now_s=NOW_S))
    assert rules.removed(again, Kind.SECRET, ident("pw")) == (Delete(Kind.SECRET, ident("pw"), 1),)


def test_a_secret_made_anew_under_the_same_name_is_not_the_one_referred_to() -> None:
    renewed = Secret(id=ident("other"), spec=SecretSpec(name="pw"))
    with pytest.raises(InvalidArgument, match="secret not found: pw"):
        new_service(world(renewed), ident("web"), spec("web", "pw"), now_s=NOW_S)


def test_a_rollback_checks_its_references_again() -> None:
    """Whatever removed the secret, a service is never left with a claim on nothing."""
    snapshot = created(world(secret("pw")), spec("web", "pw"))
    version = snapshot.services[ident("web")].version.index
    snapshot = after(snapshot, updated_service(snapshot, ident("web"), spec("web"), version=version, now_s=NOW_S))
    bereft = after(snapshot, Delete(Kind.SECRET, ident("pw"), 1))
    version = bereft.services[ident("web")].version.index
    with pytest.raises(InvalidArgument, match="secret not found: pw"):
        rolled_back(bereft, ident("web"), version=version, now_s=NOW_S)


def test_removing_a_service_asks_its_tasks_to_go_and_leaves_others_alone() -> None:
    gone = task("gone", desired_state=State.REMOVE)
    snapshot = after(created(world(), spec()), Put(task("mine")), Put(task("theirs", "other")), Put(gone))
    changes = removed_service(snapshot, ident("web"), now_s=NOW_S)
    assert [type(change) for change in changes] == [Delete, Put]
    (mine,) = [change.obj for change in changes if isinstance(change, Put)]
    assert isinstance(mine, Task)
    assert (mine.id, mine.desired_state) == (ident("mine"), State.REMOVE)
    assert mine.stop_asked_at is not None


@pytest.mark.parametrize(
    ("theirs", "ours", "refused"),
    [
        ("ingress", "ingress", True),
        ("ingress", "host", True),
        ("host", "ingress", True),
        ("host", "host", False),  # The scheduler keeps them apart.
    ],
)
def test_a_published_port_belongs_to_one_service(theirs: str, ours: str, refused: bool) -> None:
    def port(mode: str) -> PortConfig:
        return PortConfig(target_port=80, published_port=8080, publish_mode=mode)

    snapshot = created(world(INGRESS), spec("web", ports=[port(theirs)]))
    if refused:
        with pytest.raises(InvalidArgument, match="port '8080' is already in use by service 'web'"):
            new_service(snapshot, ident("new"), spec("new", ports=[port(ours)]), now_s=NOW_S)
        return
    assert new_service(snapshot, ident("new"), spec("new", ports=[port(ours)]), now_s=NOW_S)
    udp = PortConfig(target_port=80, published_port=8080, protocol="udp")
    assert new_service(snapshot, ident("new"), spec("new", ports=[udp]), now_s=NOW_S)


def test_a_service_keeps_its_own_port_over_an_update() -> None:
    port = PortConfig(target_port=80, published_port=8080)
    snapshot = created(world(INGRESS), spec("web", ports=[port]))
    version = snapshot.services[ident("web")].version.index
    assert updated_service(snapshot, ident("web"), spec("web", ports=[port]), version=version, now_s=NOW_S)


def test_a_network_stays_for_tasks_that_are_wanted_and_goes_before_those_that_are_about_to_be_asked_to_go() -> None:
    network = Network(id=ident("net"), spec=NetworkSpec(name="net"))
    attached = (NetworkAttachment(network=network),)
    running = task("t", networks_attachments=attached, status=TaskStatus(state=State.RUNNING))
    busy = after(created(world(network), spec("web")), Put(msgspec.structs.replace(running, service_id=ident("web"))))
    with pytest.raises(FailedPrecondition, match=f"network net is in use by task {ident('t')}"):
        removed_network(busy, ident("net"))
    leaving = msgspec.structs.replace(busy.tasks[ident("t")], desired_state=State.REMOVE)
    assert removed_network(after(busy, Put(leaving)), ident("net"))
    service = busy.services[ident("web")]
    assert removed_network(after(busy, Delete(Kind.SERVICE, service.id, service.version.index)), ident("net"))


@pytest.mark.parametrize(
    ("subnet", "free"), [("10.7.0.0/24", False), ("10.0.0.0/8", False), ("10.7.0.64/26", False), ("10.7.1.0/24", True)]
)
def test_a_subnet_that_overlaps_another_networks_is_refused(subnet: str, free: bool) -> None:
    def asking(subnet: str) -> IPAMOptions:
        return IPAMOptions(configs=(IPAMConfig(subnet=subnet),))

    wanted = NetworkSpec(name="new", ipam_options=asking(subnet))
    not_yet = Network(id=ident("net"), spec=NetworkSpec(name="net", ipam_options=asking("10.7.0.0/24")))
    chosen = Network(id=ident("net"), spec=NetworkSpec(name="net"), ipam_options=asking("10.7.0.0/24"))
    for other in (not_yet, chosen):
        if free:
            assert new_network(world(other), ident("new"), wanted)
        else:
            with pytest.raises(VaultError, match=f"^Pool overlaps .*: {subnet} and 10.7.0.0/24 of network net"):
                new_network(world(other), ident("new"), wanted)


def test_a_new_swarm_has_one_ingress_network_and_those_of_every_node() -> None:
    ids = iter("abcdefgh")
    snapshot = after(Snapshot(), *predefined(lambda: ident(next(ids))))
    assert {network.spec.name for network in snapshot.networks.values()} == {"ingress", "bridge", "host", "none"}
    with pytest.raises(VaultError, match=r"ingress network \(\w+\) is already present"):
        new_network(snapshot, ident("x"), NetworkSpec(name="second", ingress=True))
    with pytest.raises(VaultError, match="pre-defined network and cannot be removed"):
        removed_network(snapshot, next(one.id for one in snapshot.networks.values() if one.spec.name == "host"))


def node(name: str, role: str = "worker", state: str = "ready") -> Node:
    return Node(id=ident(name), spec=NodeSpec(role=role), status=NodeStatus(state=state))


def test_the_last_manager_is_never_demoted_and_another_is() -> None:
    alone = world(node("m1", "manager"))
    with pytest.raises(FailedPrecondition, match="attempting to demote the last manager of the swarm"):
        updated_node(alone, ident("m1"), NodeSpec(), version=1, now_s=0.0)
    assert updated_node(
        world(node("m1", "manager"), node("m2", "manager")), ident("m1"), NodeSpec(), version=1, now_s=0.0
    )


def test_a_change_of_a_node_stands_though_its_status_changed_meanwhile_but_not_its_spec() -> None:
    read = world(node("n"))
    version = read.nodes[ident("n")].version.index
    drained = NodeSpec(availability="drain")
    beaten = after(read, Put(msgspec.structs.replace(read.nodes[ident("n")], status=NodeStatus(state="down"))))
    (put,) = updated_node(beaten, ident("n"), drained, version=version, now_s=0.0)
    assert isinstance(put, Put)
    assert isinstance(put.obj, Node)
    assert (put.obj.spec, put.obj.status.state) == (drained, "down")
    overtaken = after(
        beaten, *updated_node(beaten, ident("n"), NodeSpec(labels={"a": "b"}), version=version, now_s=0.0)
    )
    for stale in (version, beaten.nodes[ident("n")].version.index, overtaken.index + 1):
        with pytest.raises(OutOfSequence):
            updated_node(overtaken, ident("n"), drained, version=stale, now_s=0.0)


@pytest.mark.parametrize(
    ("role", "state", "force", "text"),
    [
        ("manager", "down", True, "is a cluster manager and is a member of the raft cluster"),
        ("worker", "ready", False, "is not down and can't be removed"),
        ("worker", "ready", True, ""),
        ("worker", "down", False, ""),
    ],
)
def test_a_node_is_removed_when_it_is_down_or_by_force(role: str, state: str, force: bool, text: str) -> None:
    snapshot = world(node("n", role, state))
    if text:
        with pytest.raises(FailedPrecondition, match=text):
            removed_node(snapshot, ident("n"), force=force)
    else:
        assert removed_node(snapshot, ident("n"), force=force) == (Delete(Kind.NODE, ident("n"), 1),)


def test_settings_left_out_keep_what_they_were() -> None:
    changed = merged(
        ClusterSpec(
            labels={"a": "b"},
            orchestration=Orchestration(task_history_retention_limit=2),
            raft=Raft(snapshot_interval=500),
            encryption_config=EncryptionConfig(auto_lock_managers=True),
        ),
        DEFAULT_SPEC,
    )
    assert changed.orchestration.task_history_retention_limit == 2
    assert (changed.raft.snapshot_interval, changed.raft.election_tick) == (500, 10)
    assert changed.ca_config == DEFAULT_SPEC.ca_config
    assert (changed.name, changed.labels) == ("default", {"a": "b"})
    assert changed.encryption_config.auto_lock_managers


def test_the_swarm_is_changed_at_the_version_that_was_read() -> None:
    snapshot = world(Cluster(id=ident("c")))
    spec = ClusterSpec(name="default", ca_config=CAConfig(node_cert_expiry=3_600_000_000_000))
    assert updated(snapshot, spec, version=1).spec.ca_config.node_cert_expiry == 3_600_000_000_000
    with pytest.raises(OutOfSequence):
        updated(snapshot, spec, version=2)
    with pytest.raises(NotFound):
        updated(Snapshot(), spec, version=1)


def test_a_job_s_run_begins_after_every_node_there_is_whatever_the_clock_of_the_manager_says() -> None:
    job = ServiceSpec(name="job", mode=ServiceMode(global_job=GlobalJob()))
    snapshot = after(world(), Put(Node(id=ident("n"))))
    run = next_run(snapshot, job, None, NOW_S - 3600)
    assert run is not None
    assert run.last_execution == snapshot.nodes[ident("n")].created_at
    later = next_run(snapshot, job, run, NOW_S + 5)
    assert later is not None
    assert (later.job_iteration.index, later.last_execution.timestamp()) == (1, NOW_S + 5)
    assert next_run(snapshot, ServiceSpec(name="web"), None, NOW_S) is None

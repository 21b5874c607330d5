"""What a network may ask for, and what is refused at once instead of failing on some node later."""

from typing import Any

import pytest
from msgspec.structs import replace

from vault.model.base import EPOCH
from vault.model.cluster import Cluster, EncryptionEpochs
from vault.model.container import ContainerSpec
from vault.model.errors import VaultError
from vault.model.network import (
    ENCRYPTED,
    MTU_OPTION,
    VXLAN_OPTION,
    ConfigReference,
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkSpec,
)
from vault.model.node import EncryptionMeans, Node, NodeDescription, NodeEncryption, NodeStatus
from vault.model.secret import Driver
from vault.model.service import NetworkAttachmentConfig, ServiceSpec, TaskSpec
from vault.store.changes import Put
from vault.store.rules_network import keys_to_rotate, new_network, removed_network
from vault.store.rules_network_spec import check_network_spec
from vault.store.rules_service import new_service
from vault.store.snapshot import Snapshot


def spec(*configs: IPAMConfig, options: dict[str, str] | None = None, **fields: Any) -> NetworkSpec:
    ipam = IPAMOptions(configs=configs) if configs else None
    driver = Driver(name="overlay", options=options or {})
    return NetworkSpec(name="net", driver_configuration=driver, ipam_options=ipam, **fields)


def subnet(text: str, **fields: str) -> IPAMConfig:
    return IPAMConfig(subnet=text, **fields)


def aside(text: str, address: str, **fields: str) -> IPAMConfig:
    return IPAMConfig(subnet=text, aux_addresses={"a": address}, **fields)


def world(*specs: NetworkSpec) -> Snapshot:
    snapshot = Snapshot()
    for n, each in enumerate(specs):
        snapshot = snapshot.apply([Put(Network(id=f"other{n}", spec=each))], index=n + 1, now_s=1.0)
    return snapshot


@pytest.mark.parametrize(
    "wanted",
    [
        spec(),
        spec(subnet("10.1.0.0/24")),
        spec(subnet("10.1.0.0/16", gateway="10.1.5.1", ip_range="10.1.5.0/24")),
        spec(subnet("10.1.0.0/30", gateway="10.1.0.2")),
        spec(subnet("fd00:7::/64", gateway="fd00:7::1", ip_range="fd00:7::100/120"), ipv6_enabled=True),
        spec(subnet("10.1.0.0/24"), subnet("fd00:7::/64"), ipv6_enabled=True),
        spec(options={MTU_OPTION: "1200"}),
        spec(options={MTU_OPTION: "68"}),
        spec(options={VXLAN_OPTION: "5000"}),
        spec(aside("10.1.0.0/24", "10.1.0.1", gateway="10.1.0.2")),
    ],
)
def test_what_a_network_may_ask_for(wanted: NetworkSpec) -> None:
    check_network_spec(wanted)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (subnet(""), "invalid subnet : invalid CIDR block notation"),
        (subnet("10.1.0.0"), "invalid subnet 10.1.0.0: invalid CIDR block notation"),
        (subnet("300.1.0.0/24"), "invalid subnet 300.1.0.0/24: invalid CIDR block notation"),
        (subnet("10.1.0.7/24"), "invalid subnet 10.1.0.7/24: it should be 10.1.0.0/24"),
        (subnet("10.1.0.0/32"), "invalid subnet 10.1.0.0/32: it is too small, use /30 or larger"),
        (subnet("127.0.0.0/24"), "invalid subnet 127.0.0.0/24: 127.0.0.0/8 is not for networks"),
        (subnet("0.0.0.0/0"), "invalid subnet 0.0.0.0/0: 0.0.0.0/8 is not for networks"),
        (subnet("fd00:7::/64"), "invalid subnet fd00:7::/64: IPv6 is not enabled, add --ipv6"),
        (subnet("10.1.0.0/24", ip_range="10.1.0.0/16"), "CIDR block is bigger than its parent subnet 10.1.0.0/24"),
        (subnet("10.1.0.0/24", ip_range="10.2.0.0/28"), "parent subnet 10.1.0.0/24 doesn't contain ip-range"),
        (subnet("10.1.0.0/24", ip_range="fd00::/120"), "invalid ip-range fd00::/120: parent subnet is an IPv4 block"),
        (subnet("10.1.0.0/24", gateway="10.2.0.1"), "parent subnet 10.1.0.0/24 doesn't contain this address"),
        (subnet("10.1.0.0/24", gateway="nowhere"), "invalid gateway nowhere: invalid address"),
        (subnet("10.1.0.0/24", gateway="10.1.0.0"), "the first and last address of 10.1.0.0/24 are nobody's"),
        (subnet("10.1.0.0/24", gateway="10.1.0.255"), "the first and last address of 10.1.0.0/24 are nobody's"),
        (aside("10.1.0.0/24", "nowhere"), "invalid auxiliary address a: invalid address"),
        (aside("10.1.0.0/24", "10.2.0.1"), "parent subnet 10.1.0.0/24 doesn't contain this address"),
        (aside("10.1.0.0/24", "fd00::1"), "invalid auxiliary address a: parent subnet is an IPv4 block"),
        (aside("10.1.0.0/24", "10.1.0.1"), "invalid auxiliary address a: 10.1.0.1 is the gateway"),
        (aside("10.1.0.0/24", "10.1.0.7", gateway="10.1.0.7"), "invalid auxiliary address a: 10.1.0.7 is the gateway"),
    ],
)
def test_a_range_that_no_task_could_use_is_refused_in_one_sentence(config: IPAMConfig, why: str) -> None:
    with pytest.raises(VaultError) as refused:
        check_network_spec(spec(config))
    assert refused.value.status == 400
    assert refused.value.message.startswith("invalid network config:\ninvalid ")
    assert refused.value.message.endswith(why)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (spec(subnet("10.1.0.0/16"), subnet("10.1.5.0/24")), "invalid subnet 10.1.5.0/24: it overlaps 10.1.0.0/16"),
        (spec(options={MTU_OPTION: "67"}), "invalid MTU value: 67"),
        (spec(options={MTU_OPTION: "1279"}, ipv6_enabled=True), "is a number from 1280 to 65535"),
        (spec(options={MTU_OPTION: "9999999999999"}), "invalid MTU value"),
        (spec(options={VXLAN_OPTION: "x"}), 'invalid vxlan id value "x" passed'),
        (spec(options={VXLAN_OPTION: "16777216"}), "from 1 to 16777215"),
        (spec(scope="local"), 'network scope "local" is not supported: use swarm'),
        (spec(ingress=True, attachable=True), "ingress network cannot be attachable"),
        (spec(ipv4_enabled=False, ipv6_enabled=True), "IPv4 cannot be disabled in a Swarm scoped network"),
        (spec(options={"bridge.name": "br0"}), "network option bridge.name means nothing to the overlay driver"),
    ],
)
def test_options_that_no_network_can_have_are_refused(wanted: NetworkSpec, why: str) -> None:
    with pytest.raises(VaultError) as refused:
        check_network_spec(wanted)
    assert refused.value.status == 400
    assert why in refused.value.message


def test_an_overlay_number_belongs_to_one_network() -> None:
    snapshot = world(spec(options={VXLAN_OPTION: "5000"}))
    with pytest.raises(VaultError, match=r"vxlan id '5000' is already in use by network 'net' \(other0\)"):
        new_network(snapshot, "new", NetworkSpec(name="n", driver_configuration=Driver(options={VXLAN_OPTION: "5000"})))
    other = NetworkSpec(name="n", driver_configuration=Driver(options={VXLAN_OPTION: "5001"}))
    assert new_network(snapshot, "new", other)


def test_a_network_may_have_ipv6_with_or_without_a_range_of_its_own() -> None:
    for number, wanted in enumerate((spec(ipv6_enabled=True), spec(subnet("fd00:7::/64"), ipv6_enabled=True))):
        made = new_network(Snapshot(), f"n{number}", wanted).obj
        assert isinstance(made, Network)
        assert made.spec.ipv6_enabled


def test_an_ipv6_subnet_overlaps_only_others_of_its_kind() -> None:
    snapshot = world(spec(subnet("10.1.0.0/24"), subnet("fd00:7::/64"), ipv6_enabled=True))
    wanted = NetworkSpec(name="n", ipam_options=IPAMOptions(configs=(subnet("10.1.0.128/25"),)))
    with pytest.raises(VaultError, match=r"^Pool overlaps .*: 10.1.0.128/25 and 10.1.0.0/24 of network net"):
        new_network(snapshot, "new", wanted)


@pytest.mark.parametrize(
    ("options", "refused"),
    [({ENCRYPTED: ""}, True), ({ENCRYPTED: "true"}, True), ({ENCRYPTED: "false"}, False), ({}, False)],
)
def test_an_encrypted_network_needs_a_node_that_can_encrypt(options: dict[str, str], refused: bool) -> None:
    unable, able = Node(id="n1"), Node(id="n2", description=NodeDescription(encryption=EncryptionMeans(by="kernel")))
    wanted = spec(options=options)
    without = world().apply([Put(unable)], index=1, now_s=1.0)
    if refused:
        with pytest.raises(VaultError, match="network net cannot be encrypted: no node has WireGuard"):
            new_network(without, "net", wanted)
    else:
        new_network(without, "net", wanted)
    put = new_network(without.apply([Put(able)], index=2, now_s=1.0), "net", wanted)
    assert isinstance(put.obj, Network)
    assert put.obj.spec.encrypted is refused


def of_each_node(**fields: Any) -> NetworkSpec:
    return NetworkSpec(**({"name": "n", "driver_configuration": Driver(name="bridge"), "scope": "swarm"} | fields))


def test_a_network_of_each_node_takes_its_settings_from_one_that_holds_them() -> None:
    made = new_network(settings(), "new", of_each_node(config_from=ConfigReference(network="settings"))).obj
    assert isinstance(made, Network)
    assert (made.driver, made.of_each_node, made.options) == ("bridge", True, {MTU_OPTION: "1300"})
    assert made.spec.ipam_options == SETTINGS.ipam_options


@pytest.mark.parametrize(
    ("wanted", "status", "why"),
    [
        (of_each_node(scope=""), 400, "is for services only with the scope swarm: add --scope swarm, or use overlay"),
        (of_each_node(ingress=True), 403, "Ingress network can only be global scope network"),
        (
            of_each_node(driver_configuration=Driver(name="bridge", options={ENCRYPTED: ""})),
            400,
            "network option encrypted means nothing to the bridge driver: leave it out",
        ),
    ],
)
def test_what_no_network_of_each_node_can_be(wanted: NetworkSpec, status: int, why: str) -> None:
    with pytest.raises(VaultError) as refused:
        new_network(Snapshot(), "new", wanted)
    assert refused.value.status == status
    assert refused.value.message.endswith(why)


def ipam_by(name: str, **options: str) -> IPAMOptions:
    return IPAMOptions(driver=Driver(name=name, options=options))


@pytest.mark.parametrize(
    ("driver", "status", "why"),
    [
        ("nosuch", 404, 'plugin "nosuch" not found'),
        (
            "macvlan",
            400,
            'rpc error: code = InvalidArgument desc = network driver "macvlan" is not supported: use overlay',
        ),
        ("host", 403, 'only one instance of "host" network is allowed'),
        ("null", 403, 'only one instance of "null" network is allowed'),
    ],
)
def test_a_driver_that_makes_no_network_is_refused_in_dockers_words(driver: str, status: int, why: str) -> None:
    with pytest.raises(VaultError) as refused:
        new_network(Snapshot(), "new", NetworkSpec(name="n", driver_configuration=Driver(name=driver)))
    assert (refused.value.status, refused.value.message) == (status, why)


def test_addresses_are_managed_by_the_default_driver_alone_and_its_options_are_kept() -> None:
    for name in ("default", "Default", ""):
        made = new_network(Snapshot(), "new", NetworkSpec(name="n", ipam_options=ipam_by(name, serial="true"))).obj
        assert isinstance(made, Network)
        assert made.spec.ipam_options == ipam_by(name, serial="true")
    with pytest.raises(VaultError, match=r"code = InvalidArgument desc = error during lookup of plugin infoblox$"):
        new_network(Snapshot(), "new", NetworkSpec(name="n", ipam_options=ipam_by("infoblox")))


SETTINGS = NetworkSpec(
    name="settings",
    config_only=True,
    labels={"a": "b"},
    ipv6_enabled=True,
    driver_configuration=Driver(name="nosuch", options={MTU_OPTION: "1300"}),
    ipam_options=IPAMOptions(
        driver=Driver(name="default", options={"k": "v"}), configs=(aside("10.7.0.0/24", "10.7.0.9"),)
    ),
)


def taking(**fields: Any) -> NetworkSpec:
    return NetworkSpec(**({"name": "n", "config_from": ConfigReference(network="settings")} | fields))


def settings(spec: NetworkSpec = SETTINGS) -> Snapshot:
    return Snapshot().apply([new_network(Snapshot(), "source", spec)], index=1, now_s=1.0)


def test_a_network_takes_its_settings_from_one_that_holds_them() -> None:
    made = new_network(settings(), "new", taking(internal=True)).obj
    assert isinstance(made, Network)
    assert (made.driver, made.options, made.spec.labels) == ("overlay", {MTU_OPTION: "1300"}, {"a": "b"})
    assert (made.spec.ipv6_enabled, made.spec.internal, made.spec.scope) == (True, True, "swarm")
    assert made.spec.ipam_options == SETTINGS.ipam_options
    assert made.spec.config_from == ConfigReference(network="settings")
    assert not made.spec.config_only


def test_one_that_holds_settings_takes_nothing_from_others_and_is_no_network_itself() -> None:
    snapshot = settings()
    source = snapshot.networks["source"]
    assert (source.driver, source.spec.scope) == ("null", "local")
    own = NetworkSpec(name="own", ipam_options=IPAMOptions(configs=(subnet("10.7.0.0/24"),)))
    assert new_network(snapshot, "own", own), "its subnet is in nobody's way"
    template = TaskSpec(
        container_spec=ContainerSpec(image="busybox"), networks=(NetworkAttachmentConfig(target="settings"),)
    )
    on_it = ServiceSpec(name="web", task_template=template)
    with pytest.raises(VaultError, match=r"^The network settings cannot be used with services\.") as refused:
        new_service(snapshot, "web", on_it, now_s=1.0)
    assert refused.value.status == 403


def test_settings_stay_while_a_network_has_them() -> None:
    snapshot = settings()
    used = snapshot.apply([new_network(snapshot, "new", taking())], index=2, now_s=1.0)
    with pytest.raises(VaultError) as refused:
        removed_network(used, "source")
    assert (refused.value.status, refused.value.message) == (403, 'configuration network "settings" is in use')
    assert removed_network(snapshot, "source")


OWN = "user-specified configurations are not supported if the network depends on a configuration network"


@pytest.mark.parametrize(
    ("wanted", "status", "why"),
    [
        (taking(config_from=ConfigReference(network="nosuch")), 404, 'configuration network "nosuch" does not exist'),
        (taking(labels={"x": "y"}), 403, OWN),
        (taking(ipv6_enabled=True), 403, OWN),
        (taking(ipv4_enabled=False), 403, OWN),
        (taking(ipam_options=IPAMOptions(configs=(subnet("10.8.0.0/24"),))), 403, OWN),
        (taking(ipam_options=ipam_by("default", k="v")), 403, OWN),
        (
            taking(driver_configuration=Driver(options={MTU_OPTION: "1300"})),
            403,
            "network driver options are not supported if the network depends on a configuration network",
        ),
        (
            taking(config_only=True),
            403,
            "a configuration network cannot depend on another configuration network",
        ),
        (
            NetworkSpec(name="c", config_only=True, internal=True),
            403,
            "configuration network can only contain network specific fields. "
            "Network operator fields like [ ingress | internal | attachable | scope ] are not supported.",
        ),
        (
            NetworkSpec(name="c", config_only=True, ipam_options=IPAMOptions(configs=(subnet("10.1.0.7/24"),))),
            400,
            "invalid network config:\ninvalid subnet 10.1.0.7/24: it should be 10.1.0.0/24",
        ),
    ],
)
def test_what_does_not_go_with_settings_of_others(wanted: NetworkSpec, status: int, why: str) -> None:
    with pytest.raises(VaultError) as refused:
        new_network(settings(), "new", wanted)
    assert (refused.value.status, refused.value.message) == (status, why)


def test_settings_that_no_overlay_can_have_are_refused_when_they_are_used() -> None:
    for bad, why in (
        ({"ipv4_enabled": False}, "IPv4 cannot be disabled in a Swarm scoped network"),
        ({"ipam_options": ipam_by("infoblox")}, "error during lookup of plugin infoblox"),
        ({"driver_configuration": Driver(options={"parent": "eth0"})}, "network option parent means nothing"),
    ):
        with pytest.raises(VaultError, match=why):
            new_network(settings(replace(SETTINGS, **bad)), "new", taking())


def test_two_networks_cannot_have_one_subnet_from_the_same_settings() -> None:
    snapshot = settings()
    used = snapshot.apply([new_network(snapshot, "new", taking())], index=2, now_s=1.0)
    with pytest.raises(VaultError, match=r"^Pool overlaps .*: 10.7.0.0/24 and 10.7.0.0/24 of network n, choose"):
        new_network(used, "other", taking(name="m"))


def test_who_asks_for_other_keys_while_they_are_rotated_is_told_whom_that_waits_for() -> None:
    held = NodeEncryption(address="198.18.0.1", keys=(), sealed_to=b"")

    def node(name: str, epoch: int, state: str = "ready") -> Node:
        means = EncryptionMeans(by="kernel", epoch=epoch)
        said = NodeDescription(hostname=name, encryption=means)
        return Node(id=name, description=said, encryption=held, status=NodeStatus(state=state))

    cluster = Cluster(id="c", encryption=EncryptionEpochs(newest=2, rotating=True, begun_at=EPOCH))
    made = (cluster, node("done", 2), node("late", 1), node("gone", 1, "down"))
    snapshot = Snapshot().apply([Put(one) for one in made], index=1, now_s=1.0)
    with pytest.raises(VaultError) as refused:
        keys_to_rotate(snapshot)
    assert refused.value.message.endswith(
        "wait until every node uses epoch 2, as node inspect shows it. "
        "Not yet: late (is UDP 7946 or 7947 blocked there?)"
    )

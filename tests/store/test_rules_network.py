"""What a network may ask for, and what is refused at once instead of failing on some node later."""

from typing import Any

import pytest

from vault.model.errors import VaultError
from vault.model.network import ENCRYPTED, MTU_OPTION, VXLAN_OPTION, IPAMConfig, IPAMOptions, Network, NetworkSpec
from vault.model.node import EncryptionMeans, Node, NodeDescription
from vault.model.secret import Driver
from vault.store.changes import Put
from vault.store.rules_network import new_network
from vault.store.rules_network_spec import check_network_spec
from vault.store.snapshot import Snapshot


def spec(*configs: IPAMConfig, options: dict[str, str] | None = None, **fields: Any) -> NetworkSpec:
    ipam = IPAMOptions(configs=configs) if configs else None
    driver = Driver(name="overlay", options=options or {})
    return NetworkSpec(name="net", driver_configuration=driver, ipam_options=ipam, **fields)


def subnet(text: str, **fields: str) -> IPAMConfig:
    return IPAMConfig(subnet=text, **fields)


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

"""Names, MAC addresses, ports and sizes of overlay networks."""

import pytest
from msgspec.structs import replace

from vault.model.network import IPAMConfig
from vault.model.overlay import OverlayNetwork
from vault.network.overlay.names import interfaces, link_name, mtu_of, node_mac, port_of, ranges, task_mac

NETWORK = OverlayNetwork(id="n", name="n", vxlan_id=4097, configs=(IPAMConfig(subnet="10.0.1.0/24"),))
SIX = replace(NETWORK, configs=(*NETWORK.configs, IPAMConfig(subnet="fd00::/64")))


@pytest.mark.parametrize(
    ("network", "underlay", "version", "tunnel", "wanted"),
    [
        (NETWORK, 1500, 4, 0, 1450),
        (NETWORK, 1500, 6, 0, 1430),
        (NETWORK, 1500, 4, 80, 1370),
        (NETWORK, 9000, 4, 0, 8950),
        (NETWORK, 0, 4, 0, 1450),
        (replace(NETWORK, mtu=1400), 1500, 4, 0, 1400),
        (replace(NETWORK, mtu=9000), 1500, 4, 0, 1450),
        (SIX, 1300, 4, 0, 1280),
    ],
)
def test_links_are_as_large_as_the_nodes_own_leaves_room_for(
    network: OverlayNetwork, underlay: int, version: int, tunnel: int, wanted: int
) -> None:
    assert mtu_of(network, underlay, version=version, tunnel_bytes=tunnel) == wanted


def test_mac_addresses_are_dockers_and_never_those_of_a_group() -> None:
    assert node_mac("10.9.0.1") == bytes.fromhex("02420a090001")
    assert task_mac(("fd00::5/64", "10.0.1.5/24")) == bytes.fromhex("02420a000105")
    assert len({node_mac(f"fd00::{n:x}") for n in range(1, 500)}) == 499
    assert all(len(node_mac(a)) == 6 and not node_mac(a)[0] & 1 for a in ("fd00::1", "203.0.113.9"))


def test_only_nodes_on_loopback_addresses_have_ports_of_their_own() -> None:
    assert port_of("192.0.2.1") == port_of("fd00::1") == 4789
    assert len({port_of(f"127.1.0.{n}") for n in range(1, 200)}) == 199


def test_a_links_name_fits_the_kernel() -> None:
    assert link_name("a" * 25) == "t" + "a" * 14


def test_addresses_get_the_prefix_length_of_their_subnet() -> None:
    assert [str(one) for one in interfaces(("10.0.1.5", "fd00::5", "10.0.1.6/16"), ranges(SIX.configs))] == [
        "10.0.1.5/24",
        "fd00::5/64",
        "10.0.1.6/16",
    ]

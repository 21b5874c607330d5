"""Where published ports lead, and the scripts that say so."""

import json
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.network.hosts import scratch_host
from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork, OverlayService
from vault.model.service import PortConfig
from vault.network.links.names import Names
from vault.network.mesh.node import MeshRecord, PublishedPort, rules
from vault.network.mesh.plan import (
    MeshPort,
    Plan,
    PortKey,
    UDPFlows,
    flows_to_forget_here,
    flows_to_forget_there,
    mesh_plan,
    remote_part,
)
from vault.network.overlay.state import Overlay, OverlayState

NAMES = Names(Path("/run/vault"))
WIRE = rules.Wire(link=NAMES.mesh_link, node=IPv4Address("172.20.0.1"), inner=IPv4Address("172.20.0.2"))
HTTP, DNS = PortKey("tcp", 8080), PortKey("udp", 53)
WEB = PortConfig(target_port=80, published_port=8080)


def ingress(*endpoints: OverlayEndpoint, **services: tuple[PortConfig, ...]) -> Overlay:
    network = OverlayNetwork(id="net", name="ingress", vxlan_id=4096, ingress=True)
    told = tuple(
        OverlayService(network_id="net", service_id=name, name=name, ports=services[name]) for name in services
    )
    change = OverlayChange(put_networks=(network,), put_endpoints=endpoints, put_services=told)
    overlay = OverlayState().applied(change).ingress
    assert overlay is not None
    return overlay


def endpoint(task: str, *addresses: str, service: str = "web", serving: bool = True) -> OverlayEndpoint:
    return OverlayEndpoint(
        network_id="net", task_id=task, service_id=service, node_id="n", addresses=addresses, serving=serving
    )


def rule(port: MeshPort, key: PortKey = HTTP) -> str:
    return rules.node_table(NAMES, {key: port}, WIRE).chains[key]


def test_a_port_leads_to_the_tasks_that_serve_those_here_by_their_own_links() -> None:
    overlay = ingress(
        endpoint("a", "10.0.0.5", "fd00::5"),
        endpoint("b", "fd00::6", "10.0.0.6"),
        endpoint("c", "10.0.0.7", serving=False),
        endpoint("d", "10.0.0.8", service="db"),
        endpoint("", "10.0.0.9", service=""),
        web=(WEB,),
    )
    assert mesh_plan(overlay, {"a": "172.20.1.5", "c": "172.20.1.7"}) == {
        HTTP: MeshPort("web", 80, ("172.20.1.5",), ("10.0.0.6",))
    }


def test_only_ingress_ports_with_a_number_are_published() -> None:
    host = PortConfig(target_port=80, published_port=9090, publish_mode="host")
    nameless = PortConfig(target_port=80)
    dns = PortConfig(target_port=53, published_port=53, protocol="udp")
    assert mesh_plan(ingress(web=(WEB, host, nameless, dns)), {}).keys() == {HTTP, DNS}
    assert mesh_plan(None, {}) == {}


def test_of_two_services_with_one_port_the_same_one_has_it_on_every_node() -> None:
    overlay = ingress(endpoint("a", "10.0.0.5"), b=(WEB,), web=(WEB,))
    assert mesh_plan(overlay, {})[HTTP] == MeshPort("b", 80)


def test_every_task_gets_its_share_and_the_wire_one_for_each_task_behind_it() -> None:
    assert rule(MeshPort("web", 80, ("172.20.1.5",), ())) == "meta l4proto tcp dnat ip to 172.20.1.5:80"
    assert rule(MeshPort("web", 80, (), ("10.0.0.5", "10.0.0.6"))) == "meta l4proto tcp dnat ip to 172.20.0.2:8080"
    assert rule(MeshPort("web", 80, ("172.20.1.5", "172.20.1.6"), ("10.0.0.5", "10.0.0.6", "10.0.0.7"))) == (
        "meta l4proto tcp dnat ip to numgen inc mod 5 map "
        "{ 0 : 172.20.1.5 . 80, 1 : 172.20.1.6 . 80, 2-4 : 172.20.0.2 . 8080 }"
    )
    remote = remote_part({HTTP: MeshPort("web", 80, ("172.20.1.5",), ("10.0.0.5", "10.0.0.6"))})
    assert rules.inner_table(remote).chains[HTTP] == (
        "meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 10.0.0.5 . 80, 1 : 10.0.0.6 . 80 }"
    )


def test_a_change_touches_only_what_changed() -> None:
    before: Plan = {HTTP: MeshPort("web", 80, ("172.20.1.5",)), DNS: MeshPort("dns", 53, ("172.20.1.6",))}
    after: Plan = {HTTP: before[HTTP], DNS: MeshPort("dns", 53, ("172.20.1.7",))}
    tables = [rules.node_table(NAMES, plan, WIRE) for plan in (before, after)]
    assert rules.changed_table(tables[0], tables[0]) == ""
    chain = f"ip {NAMES.mesh_table} udp-53"
    assert rules.changed_table(tables[0], tables[1]) == (
        f"add chain {chain}\nflush chain {chain}\nadd rule {chain} meta l4proto udp dnat ip to 172.20.1.7:53\n"
    )


def test_udp_flows_are_forgotten_where_they_would_go_on_to_nobody() -> None:
    both = MeshPort("dns", 53, ("172.20.1.5", "172.20.1.6"), ("10.0.0.7", "10.0.0.8"))
    fewer = MeshPort("dns", 53, ("172.20.1.5",), ("10.0.0.7",))
    here = MeshPort("dns", 53, ("172.20.1.5",))
    nobody = MeshPort("dns", 53)
    inner = str(WIRE.inner)

    def forgotten(before: Plan, after: Plan) -> tuple[list[UDPFlows], list[UDPFlows]]:
        return list(flows_to_forget_here(before, after, inner)), list(flows_to_forget_there(before, after))

    assert forgotten({DNS: both}, {DNS: both}) == ([], [])
    assert forgotten({DNS: both}, {DNS: fewer}) == ([UDPFlows(53, "172.20.1.6")], [UDPFlows(53, "10.0.0.8")])
    assert forgotten({DNS: fewer}, {DNS: here}) == ([UDPFlows(53, inner)], [UDPFlows(53, "10.0.0.7")])
    assert forgotten({DNS: here}, {}) == ([UDPFlows(53, "172.20.1.5")], [])
    assert forgotten({DNS: nobody}, {DNS: here}) == ([UDPFlows(53)], []), "a flow that was led nowhere"
    assert forgotten({}, {DNS: here}) == ([UDPFlows(53)], [])
    assert forgotten({}, {DNS: nobody}) == ([], [])
    assert forgotten({HTTP: both}, {HTTP: here}) == ([], []), "connections drain"


ADDRESSES = st.lists(st.sampled_from([f"10.0.0.{n}" for n in range(2, 8)]), max_size=4, unique=True).map(
    lambda found: tuple(sorted(found))
)
KEYS = st.sampled_from([HTTP, DNS, PortKey("tcp", 53), PortKey("tcp", 443)])
PLANS = st.dictionaries(KEYS, st.builds(MeshPort, st.just("web"), st.sampled_from([80, 81]), ADDRESSES, ADDRESSES))


def listed(*scripts: str) -> object:
    """Return what nft shows after some scripts, in a namespace of its own."""
    with scratch_host():
        for script in scripts:
            subprocess.run(["nft", "-f", "-"], input=script.encode(), check=True, capture_output=True)
        shown = subprocess.run(["nft", "-j", "list", "ruleset"], check=True, capture_output=True).stdout
    return sorted((_anonymous(each) for each in json.loads(shown)["nftables"]), key=json.dumps)


def _anonymous(thing: object) -> object:
    """Return a thing without handles and order, which say only when it was made."""
    match thing:
        case dict():
            return {key: _anonymous(thing[key]) for key in sorted(thing) if key != "handle"}
        case list():
            return sorted((_anonymous(each) for each in thing), key=json.dumps)
    return thing


@pytest.mark.machine
@settings(max_examples=25, deadline=None)
@given(PLANS, PLANS)
def test_the_kernel_has_the_same_after_changes_as_after_the_whole(before: Plan, after: Plan) -> None:
    one, two = (rules.node_table(NAMES, plan, WIRE) for plan in (before, after))
    whole = rules.whole_node_table(two, WIRE)
    change = rules.changed_table(one, two)
    assert listed(rules.whole_node_table(one, WIRE), *([change] if change else [])) == listed(whole)
    one, two = (rules.inner_table(remote_part(plan)) for plan in (before, after))
    own = IPv4Address("10.0.0.200")
    change = rules.changed_table(one, two)
    assert listed(rules.whole_inner_table(one, WIRE, own), *([change] if change else [])) == listed(
        rules.whole_inner_table(two, WIRE, own)
    )


@pytest.mark.machine
def test_a_thousand_tasks_fit_into_a_chain() -> None:
    port = MeshPort("web", 80, (), tuple(f"10.0.{n // 250}.{n % 250 + 2}" for n in range(1000)))
    own = IPv4Address("10.0.0.200")
    assert listed(rules.whole_inner_table(rules.inner_table({HTTP: port}), WIRE, own))


def test_names_of_the_mesh_fit_the_kernel_and_are_not_taken_for_those_of_tasks() -> None:
    assert len(NAMES.mesh_link) <= 15
    assert not NAMES.mesh_link.startswith(NAMES.link_prefix)


def test_a_record_of_this_format_is_read_for_ever() -> None:
    """A record that vaultd wrote on 2026-11-26; a newer vaultd must still remove that wire."""
    written = (
        '{"subnet":"172.20.16.0/30","namespace":"/run/vault/netns/overlay-x","ports":'
        '[{"protocol":"tcp","published_port":8080,"service":"web","taken":true}]}'
    )
    record = msgspec.json.decode(written, type=MeshRecord)
    port = PublishedPort(protocol="tcp", published_port=8080, service="web", taken=True)
    assert record == MeshRecord(subnet="172.20.16.0/30", namespace="/run/vault/netns/overlay-x", ports=(port,))
    assert json.loads(msgspec.json.encode(record)) == json.loads(written)

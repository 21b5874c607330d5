"""`network inspect -v`: who is on a network on all nodes, in the shape that tools for the Engine read."""

from typing import Any

from msgspec.structs import replace

from tests.api.client import Daemon
from vault.model.network import IPAMConfig, IPAMOptions, Network, NetworkAttachment, NetworkSpec
from vault.model.node import Node, NodeStatus
from vault.model.secret import Driver
from vault.model.service import (
    Endpoint,
    EndpointSpec,
    NetworkAttachmentConfig,
    PortConfig,
    Service,
    ServiceSpec,
    TaskSpec,
    VirtualIP,
)
from vault.model.task import ContainerStatus, State, Task, TaskStatus
from vault.store.changes import Put

PORT = PortConfig(target_port=80, published_port=8080)
MESH = PortConfig(target_port=53, published_port=5353, publish_mode="host")


def network(daemon: Daemon, name: str, *, ingress: bool = False) -> Network:
    config = IPAMConfig(subnet="10.0.1.0/24", gateway="10.0.1.1")
    made = Network(
        id=f"{name:0<25}",
        spec=NetworkSpec(name=name, driver_configuration=Driver(name="overlay"), ingress=ingress),
        driver_state=Driver(name="overlay", options={"com.docker.network.driver.overlay.vxlanid_list": "4097"}),
        ipam_options=IPAMOptions(configs=(config,)),
    )
    daemon.manager.store().write([Put(made)])
    return made


def service(daemon: Daemon, name: str, on: Network, *ports: PortConfig, vip: str = "10.0.1.2/24") -> Service:
    targets = () if on.spec.ingress else (NetworkAttachmentConfig(target=on.id),)
    made = Service(
        id=f"{name:0<25}",
        spec=ServiceSpec(name=name, task_template=TaskSpec(networks=targets), endpoint_spec=EndpointSpec(ports=ports)),
        endpoint=Endpoint(ports=ports, virtual_ips=(VirtualIP(network_id=on.id, addr=vip),)),
    )
    daemon.manager.store().write([Put(made)])
    return made


def task(daemon: Daemon, of: Service, slot: int, on: Network, node: str, state: State, *addresses: str) -> Task:
    made = Task(
        id=f"{of.spec.name}{slot}".ljust(25, "0"),
        service_id=of.id,
        service_name=of.spec.name,
        slot=slot,
        node_id=node,
        spec=of.spec.task_template,
        status=TaskStatus(state=state, container_status=ContainerStatus(container_id=str(slot) * 64)),
        networks_attachments=(NetworkAttachment(network=on, addresses=addresses),),
    )
    daemon.manager.store().write([Put(made)])
    return made


def nodes(daemon: Daemon) -> None:
    for n in (1, 2):
        made = Node(id=f"node{n}".ljust(25, "0"), status=NodeStatus(state="ready", addr=f"10.77.0.{n}"))
        daemon.manager.store().write([Put(made)])


def shown(daemon: Daemon, name: str, query: str = "?verbose=true") -> Any:
    return daemon.get(f"/networks/{name}{query}").json()


def test_a_verbose_answer_names_the_tasks_of_all_nodes() -> None:
    daemon = Daemon().with_swarm()
    nodes(daemon)
    back = network(daemon, "back")
    web = service(daemon, "web", back, PORT)
    task(daemon, web, 1, back, "node1".ljust(25, "0"), State.RUNNING, "10.0.1.3/24", "fd00::3/64")
    task(daemon, web, 2, back, "node2".ljust(25, "0"), State.STARTING, "10.0.1.4/24")
    task(daemon, web, 3, back, "node2".ljust(25, "0"), State.FAILED, "10.0.1.5/24")
    task(daemon, web, 4, back, "", State.PENDING, "10.0.1.6/24")
    answer = shown(daemon, "back")
    first, second = answer["Services"]["web"]["Tasks"]
    assert len(first["EndpointID"]) == 64
    assert first == {
        "Name": "web.1.web1000000000000000000000",
        "EndpointID": first["EndpointID"],
        "EndpointIP": "10.0.1.3",
        "Info": {"Host IP": "10.77.0.1"},
    }
    assert (second["EndpointIP"], second["Info"]) == ("10.0.1.4", {"Host IP": "10.77.0.2"})
    assert answer["Services"]["web"] == {"VIP": "10.0.1.2", "Ports": [], "LocalLBIndex": 0, "Tasks": [first, second]}
    assert answer["Peers"] == [{"Name": "node10000000", "IP": "10.77.0.1"}, {"Name": "node20000000", "IP": "10.77.0.2"}]
    assert answer["Containers"]["1" * 64] == {
        "Name": first["Name"],
        "EndpointID": first["EndpointID"],
        "MacAddress": "02:42:0a:00:01:03",
        "IPv4Address": "10.0.1.3/24",
        "IPv6Address": "fd00::3/64",
    }


def test_services_are_shown_only_when_asked_and_peers_only_where_there_are_some() -> None:
    daemon = Daemon().with_swarm()
    nodes(daemon)
    web = service(daemon, "web", network(daemon, "back"))
    assert not {"Services", "Peers"} & shown(daemon, "back", "").keys()
    alone = {"VIP": "10.0.1.2", "Ports": [], "LocalLBIndex": 0, "Tasks": []}
    assert shown(daemon, "back")["Services"] == {"web": alone}
    assert shown(daemon, "back", "?verbose=0").keys() == shown(daemon, "back", "").keys()
    task(daemon, web, 1, network(daemon, "other"), "node1".ljust(25, "0"), State.RUNNING, "10.0.9.3/24")
    assert "Peers" not in shown(daemon, "back", ""), "its task is on another network"


def test_a_service_that_left_a_network_stays_shown_while_its_tasks_do() -> None:
    daemon = Daemon().with_swarm()
    nodes(daemon)
    back = network(daemon, "back")
    web = service(daemon, "web", back)
    task(daemon, web, 1, back, "node1".ljust(25, "0"), State.RUNNING, "10.0.1.3/24")
    now = daemon.manager.store().committed.services[web.id]
    left = replace(now, spec=ServiceSpec(name="web"), previous_spec=now.spec)
    daemon.manager.store().write([Put(left)])
    assert [one["EndpointIP"] for one in shown(daemon, "back")["Services"]["web"]["Tasks"]] == ["10.0.1.3"]


def test_the_ingress_network_shows_published_ports_and_every_node_that_is_up() -> None:
    daemon = Daemon().with_swarm()
    nodes(daemon)
    ingress = network(daemon, "mesh", ingress=True)
    web = service(daemon, "web", ingress, PORT, MESH)
    service(daemon, "quiet", network(daemon, "back"), MESH)
    task(daemon, web, 1, ingress, "node2".ljust(25, "0"), State.RUNNING, "10.0.1.3/24")
    answer = shown(daemon, "mesh")
    assert answer["Services"].keys() == {"web"}
    assert answer["Services"]["web"]["Ports"] == ["Target: 80, Publish: 8080"]
    assert {"10.77.0.1", "10.77.0.2"} <= {peer["IP"] for peer in answer["Peers"]}


def test_settings_for_other_networks_are_kept_shown_and_taken() -> None:
    daemon = Daemon().with_swarm()
    ranges = [{"Subnet": "10.7.0.0/24", "AuxiliaryAddresses": {"router": "10.7.0.9"}}]
    ipam = {"Driver": "default", "Options": {"k": "v"}, "Config": ranges}
    settings = {"Name": "settings", "ConfigOnly": True, "IPAM": ipam, "Labels": {"a": "b"}}
    assert daemon.post("/networks/create", settings).status == 201
    taken = {"Name": "back", "Driver": "overlay", "ConfigFrom": {"Network": "settings"}, "IPAM": {"Driver": "default"}}
    assert daemon.post("/networks/create", taken).status == 201
    source, back = (daemon.get(f"/networks/{name}").json() for name in ("settings", "back"))
    assert (source["Scope"], source["Driver"], source["ConfigOnly"]) == ("local", "null", True)
    assert (back["Scope"], back["Driver"], back["ConfigOnly"]) == ("swarm", "overlay", False)
    assert (source["ConfigFrom"], back["ConfigFrom"]) == ({"Network": ""}, {"Network": "settings"})
    assert source["IPAM"] == back["IPAM"] == ipam
    assert back["Labels"] == {"a": "b"}
    assert daemon.get("/networks/settings?scope=swarm").status == 404
    assert daemon.get("/networks/settings?scope=local").status == daemon.get("/networks/back?scope=swarm").status == 200
    assert "settings" in {one["Name"] for one in daemon.filtered("/networks", {"type": ["custom"]})}
    refused = daemon.delete("/networks/settings")
    assert (refused.status, refused.message) == (403, 'configuration network "settings" is in use')
    assert [daemon.delete(f"/networks/{name}").status for name in ("back", "settings")] == [204, 204]


def test_ipv4_can_be_asked_for_by_name_and_not_be_left_out() -> None:
    daemon = Daemon().with_swarm()
    assert daemon.post("/networks/create", {"Name": "n", "EnableIPv4": True, "EnableIPv6": True}).status == 201
    shown_ = daemon.get("/networks/n").json()
    assert (shown_["EnableIPv4"], shown_["EnableIPv6"]) == (True, True)
    refused = daemon.post("/networks/create", {"Name": "m", "EnableIPv4": False, "EnableIPv6": True})
    assert (refused.status, refused.message) == (400, "IPv4 cannot be disabled in a Swarm scoped network")

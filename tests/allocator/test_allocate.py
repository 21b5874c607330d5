"""The allocator gives subnets, addresses and ports, and takes back what nobody holds."""

import ipaddress
from itertools import count

import pytest
from msgspec.structs import replace

from vault.model.cluster import Cluster
from vault.model.ids import Kind
from vault.model.network import VXLAN_OPTION, IPAMConfig, IPAMOptions, Network, NetworkSpec
from vault.model.node import Node, NodeStatus
from vault.model.secret import Driver
from vault.model.service import (
    EndpointSpec,
    NetworkAttachmentConfig,
    PortConfig,
    Service,
    ServiceSpec,
    TaskSpec,
)
from vault.model.task import State, Task, TaskStatus
from vault.network.allocation.allocator import Allocator
from vault.network.allocation.pools import Pools
from vault.store.changes import AnyObject, Delete, Put
from vault.store.snapshot import Snapshot


class World:
    """A store and the allocator that follows it."""

    def __init__(self) -> None:
        self.snap = Snapshot()
        self.allocator = Allocator()
        self._seen: Snapshot | None = None
        self._index = count(1)

    def write(self, *objects: AnyObject) -> None:
        """Commit objects and allocate."""
        for obj in objects:
            old = self.snap.get(_kind(obj), obj.id)
            versioned = replace(obj, version=old.version) if old else obj
            self.snap = self.snap.apply([Put(versioned)], index=next(self._index), now_s=1.0)
        self.allocate()

    def delete(self, obj: AnyObject) -> None:
        """Delete an object and allocate."""
        kind = _kind(obj)
        version = self.snap.objects[kind][obj.id].version.index
        self.snap = self.snap.apply([Delete(kind, obj.id, version)], index=next(self._index), now_s=1.0)
        self.allocate()

    def allocate(self) -> int:
        """Allocate until nothing changes; return how many objects did."""
        changes = 0
        while True:
            changed = self.snap.changed_since(self._seen) if self._seen else None
            decision = self.allocator(self.snap, changed, now_s=1.0, new_id=str)
            self._seen = self.snap
            if not decision.changes:
                return changes
            changes += len(decision.changes)
            self.snap = self.snap.apply(decision.changes, index=next(self._index), now_s=1.0)

    def subnet(self, network_id: str) -> str:
        """Return the subnet of a network."""
        options = self.snap.networks[network_id].ipam_options
        return options.configs[0].subnet if options else ""

    def ranges(self, network_id: str) -> tuple[tuple[str, str], ...]:
        """Return the subnets of a network with their gateways."""
        options = self.snap.networks[network_id].ipam_options
        return tuple((config.subnet, config.gateway) for config in options.configs) if options else ()

    def vips(self, service_id: str) -> list[str]:
        """Return the addresses of a service."""
        return [vip.addr for vip in self.snap.services[service_id].endpoint.virtual_ips]

    def place(self, node_id: str) -> tuple[str, ...]:
        """Return the addresses that a node has of its own."""
        return tuple(addr for one in self.snap.nodes[node_id].attachments for addr in one.addresses)

    def addresses(self, task_id: str) -> tuple[str, ...]:
        """Return the addresses of a task."""
        return tuple(addr for one in self.snap.tasks[task_id].networks_attachments for addr in one.addresses)


def _kind(obj: AnyObject) -> Kind:
    return Kind(type(obj).__name__.lower())


def network(network_id: str, driver: str = "overlay", *, subnet: str = "", ingress: bool = False,
            ranges: tuple[IPAMConfig, ...] = (), ipv6: bool = False) -> Network:  # fmt: skip
    """Return a network as it is created."""
    ranges = (IPAMConfig(subnet=subnet),) if subnet else ranges
    spec = NetworkSpec(
        name=network_id,
        driver_configuration=Driver(name=driver),
        ipam_options=IPAMOptions(configs=ranges) if ranges else None,
        ingress=ingress,
        ipv6_enabled=ipv6,
    )
    return Network(id=network_id, spec=spec)


def service(service_id: str, *networks: str, ports: tuple[PortConfig, ...] = (), mode: str = "vip") -> Service:
    """Return a service as it is created."""
    template = TaskSpec(networks=tuple(NetworkAttachmentConfig(target=target, aliases=("w",)) for target in networks))
    endpoint = EndpointSpec(mode=mode, ports=ports)
    return Service(id=service_id, spec=ServiceSpec(name=service_id, task_template=template, endpoint_spec=endpoint))


def task(task_id: str, of: Service) -> Task:
    """Return a task of a service as it is created."""
    return Task(id=task_id, spec=of.spec.task_template, service_id=of.id, slot=1)


def port(target: int, published: int = 0, protocol: str = "tcp", mode: str = "ingress") -> PortConfig:
    """Return a port."""
    return PortConfig(target_port=target, published_port=published, protocol=protocol, publish_mode=mode)


def test_networks_get_the_next_subnet_and_overlay_id() -> None:
    world = World()
    world.write(network("one"), network("two"))
    assert [world.subnet(name) for name in ("one", "two")] == ["10.0.0.0/24", "10.0.1.0/24"]
    two = world.snap.networks["two"]
    assert two.driver_state == Driver(
        name="overlay", options={"com.docker.network.driver.overlay.vxlanid_list": "4097"}
    )
    assert two.ipam_options is not None
    assert two.ipam_options.configs[0].gateway == "10.0.1.1"


def test_a_subnet_somebody_chose_is_kept_and_avoided() -> None:
    world = World()
    world.write(network("mine", subnet="10.0.0.0/23"), network("next"))
    assert world.subnet("mine") == "10.0.0.0/23"
    assert world.subnet("next") == "10.0.2.0/24"


def test_subnets_of_removed_networks_are_used_again() -> None:
    world = World()
    world.write(network("one"), network("two"))
    world.delete(network("one"))
    world.write(network("three"))
    assert world.subnet("three") == "10.0.0.0/24"


def test_the_cluster_says_which_addresses_networks_come_from() -> None:
    world = World()
    world.write(Cluster(id="c", default_addr_pool=("172.20.0.0/16", "192.168.0.0/25"), subnet_size=26))
    world.write(network("one"))
    assert world.subnet("one") == "172.20.0.0/26"


def test_a_network_for_which_no_subnet_is_left_tells_the_tasks_that_wait_for_it() -> None:
    world = World()
    web = service("web", "two")
    world.write(Cluster(id="c", default_addr_pool=("10.5.0.0/24",), subnet_size=24))
    world.write(network("one"), network("two"), web, task("t", web))
    stuck = world.snap.tasks["t"]
    assert stuck.state is State.NEW
    assert stuck.status.err.startswith("no free subnet in 10.5.0.0/24")
    world.delete(network("one"))
    assert world.snap.tasks["t"].state is State.PENDING
    assert world.snap.tasks["t"].status.err == ""
    assert world.addresses("t") == ("10.5.0.3/24",)


def test_services_get_an_address_and_tasks_the_following_ones() -> None:
    world = World()
    web = service("web", "net")
    world.write(network("net"), web, task("t1", web), task("t2", web))
    endpoint = world.snap.services["web"].endpoint
    assert [(vip.network_id, vip.addr) for vip in endpoint.virtual_ips] == [("net", "10.0.0.2/24")]
    assert sorted(world.addresses("t1") + world.addresses("t2")) == ["10.0.0.3/24", "10.0.0.4/24"]
    assert world.snap.tasks["t1"].status.message == "pending task scheduling"
    assert world.snap.tasks["t1"].networks_attachments[0].aliases == ("w",)
    assert world.allocate() == 0


def test_dnsrr_services_get_no_address() -> None:
    world = World()
    world.write(network("net"), service("web", "net", mode="dnsrr"))
    assert world.snap.services["web"].endpoint.virtual_ips == ()


def test_host_and_none_networks_give_no_addresses() -> None:
    world = World()
    web = service("web", "host")
    world.write(network("host", "host"), web, task("t", web))
    assert world.snap.tasks["t"].state is State.PENDING
    assert world.addresses("t") == ()
    assert world.snap.tasks["t"].networks_attachments[0].network.id == "host"
    assert world.snap.services["web"].endpoint.virtual_ips == ()


def test_networks_of_each_node_give_addresses_to_tasks_and_none_to_services() -> None:
    world = World()
    web = service("web", "local")
    local = network("local", "bridge", subnet="10.9.0.0/24")
    world.write(replace(local, spec=replace(local.spec, scope="swarm")), web, task("t1", web), task("t2", web))
    assert sorted(world.addresses("t1") + world.addresses("t2")) == ["10.9.0.2/24", "10.9.0.3/24"]
    assert world.vips("web") == []
    assert world.snap.networks["local"].driver_state == Driver(name="bridge")
    world.write(network("other"))
    assert world.snap.networks["other"].vxlan_id == 4096, "it has no number"
    assert world.allocate() == 0


def test_a_service_without_networks_and_ports_is_left_alone() -> None:
    world = World()
    web = service("web")
    world.write(web, task("t", web))
    assert world.snap.services["web"].version.index == 1
    assert world.snap.tasks["t"].state is State.PENDING


def test_addresses_of_ended_tasks_are_used_again_once_all_others_were() -> None:
    world = World()
    web = service("web", "net")
    world.write(network("net", subnet="10.9.0.0/29"), web, task("t1", web))
    for number in range(2, 6):
        ended = replace(world.snap.tasks[f"t{number - 1}"], status=TaskStatus(state=State.FAILED))
        world.write(ended, task(f"t{number}", web))
    given = [world.addresses(f"t{number}") for number in range(1, 6)]
    assert given == [(f"10.9.0.{last}/29",) for last in (3, 4, 5, 6, 3)]


def test_a_full_network_tells_its_tasks_and_serves_them_when_an_address_is_free() -> None:
    world = World()
    web = service("web", "net")
    world.write(network("net", subnet="10.9.0.0/29"), web)  # Six hosts: a gateway, a service, four tasks.
    world.write(*(task(f"t{n}", web) for n in range(5)))
    states = [world.snap.tasks[f"t{n}"].state for n in range(5)]
    assert states == [State.PENDING] * 4 + [State.NEW]
    assert world.snap.tasks["t4"].status.err == (
        "no free address in network net (10.9.0.0/29): remove tasks from it, or use a larger subnet"
    )
    world.delete(world.snap.tasks["t0"])
    assert world.snap.tasks["t4"].state is State.PENDING


@pytest.mark.parametrize("deleted", [False, True], ids=["stopped", "deleted"])
def test_the_address_of_a_task_is_given_to_nobody_in_the_proposal_that_gives_the_task_up(deleted: bool) -> None:
    world = World()
    web = service("web", "net")
    world.write(network("net", subnet="10.9.0.0/29"), web)
    world.write(*(task(f"t{n}", web) for n in range(4)))
    old = world.snap.tasks["t0"]
    given_up = (
        Delete(Kind.TASK, "t0", old.version.index) if deleted else Put(replace(old, desired_state=State.SHUTDOWN))
    )
    proposal = [given_up, Put(task("t4", web))]
    proposed = world.snap.apart().apply(proposal, index=world.snap.index + 1, now_s=1.0)
    touched = {(Kind.TASK, "t0"), (Kind.TASK, "t4")}
    assert world.allocator(proposed, touched, now_s=1.0, new_id=str).changes == (), "nor is it told that there is none"

    refused = world.snap.apply(proposal[1:], index=world.snap.index + 1, now_s=1.0)
    [waits] = world.allocator(refused, touched, now_s=1.0, new_id=str).changes
    assert isinstance(waits, Put)
    assert isinstance(waits.obj, Task)
    assert waits.obj.status.err.startswith("no free address")

    stored = world.snap.apply(proposal, index=world.snap.index + 1, now_s=1.0)
    [given] = world.allocator(stored, touched, now_s=1.0, new_id=str).changes
    assert isinstance(given, Put)
    assert isinstance(given.obj, Task)
    assert given.obj.networks_attachments[0].addresses == old.networks_attachments[0].addresses


def test_a_network_that_is_not_there_is_named() -> None:
    world = World()
    web = service("web", "gone")
    world.write(web, task("t", web))
    assert world.snap.tasks["t"].status.err.startswith("network gone not found")


def test_addresses_that_were_set_aside_are_given_to_nobody() -> None:
    world = World()
    web = service("web", "net")
    aside = {"router": "10.9.0.2", "printer": "10.9.0.4", "out of the range": "10.9.0.9"}
    asked = IPAMConfig(subnet="10.9.0.0/24", ip_range="10.9.0.0/29", aux_addresses=aside)
    world.write(network("net", ranges=(asked,)), web, *(task(f"t{n}", web) for n in range(4)))
    given = [*world.vips("web"), *(addr for n in range(4) for addr in world.addresses(f"t{n}"))]
    assert given == [f"10.9.0.{n}/24" for n in (3, 5, 6, 7)]
    assert world.snap.tasks["t3"].status.err.startswith("no free address in network net (10.9.0.0/29)")


def test_nothing_is_taken_outside_of_the_range_that_was_asked_for_nor_is_the_gateway() -> None:
    world = World()
    asked = IPAMConfig(subnet="10.9.0.0/24", ip_range="10.9.0.8/30", gateway="10.9.0.9")
    web = service("web", "net")
    world.write(network("net", ranges=(asked,)), web, *(task(f"t{n}", web) for n in range(3)))
    assert world.vips("web") + [addr for n in range(2) for addr in world.addresses(f"t{n}")] == [
        "10.9.0.8/24", "10.9.0.10/24", "10.9.0.11/24"
    ]  # fmt: skip
    assert world.snap.tasks["t2"].status.err == (
        "no free address in network net (10.9.0.8/30): remove tasks from it, or use a larger subnet"
    )


def test_a_network_with_ipv6_gives_tasks_and_services_an_address_of_either_kind() -> None:
    world = World()
    web = service("web", "net")
    asked = IPAMConfig(subnet="fd00:1::/64")
    world.write(network("net", ranges=(asked,), ipv6=True), web, task("t1", web), task("t2", web))
    assert world.ranges("net") == (("10.0.0.0/24", "10.0.0.1"), ("fd00:1::/64", "fd00:1::1"))
    assert world.vips("web") == ["10.0.0.2/24", "fd00:1::2/64"]
    assert world.addresses("t1") == ("10.0.0.3/24", "fd00:1::3/64")
    assert world.addresses("t2") == ("10.0.0.4/24", "fd00:1::4/64")
    assert world.allocate() == 0


def test_a_network_with_ipv6_and_no_range_gets_one_of_its_own() -> None:
    world = World()
    world.write(network("one", ipv6=True), network("two", ipv6=True))
    found = [ipaddress.IPv6Network(world.ranges(name)[1][0]) for name in ("one", "two")]
    assert all(net.is_private and net.prefixlen == 64 for net in found)
    assert found[0] != found[1]


def test_an_ipv6_range_is_not_used_unless_ipv6_is_enabled() -> None:
    world = World()
    world.write(network("net", ranges=(IPAMConfig(subnet="fd00:1::/64"), IPAMConfig(subnet="10.8.0.0/24"))))
    assert world.ranges("net") == (("10.8.0.0/24", "10.8.0.1"),)


def test_a_full_ipv6_range_is_the_reason_that_tasks_wait_and_their_other_address_is_given_back() -> None:
    world = World()
    web = service("web", "net")
    asked = IPAMConfig(subnet="fd00:1::/64", ip_range="fd00:1::10/127")
    world.write(network("net", ranges=(asked,), ipv6=True), web, task("t1", web), task("t2", web))
    assert world.addresses("t1") == ("10.0.0.3/24", "fd00:1::11/64")
    assert world.snap.tasks["t2"].status.err.startswith("no free address in network net (fd00:1::10/127)")
    free = world.allocator._pools.subnets["net"][0].left
    assert free == 253 - 2, "what was taken for a task that gets nothing is free again"


def test_a_network_of_two_ranges_gives_addresses_of_the_second_once_the_first_is_full() -> None:
    world = World()
    web = service("web", "net")
    ranges = (IPAMConfig(subnet="10.9.0.0/30"), IPAMConfig(subnet="10.9.1.0/24"))
    world.write(network("net", ranges=ranges), web, task("t1", web))
    assert (world.vips("web"), world.addresses("t1")) == (["10.9.0.2/30"], ("10.9.1.2/24",))


def test_every_node_has_a_place_on_the_ingress_network_and_nobody_else_has_its_address() -> None:
    world = World()
    web = service("web", ports=(port(80),))
    world.write(Node(id="n1"), Node(id="n2"), network("ingress", ingress=True), web, task("t1", web))
    places = [world.place("n1"), world.place("n2")]
    assert places == [("10.0.0.2/24",), ("10.0.0.3/24",)]
    assert world.vips("web") == ["10.0.0.4/24"]
    assert world.addresses("t1") == ("10.0.0.5/24",)
    before = world.snap.nodes["n1"]
    world.write(replace(before, status=NodeStatus(state="down")), Node(id="n3"))
    assert (world.place("n1"), world.place("n3")) == (("10.0.0.2/24",), ("10.0.0.6/24",))
    world.allocator, world._seen = Allocator(), None
    assert world.allocate() == 0


def test_the_address_of_a_removed_node_is_free_and_one_that_got_none_has_it_then() -> None:
    world = World()
    world.write(network("ingress", subnet="10.9.0.0/30", ingress=True), Node(id="n1"))
    world.write(Node(id="n2"))
    assert (world.place("n1"), world.place("n2")) == (("10.9.0.2/30",), ())
    world.delete(world.snap.nodes["n1"])
    assert world.place("n2") == ("10.9.0.2/30",)


def test_nodes_follow_the_ingress_network_when_it_is_removed_and_made_anew() -> None:
    world = World()
    world.write(Node(id="n1"), network("ingress", ingress=True))
    world.delete(world.snap.networks["ingress"])
    assert world.place("n1") == ()
    world.write(network("other", subnet="10.77.0.0/24", ingress=True))
    assert world.place("n1") == ("10.77.0.2/24",)


def test_an_address_is_taken_as_fast_from_the_largest_range_as_from_a_small_one() -> None:
    pools = Pools()
    asked = IPAMConfig(subnet="fd00::/8")
    pools.add_network(
        replace(
            network("net"),
            driver_state=Driver(name="overlay", options={VXLAN_OPTION: "4096"}),
            ipam_options=IPAMOptions(configs=(asked,)),
        )
    )
    assert [pools.take("net") for _ in range(3)] == [("fd00::2/8",), ("fd00::3/8",), ("fd00::4/8",)]


def test_ports_are_chosen_from_30000_and_kept() -> None:
    world = World()
    world.write(network("ingress", ingress=True))
    world.write(
        service("a", ports=(port(80), port(53, protocol="udp"))), service("b", ports=(port(80), port(443, 30_002)))
    )
    world.write(service("c", ports=(port(80),)))
    published = {
        key: [one.published_port for one in found.endpoint.ports] for key, found in world.snap.services.items()
    }
    assert published == {"a": [30_000, 30_000], "b": [30_001, 30_002], "c": [30_003]}
    again = replace(world.snap.services["a"], spec=replace(world.snap.services["a"].spec, labels={"x": "y"}))
    world.write(again)
    assert [one.published_port for one in world.snap.services["a"].endpoint.ports] == [30_000, 30_000]


def test_tasks_of_a_service_with_ingress_ports_are_on_the_ingress_network_too() -> None:
    world = World()
    web = service("web", "net", ports=(port(80),))
    world.write(network("ingress", ingress=True), network("net"), web, task("t", web))
    assert [one.network.id for one in world.snap.tasks["t"].networks_attachments] == ["ingress", "net"]
    assert len(world.snap.services["web"].endpoint.virtual_ips) == 2


def test_ports_a_service_gives_up_are_free_again() -> None:
    world = World()
    world.write(network("ingress", ingress=True), service("a", ports=(port(80),)))
    world.write(replace(world.snap.services["a"], spec=service("a").spec))
    assert world.snap.services["a"].endpoint.ports == ()
    world.write(service("b", ports=(port(80),)))
    assert world.snap.services["b"].endpoint.ports[0].published_port == 30_000


def test_another_allocator_goes_on_where_one_stopped() -> None:
    world = World()
    web = service("web", "net", ports=(port(80),))
    world.write(network("ingress", ingress=True), network("net"), web, task("t1", web))
    world.allocator, world._seen = Allocator(), None
    assert world.allocate() == 0
    world.write(task("t2", web))
    assert set(world.addresses("t2")).isdisjoint(world.addresses("t1"))


def test_many_tasks_are_allocated_in_several_decisions() -> None:
    world = World()
    web = service("web", "net")
    world.write(network("net", subnet="10.7.0.0/16"), web, *(task(f"t{n}", web) for n in range(3)))
    tasks = [Put(task(f"m{n}", web)) for n in range(2500)]
    world.snap = world.snap.apply(tasks, index=next(world._index), now_s=1.0)
    world.allocate()
    addresses = {addr for key in world.snap.tasks for addr in world.addresses(key)}
    assert len(addresses) == 2503


def test_an_overlay_id_somebody_chose_is_kept_and_avoided() -> None:
    world = World()
    chosen = network("mine")
    driver = Driver(name="overlay", options={VXLAN_OPTION: "4096"})
    world.write(replace(chosen, spec=replace(chosen.spec, driver_configuration=driver)))
    world.write(network("next"))
    assert [world.snap.networks[name].vxlan_id for name in ("mine", "next")] == [4096, 4097]

"""Who is reached where on an overlay network: only what changed is said, and following it leads to all there is."""

from random import Random

import pytest
from msgspec.structs import replace

from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork, OverlayService
from vault.network.overlay.names import node_mac
from vault.network.overlay.reach import Reach, ReachChange, VirtualService
from vault.network.overlay.state import EndpointKey, Overlay, OverlayState, endpoint_key

NETWORK = OverlayNetwork(id="n", name="n", vxlan_id=4097)
HERE = "node1"
A, B = "10.9.0.2", "10.9.0.3"


def endpoint(task: str, address: str, node: str = "node2", node_addr: str = A, **fields: object) -> OverlayEndpoint:
    return OverlayEndpoint(
        network_id="n", task_id=task, node_id=node, node_addr=node_addr, addresses=(address,), **fields
    )  # type: ignore[arg-type]


def service(service_id: str = "web", *vips: str) -> OverlayService:
    return OverlayService(network_id="n", service_id=service_id, name=service_id, vips=vips or ("10.0.1.2",))


def overlay(*endpoints: OverlayEndpoint, services: tuple[OverlayService, ...] = ()) -> Overlay:
    change = OverlayChange(full=True, put_networks=(NETWORK,), put_endpoints=endpoints, put_services=services)
    return OverlayState().applied(change).overlays["n"]


def update(reach: Reach, now: Overlay, *keys: str) -> ReachChange:
    found = [EndpointKey(task, node) for task, _, node in (key.partition("@") for key in keys)]
    return reach.update(now, found, ())


def test_the_first_endpoint_on_a_node_tells_of_the_node_and_the_last_one_takes_it_away() -> None:
    reach = Reach(HERE)
    one, two = endpoint("t1", "10.0.1.11"), endpoint("t2", "10.0.1.12")
    first = update(reach, overlay(one), "t1@node2")
    assert (first.neighbours, first.nodes) == ({"10.0.1.11": node_mac(A)}, {node_mac(A): A})
    second = update(reach, overlay(one, two), "t2@node2")
    assert (second.neighbours, second.nodes) == ({"10.0.1.12": node_mac(A)}, {})
    third = update(reach, overlay(two), "t1@node2")
    assert (third.removed_neighbours, third.removed_nodes) == ({"10.0.1.11"}, set())
    fourth = update(reach, overlay(), "t2@node2")
    assert (fourth.removed_neighbours, fourth.removed_nodes) == ({"10.0.1.12"}, {node_mac(A)})


def test_tasks_of_this_node_are_no_neighbours() -> None:
    change = Reach(HERE).update(overlay(endpoint("t1", "10.0.1.11", HERE)))
    assert (change.own, change.neighbours, change.nodes) == ({"10.0.1.11"}, {}, {})


def test_an_address_that_passed_to_another_task_is_not_taken_away_with_the_first_one() -> None:
    reach = Reach(HERE)
    old, new = endpoint("t1", "10.0.1.11"), endpoint("t2", "10.0.1.11", "node3", B)
    update(reach, overlay(old), "t1@node2")
    assert update(reach, overlay(old, new), "t2@node3").neighbours == {"10.0.1.11": node_mac(B)}
    assert update(reach, overlay(new), "t1@node2").removed_neighbours == set()


def test_a_task_that_serves_no_longer_stays_reachable() -> None:
    reach = Reach(HERE)
    one = endpoint("t1", "10.0.1.11", service_id="web", serving=True)
    reach.update(overlay(one, services=(service(),)))
    change = update(reach, overlay(replace(one, serving=False), services=(service(),)), "t1@node2")
    assert change.services["web"][1] == VirtualService(vips=("10.0.1.2",), backends=())
    assert (change.withdrawn, change.removed_neighbours) == ({"10.0.1.11"}, set())


def test_nothing_is_said_twice() -> None:
    reach = Reach(HERE)
    now = overlay(endpoint("t1", "10.0.1.11", service_id="web", serving=True), services=(service(),))
    reach.update(now)
    assert reach.update(now) == ReachChange()


def test_packets_to_a_node_go_where_its_tunnel_is() -> None:
    change = Reach(HERE, lambda node_addr: "198.18.0.2").update(overlay(endpoint("t1", "10.0.1.11")))
    assert change.nodes == {node_mac(A): "198.18.0.2"}


class Kernel:
    """Does what a change says, and complains of what a kernel would."""

    def __init__(self) -> None:
        self.neighbours: dict[str, bytes] = {}
        self.nodes: dict[bytes, str] = {}
        self.own: set[str] = set()
        self.services: dict[str, VirtualService] = {}

    def do(self, change: ReachChange) -> None:
        for address in change.removed_neighbours:
            del self.neighbours[address]
        self.neighbours |= change.neighbours
        for mac in change.removed_nodes:
            del self.nodes[mac]
        self.nodes |= change.nodes
        assert change.removed_own <= self.own
        self.own = self.own - change.removed_own | change.own
        for service_id, (before, after) in change.services.items():
            assert self.services.get(service_id) == before
            self.services.pop(service_id, None)
            if after is not None:
                self.services[service_id] = after


@pytest.mark.parametrize("seed", range(60))
def test_following_the_changes_leads_to_all_there_is(seed: int) -> None:
    """Endpoints come, go, begin and end to serve; an address may have a new task before its old one is gone."""
    random, reach, kernel, state = Random(seed), Reach(HERE), Kernel(), OverlayState()
    state = state.applied(OverlayChange(put_networks=(NETWORK,)))
    live: dict[EndpointKey, OverlayEndpoint] = {}
    for step in range(60):
        gone, put = [], []
        taken = {address for one in live.values() for address in one.addresses}
        for key, one in list(live.items()):
            others = [each for other, each in live.items() if other != key]
            if any(one.addresses == each.addresses for each in others) or random.random() < 0.2:
                gone.append(live.pop(key))
            elif random.random() < 0.2:
                live[key] = changed = replace(one, serving=not one.serving)
                put.append(changed)
            elif random.random() < 0.1:
                node = random.randrange(4)
                fresh = endpoint(f"s{step}-{key.task_id}"[:9], one.addresses[0], f"node{node}", f"10.9.0.{node}")
                live[endpoint_key(fresh)] = fresh
                put.append(fresh)
        for number in random.sample(range(20), 2):
            node, address = random.randrange(4), f"10.0.1.{number}"
            if address not in taken:
                fresh = endpoint(
                    f"t{step}-{number}", address, f"node{node}", f"10.9.0.{node}",
                    service_id=random.choice("ab"), serving=random.random() < 0.5,
                )  # fmt: skip
                live[endpoint_key(fresh)] = fresh
                put.append(fresh)
        services = [service(s, f"10.0.1.{100 + ord(s)}") for s in random.sample("ab", random.randrange(3))]
        told = OverlayChange(
            put_endpoints=tuple(put),
            remove_endpoints=tuple(("n", *endpoint_key(one)) for one in gone),
            put_services=tuple(services),
            remove_services=(("n", random.choice("ab")),) if random.random() < 0.2 else (),
        )
        state = state.applied(told)
        now = state.overlays["n"]
        touched = {*map(endpoint_key, put), *map(endpoint_key, gone)}
        kernel.do(reach.update(now, touched, {"a", "b"}))
        if len({one.addresses for one in live.values()}) == len(live):
            whole = Kernel()
            whole.do(Reach(HERE).update(now))
            assert vars(kernel) == vars(whole), f"step {step}"


def test_an_address_that_passes_in_one_change_is_never_unreachable() -> None:
    reach = Reach(HERE)
    update(reach, overlay(endpoint("t1", "10.0.1.11")), "t1@node2")
    change = update(reach, overlay(endpoint("t2", "10.0.1.11")), "t1@node2", "t2@node2")
    assert (change.removed_neighbours, change.removed_nodes) == (set(), set())

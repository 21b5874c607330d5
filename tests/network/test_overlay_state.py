"""What a node was told of overlay networks, change by change."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from vault.model.overlay import OverlayChange, OverlayEndpoint, OverlayNetwork, OverlayService
from vault.network.overlay.state import EndpointKey, OverlayState, differences, endpoint_key

FRONT = OverlayNetwork(id="front", name="front", vxlan_id=4097)
BACK = OverlayNetwork(id="back", name="back", vxlan_id=4098)


def endpoint(network: str = "front", task: str = "t1", service: str = "web", serving: bool = True) -> OverlayEndpoint:
    return OverlayEndpoint(
        network_id=network, task_id=task, service_id=service, node_id="n1", addresses=("10.0.1.3",), serving=serving
    )


def service(network: str = "front", service_id: str = "web") -> OverlayService:
    return OverlayService(network_id=network, service_id=service_id, name=service_id, vips=("10.0.1.2",))


FULL = OverlayChange(
    full=True,
    put_networks=(FRONT, BACK),
    put_endpoints=(endpoint(), endpoint("back", "t2", "db")),
    put_services=(service(), service("back", "db")),
)


def state(*changes: OverlayChange) -> OverlayState:
    made = OverlayState()
    for change in changes:
        made = made.applied(change)
    return made


def test_a_full_set_replaces_all_there_was() -> None:
    after = state(FULL, OverlayChange(full=True, put_networks=(FRONT,), put_endpoints=(endpoint(task="t9"),)))
    assert [overlay.network for overlay in after] == [FRONT]
    assert list(after.overlays["front"].endpoints) == [EndpointKey("t9", "n1")]
    assert not after.overlays["front"].services


def test_a_network_that_goes_takes_its_endpoints_and_services_with_it() -> None:
    after = state(FULL, OverlayChange(remove_networks=("front",)))
    assert [overlay.network.id for overlay in after] == ["back"]
    assert len(after.applied(OverlayChange(put_networks=(FRONT,))).overlays["front"].endpoints) == 0


def test_a_network_that_is_told_anew_keeps_its_endpoints() -> None:
    after = state(FULL, OverlayChange(put_networks=(replace(FRONT, mtu=1400),)))
    assert after.overlays["front"].network.mtu == 1400
    assert after.overlays["front"].endpoints == state(FULL).overlays["front"].endpoints


def test_what_a_change_removes_and_puts_stays() -> None:
    change = OverlayChange(
        remove_endpoints=(("front", "t1", "n1"),),
        put_endpoints=(endpoint(serving=False),),
        remove_services=(("front", "web"),),
    )
    front = state(FULL, change).overlays["front"]
    assert [one.serving for one in front.endpoints.values()] == [False]
    assert not front.services


def test_what_is_on_a_network_nobody_spoke_of_is_left_out() -> None:
    change = OverlayChange(put_endpoints=(endpoint("nowhere"),), put_services=(service("nowhere"),))
    assert state(FULL, change) is not None
    assert state(FULL, change).get("nowhere") is None


def test_a_change_that_says_nothing_new_gives_the_same_state() -> None:
    before = state(FULL)
    for change in (
        FULL,
        OverlayChange(),
        OverlayChange(put_networks=(FRONT,), put_endpoints=(endpoint(),), put_services=(service(),)),
        OverlayChange(remove_networks=("x",), remove_endpoints=(("front", "x", "n1"),), remove_services=(("x", "y"),)),
    ):
        assert before.applied(change) is before
        assert list(differences(before, before.applied(change))) == []


def test_networks_without_a_change_are_shared_between_states() -> None:
    before = state(FULL)
    after = before.applied(OverlayChange(put_endpoints=(endpoint(task="t3"),)))
    assert after.overlays["back"] is before.overlays["back"]
    (difference,) = differences(before, after)
    assert (difference.network_id, difference.network_changed) == ("front", False)
    assert difference.put_endpoints == (endpoint(task="t3"),)
    assert difference.put_services == difference.removed_services == difference.removed_endpoints == ()


def test_a_new_network_differs_by_all_that_is_on_it_and_a_lost_one_by_all_that_was() -> None:
    empty, full = OverlayState(), state(FULL)
    front = {difference.network_id: difference for difference in differences(empty, full)}["front"]
    assert front.network_changed
    assert (front.before, front.put_endpoints, front.put_services) == (None, (endpoint(),), (service(),))
    front = {difference.network_id: difference for difference in differences(full, empty)}["front"]
    assert front.network_changed
    assert (front.after, front.removed_endpoints, front.removed_services) == (None, (endpoint(),), (service(),))


def test_only_what_serves_is_behind_a_service_in_a_steady_order() -> None:
    puts = (
        endpoint(task="t3"),
        endpoint(task="t0"),
        endpoint(task="t2", serving=False),
        endpoint(task="t4", service="a"),
    )
    front = state(FULL, OverlayChange(put_endpoints=puts)).overlays["front"]
    tasks = {service_id: [one.task_id for one in ones] for service_id, ones in front.serving().items()}
    assert tasks == {"web": ["t0", "t1", "t3"], "a": ["t4"]}


def test_the_ingress_network_is_found() -> None:
    ingress = OverlayNetwork(id="i", name="ingress", vxlan_id=4096, ingress=True)
    assert state(FULL).ingress is None
    found = state(FULL, OverlayChange(put_networks=(ingress,))).ingress
    assert found is not None
    assert found.network == ingress


ids = st.sampled_from("abc")
networks = st.builds(OverlayNetwork, id=ids, name=ids, vxlan_id=st.integers(1, 2))
endpoints = st.builds(OverlayEndpoint, network_id=ids, task_id=ids, node_id=ids, service_id=ids, serving=st.booleans())
services = st.builds(OverlayService, network_id=ids, service_id=ids, name=ids)
changes = st.builds(
    OverlayChange,
    full=st.booleans(),
    put_networks=st.lists(networks, max_size=3).map(tuple),
    remove_networks=st.lists(ids, max_size=1).map(tuple),
    put_endpoints=st.lists(endpoints, max_size=5).map(tuple),
    remove_endpoints=st.lists(st.tuples(ids, ids, ids), max_size=5).map(tuple),
    put_services=st.lists(services, max_size=3).map(tuple),
    remove_services=st.lists(st.tuples(ids, ids), max_size=3).map(tuple),
)


class Plain:
    """The same, as plainly as it can be said."""

    def __init__(self) -> None:
        self.networks: dict[str, OverlayNetwork] = {}
        self.endpoints: dict[tuple[str, str, str], OverlayEndpoint] = {}
        self.services: dict[tuple[str, str], OverlayService] = {}

    def apply(self, change: OverlayChange) -> None:
        put = {one.id: one for one in change.put_networks}
        kept = {} if change.full else {i: one for i, one in self.networks.items() if i not in change.remove_networks}
        if change.full:
            self.endpoints, self.services = {}, {}
        self.endpoints = {k: v for k, v in self.endpoints.items() if k[0] in kept and k not in change.remove_endpoints}
        self.services = {k: v for k, v in self.services.items() if k[0] in kept and k not in change.remove_services}
        self.networks = {**kept, **put}
        for one in change.put_endpoints:
            if one.network_id in self.networks:
                self.endpoints[(one.network_id, one.task_id, one.node_id)] = one
        for each in change.put_services:
            if each.network_id in self.networks:
                self.services[(each.network_id, each.service_id)] = each

    def change(self) -> OverlayChange:
        return OverlayChange(
            full=True,
            put_networks=tuple(self.networks[key] for key in sorted(self.networks)),
            put_endpoints=tuple(self.endpoints[key] for key in sorted(self.endpoints)),
            put_services=tuple(self.services[key] for key in sorted(self.services)),
        )


@given(st.lists(changes, max_size=6))
def test_changes_lead_where_a_plain_model_does_and_differences_say_how(told: list[OverlayChange]) -> None:
    plain, now, follower = Plain(), OverlayState(), OverlayState()
    for change in told:
        before, now = now, now.applied(change)
        plain.apply(change)
        assert now.as_change() == plain.change()
        assert (now is before) == (now.as_change() == before.as_change()), "the same state exactly when nothing changed"
        assert OverlayState().applied(now.as_change()) == now
        for difference in differences(before, now):
            follower = follower.applied(
                OverlayChange(
                    put_networks=(difference.after.network,) if difference.after else (),
                    remove_networks=() if difference.after else (difference.network_id,),
                    put_endpoints=difference.put_endpoints,
                    remove_endpoints=tuple(
                        (difference.network_id, *endpoint_key(one)) for one in difference.removed_endpoints
                    ),
                    put_services=difference.put_services,
                    remove_services=tuple((one.network_id, one.service_id) for one in difference.removed_services),
                )
            )
        assert follower.as_change() == now.as_change(), "whoever follows the differences arrives at the same state"

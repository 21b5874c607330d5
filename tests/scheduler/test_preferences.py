"""Placement preferences: tasks are spread evenly over the values of labels, level by level."""

from collections import Counter

import pytest

from tests.scheduler.world import node, on, pending, reserve, schedule, spread
from vault.model.node import Engine
from vault.model.service import Placement
from vault.model.task import State

ZONE = spread("node.labels.zone")
NODES = {"a1": "a", "a2": "a", "a3": "a", "b1": "b"}


def by_zone(placed: dict[str, str], zones: dict[str, str] = NODES) -> dict[str, int]:
    """Return how many tasks each zone got."""
    return dict(Counter(zones[node_id] for node_id in placed.values()))


def test_zones_get_equal_shares_however_many_nodes_they_have() -> None:
    nodes = [node(node_id, zone=zone) for node_id, zone in NODES.items()]
    tasks = [pending(f"t{n}", placement=ZONE) for n in range(8)]
    placed = schedule(*nodes, *tasks)
    assert by_zone(placed) == {"a": 4, "b": 4}
    assert Counter(placed.values()) == {"a1": 2, "a2": 1, "a3": 1, "b1": 4}


def test_what_is_there_already_counts() -> None:
    nodes = [node(node_id, zone=zone) for node_id, zone in NODES.items()]
    there = [on(pending(f"o{n}", placement=ZONE), "a1") for n in range(3)]
    assert by_zone(schedule(*nodes, *there, *(pending(f"t{n}", placement=ZONE) for n in range(3)))) == {"b": 3}


def test_a_zone_without_room_leaves_its_share_to_the_others() -> None:
    nodes = [node("a1", zone="a", cpus=8), node("b1", zone="b", cpus=1), node("c1", zone="c", cpus=8)]
    tasks = [pending(f"t{n}", placement=ZONE, resources=reserve(cpus=1)) for n in range(8)]
    placed = schedule(*nodes, *tasks)
    assert Counter(placed.values()) == {"a1": 4, "b1": 1, "c1": 3}


def test_when_no_zone_has_room_the_rest_waits_and_says_why() -> None:
    nodes = [node("a1", zone="a", cpus=1), node("b1", zone="b", cpus=1)]
    placed = schedule(*nodes, *(pending(f"t{n}", placement=ZONE, resources=reserve(cpus=1)) for n in range(3)))
    assert placed == {"t0": "a1", "t1": "b1", "t2": "no suitable node (insufficient resources on 2 nodes)"}


def test_a_node_without_the_label_is_in_a_zone_of_its_own() -> None:
    nodes = [node("a1", zone="a"), node("x1"), node("x2", zone="")]
    placed = schedule(*nodes, *(pending(f"t{n}", placement=ZONE) for n in range(4)))
    assert Counter(placed.values()) == {"a1": 2, "x1": 1, "x2": 1}


def test_the_second_preference_counts_within_each_value_of_the_first() -> None:
    racks = {"a1": ("a", "1"), "a2": ("a", "1"), "a3": ("a", "2"), "b1": ("b", "1")}
    nodes = [node(node_id, zone=zone, rack=rack) for node_id, (zone, rack) in racks.items()]
    nested = spread("node.labels.zone", "node.labels.rack")
    placed = schedule(*nodes, *(pending(f"t{n}", placement=nested) for n in range(8)))
    assert Counter(placed.values()) == {"a1": 1, "a2": 1, "a3": 2, "b1": 4}


def test_tasks_may_be_spread_over_labels_of_the_engine() -> None:
    nodes = [node(f"n{n}", engine=Engine(labels={"disk": disk})) for n, disk in enumerate(("ssd", "ssd", "hdd"))]
    placed = schedule(*nodes, *(pending(f"t{n}", placement=spread("Engine.Labels.disk")) for n in range(4)))
    assert Counter(placed.values()) == {"n0": 1, "n1": 1, "n2": 2}


def test_the_name_of_a_label_keeps_its_case() -> None:
    nodes = [node("a1", zone="a"), node("a2", zone="a"), node("b1", zone="b")]
    placed = schedule(*nodes, *(pending(f"t{n}", placement=spread("node.labels.Zone")) for n in range(3)))
    assert Counter(placed.values()) == {"a1": 1, "a2": 1, "b1": 1}


@pytest.mark.parametrize("preference", ["node.id", "node.labels.", "zone", ""])
def test_what_names_no_label_is_no_level(preference: str) -> None:
    nodes = [node("a1", zone="a"), node("a2", zone="a"), node("b1", zone="b")]
    tasks = [pending(f"t{n}", placement=spread(preference, "node.labels.zone")) for n in range(4)]
    assert Counter(schedule(*nodes, *tasks).values()) == {"a1": 1, "a2": 1, "b1": 2}


def test_a_node_where_the_service_keeps_failing_is_last_in_its_zone_only() -> None:
    nodes = [node("a1", zone="a"), node("a2", zone="a"), node("b1", zone="b")]
    failed = [on(pending(f"f{n}", placement=ZONE), "a1", State.FAILED) for n in range(5)]
    placed = schedule(*nodes, *failed, *(pending(f"t{n}", placement=ZONE) for n in range(4)))
    assert Counter(placed.values()) == {"a2": 2, "b1": 2}


def test_many_services_of_one_task_do_not_all_go_to_the_first_zone() -> None:
    nodes = [node("a1", zone="a"), node("b1", zone="b"), node("c1", zone="c"), node("c2", zone="c")]
    placed = schedule(*nodes, *(pending(f"t{n}", f"s{n}", placement=ZONE) for n in range(8)))
    assert Counter(placed.values()) == {"a1": 2, "b1": 2, "c1": 2, "c2": 2}


def test_constraints_and_most_replicas_hold_within_zones() -> None:
    nodes = [node("a1", zone="a", disk="ssd"), node("a2", zone="a", disk="ssd"), node("b1", zone="b", disk="ssd")]
    nodes.append(node("b2", zone="b"))
    strict = spread("node.labels.zone", constraints=("node.labels.disk == ssd",), most=1)
    placed = schedule(*nodes, *(pending(f"t{n}", placement=strict) for n in range(4)))
    reason = "no suitable node (max replicas per node limit exceed; scheduling constraints not satisfied on 1 node)"
    assert sorted(placed.values()) == ["a1", "a2", "b1", reason]


def test_a_service_without_preferences_is_spread_over_nodes_whatever_their_labels() -> None:
    nodes = [node(node_id, zone=zone) for node_id, zone in NODES.items()]
    placed = schedule(*nodes, *(pending(f"t{n}", placement=Placement()) for n in range(8)))
    assert by_zone(placed) == {"a": 6, "b": 2}

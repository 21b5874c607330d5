"""Where everything of a lab is, and which packets are dropped: pure."""

from pathlib import Path

import pytest

from vault.lab import cuts
from vault.lab.errors import BadPlan
from vault.lab.plan import check_disk, places, site

NODES = ("manager1", "manager2", "worker1")


def test_managers_come_first_and_every_node_has_an_address_of_its_own() -> None:
    nodes = places(site(Path("/l"), "lab"), managers=2, workers=1)
    assert [(node.name, node.address, node.manager) for node in nodes] == [
        ("manager1", "10.77.1.1", True),
        ("manager2", "10.77.1.2", True),
        ("worker1", "10.77.2.1", False),
    ]


def test_two_labs_of_one_name_in_two_directories_share_nothing() -> None:
    one, other = (places(site(Path(base), "lab"), managers=1, workers=0)[0] for base in ("/a", "/b"))
    assert not {one.cgroup, one.tasks_cgroup, one.directory} & {other.cgroup, other.tasks_cgroup, other.directory}


@pytest.mark.parametrize("name", ["", "-x", "x-", "Lab", "a/b", "..", "a" * 31, "läb"])
def test_a_name_that_cannot_be_a_directory_and_a_cgroup_is_refused(name: str) -> None:
    with pytest.raises(BadPlan, match="invalid lab name"):
        site(Path("/l"), name)


def test_a_directory_too_deep_for_sockets_is_refused_with_the_number_of_bytes() -> None:
    fits = Path("/" + "x" * 50)
    places(site(fits, "a"), managers=1, workers=0)
    with pytest.raises(BadPlan, match="is 7 bytes too long"):
        places(site(fits / "xxxxx", "abcd"), managers=1, workers=0)


@pytest.mark.parametrize(("managers", "workers"), [(0, 1), (-1, 0), (1, -1), (51, 0), (1, 51)])
def test_a_lab_without_a_manager_or_with_too_many_nodes_is_refused(managers: int, workers: int) -> None:
    with pytest.raises(BadPlan):
        places(site(Path("/l"), "lab"), managers=managers, workers=workers)


def test_a_disk_holds_a_file_system_or_is_none() -> None:
    check_disk(0)
    check_disk(16 << 20)
    with pytest.raises(BadPlan, match="16M or more"):
        check_disk((16 << 20) - 1)


def test_a_cut_node_is_cut_from_every_other_in_both_directions() -> None:
    made = cuts.cut(frozenset(), NODES, "manager1")
    assert made == {
        ("manager1", "manager2"),
        ("manager2", "manager1"),
        ("manager1", "worker1"),
        ("worker1", "manager1"),
    }


def test_a_one_way_cut_loses_only_what_the_node_sends() -> None:
    assert cuts.cut(frozenset(), NODES, "worker1", to="manager2", one_way=True) == {("worker1", "manager2")}


def test_healing_a_node_leaves_the_cuts_between_others() -> None:
    made = cuts.cut(cuts.cut(frozenset(), NODES, "manager1"), NODES, "manager2", to="worker1")
    assert cuts.heal(made, "manager1") == {("manager2", "worker1"), ("worker1", "manager2")}
    assert cuts.heal(made, None) == frozenset()


def test_the_rules_name_both_ports_of_a_node_and_replace_the_rules_before() -> None:
    script = cuts.rules(frozenset({("manager1", "worker1")}))
    assert script.startswith("table bridge vault_lab {}\ndelete table bridge vault_lab\n")
    for pair in (
        '"manager1" . "worker1"',
        '"manager1~" . "worker1"',
        '"manager1" . "worker1~"',
        '"manager1~" . "worker1~"',
    ):
        assert pair in script
    assert '"worker1" . "manager1"' not in script
    assert "chain" not in cuts.rules(frozenset())


def test_status_tells_a_whole_cut_from_one_of_some_links_and_from_one_direction() -> None:
    whole = cuts.cut(frozenset(), NODES, "manager1")
    assert cuts.describe(whole, NODES, "manager1") == ["cut"]
    assert cuts.describe(whole, NODES, "worker1") == ["cut from manager1"]
    one_way = cuts.cut(frozenset(), NODES, "worker1", to="manager2", one_way=True)
    assert cuts.describe(one_way, NODES, "worker1") == ["cut to manager2"]
    assert cuts.describe(one_way, NODES, "manager2") == ["deaf to worker1"]
    assert cuts.describe(frozenset(), NODES, "manager2") == []

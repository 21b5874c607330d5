"""What networks leave behind is found, whatever it is."""

from tests.cluster.traces import differences

CLEAN = {"links": ["eth0", "lo"], "rules": [], "files": ["dns.log"]}


def test_nothing_is_found_where_nothing_is_left() -> None:
    assert differences({"worker1": CLEAN}, {"worker1": dict(CLEAN)}) == []


def test_what_is_new_and_what_is_missing_is_named_with_its_node() -> None:
    after = CLEAN | {"links": ["lo", "vabc123"], "rules": ["table ip vault_abc"]}
    assert differences({"worker1": CLEAN}, {"worker1": after}) == [
        "worker1, links: + vabc123",
        "worker1, links: - eth0",
        "worker1, rules: + table ip vault_abc",
    ]

"""What a task is told of a name: addresses, nothing, or nothing of ours."""

from collections import Counter
from collections.abc import Sequence

import dns.message
import dns.reversename
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dns.world import BACK, FRONT, INGRESS, directory, network, packed, query, service, shown, task, told
from vault.dns.answering import answer, resolve
from vault.dns.names import Directory
from vault.dns.wire import read_query
from vault.model.overlay import OverlayChange

ADDRESS = "10.0.1.2"
WORLD = (
    network(BACK, "shop_back"),
    network(FRONT, "front", "10.0.2.0/24", "fd00:2::/64"),
    service("web", "10.0.1.2", aliases=("www", "Old.Name")),
    service("db"),
    task("web", 1, "10.0.1.11", hostname="web"),
    task("web", 2, "10.0.1.12"),
    task("web", 3, "10.0.1.13", serving=False),
    task("db", 1, "10.0.1.21", hostname="primary"),
    task("db", 2, "10.0.1.22"),
    service("web", "10.0.2.2", "fd00:2::2", on=FRONT),
    task("web", 1, "10.0.2.11", "fd00:2::11", on=FRONT),
)


def asked(name: str, type_: str = "A", *, of: Directory | None = None, on: Sequence[str] = (BACK,)) -> object:
    """Return how a question ends and the values found; None when others are to be asked."""
    names = of or directory(*WORLD)
    reply = answer(read_query(query(name, type_)), list(names.on(on)), over_tcp=False)
    return None if reply is None else shown(reply)


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("web", ["10.0.1.2"]),
        ("WWW.", ["10.0.1.2"]),
        ("old.name", ["10.0.1.2"]),
        ("tasks.web", ["10.0.1.11", "10.0.1.12"]),
        ("tasks.www", ["10.0.1.11", "10.0.1.12"]),
        ("db", ["10.0.1.21", "10.0.1.22"]),
        ("tasks.db", ["10.0.1.21", "10.0.1.22"]),
        ("web.2.web2", ["10.0.1.12"]),
        ("web2", ["10.0.1.12"]),
        ("primary", ["10.0.1.21"]),
        ("web.3.web3", ["10.0.1.13"]),
    ],
)
def test_a_name_stands_for_its_addresses_and_also_with_the_network_behind_it(name: str, addresses: list[str]) -> None:
    assert asked(name) == ("NOERROR", addresses)
    assert asked(f"{name.rstrip('.')}.Shop_Back") == ("NOERROR", addresses)


@pytest.mark.parametrize("name", ["nosuch", "tasks.nosuch", "tasks", "web.front", "example.com", ".", "a.shop_back"])
def test_a_name_that_nobody_has_here_is_left_to_others(name: str) -> None:
    assert asked(name) is None


def test_a_task_that_does_not_serve_has_a_name_and_is_not_among_its_service() -> None:
    assert asked("web3") == ("NOERROR", ["10.0.1.13"])
    assert asked("tasks.web") == ("NOERROR", ["10.0.1.11", "10.0.1.12"])


def test_a_service_comes_before_a_task_with_that_host_name() -> None:
    assert asked("web") == ("NOERROR", ["10.0.1.2"])


def test_names_are_looked_for_on_the_networks_in_their_order() -> None:
    assert asked("web", on=(FRONT, BACK)) == ("NOERROR", ["10.0.2.2"])
    assert asked("web", on=(BACK, FRONT)) == ("NOERROR", ["10.0.1.2"])
    assert asked("web.front", on=(BACK, FRONT)) == ("NOERROR", ["10.0.2.2"])
    assert asked("db", on=(FRONT, BACK)) == ("NOERROR", ["10.0.1.21", "10.0.1.22"])


def test_what_is_on_other_networks_is_not_known() -> None:
    assert asked("db", on=(FRONT,)) is None
    assert asked("db", on=()) is None
    assert asked("db", on=("no-such-network",)) is None


def test_nobody_is_looked_up_on_the_ingress_network() -> None:
    names = directory(network(INGRESS), service("web", ADDRESS, on=INGRESS))
    assert asked("web", of=names, on=(INGRESS,)) is None


def test_addresses_of_the_other_family_are_none_and_not_unknown() -> None:
    assert asked("web", "AAAA") == ("NOERROR", [])
    assert asked("web", "AAAA", on=(FRONT,)) == ("NOERROR", ["fd00:2::2"])
    assert asked("tasks.web", "AAAA", on=(FRONT,)) == ("NOERROR", ["fd00:2::11"])


@pytest.mark.parametrize("type_", ["MX", "SRV", "HTTPS", "TXT", "NS"])
def test_a_known_name_has_no_records_of_other_types(type_: str) -> None:
    assert asked("web", type_) == ("NOERROR", [])
    assert asked("nosuch", type_) is None


def test_any_type_means_both_families() -> None:
    assert asked("web", "ANY", on=(FRONT,)) == ("NOERROR", ["10.0.2.2", "fd00:2::2"])


def test_another_class_is_left_to_others() -> None:
    message = dns.message.make_query("web", "TXT", "CH")
    assert answer(read_query(message.to_wire()), list(directory(*WORLD).on((BACK,))), over_tcp=False) is None


def test_a_service_without_serving_tasks_is_known_and_has_no_address() -> None:
    names = directory(network(), service("db"), task("db", 1, ADDRESS, serving=False))
    assert asked("db", of=names) == ("NOERROR", [])
    assert asked("tasks.db", of=names) == ("NOERROR", [])


def test_two_services_with_one_alias_are_both_found() -> None:
    names = directory(
        network(), service("blue", "10.0.1.2", aliases=("web",)), service("green", "10.0.1.3", aliases=("web",))
    )
    assert asked("web", of=names) == ("NOERROR", ["10.0.1.2", "10.0.1.3"])


def test_tasks_are_told_in_any_order_and_all_of_them() -> None:
    names = directory(network(), service("db"), *(task("db", n, f"10.0.1.{n}") for n in range(1, 5)))
    data, first = read_query(query("db")), Counter[str]()
    for _ in range(400):
        reply = answer(data, list(names.on((BACK,))), over_tcp=False)
        assert reply is not None
        addresses = [str(record) for record in dns.message.from_wire(reply).answer[0]]
        assert len(addresses) == 4
        first[addresses[0]] += 1
    assert min(first[f"10.0.1.{n}"] for n in range(1, 5)) > 50, first


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.0.1.11", "web.1.web1.shop_back."),
        ("10.0.1.2", "web.shop_back."),
        ("10.0.2.2", "web.front."),
        ("fd00:2::11", "web.1.web1.front."),
    ],
)
def test_an_address_has_the_name_of_its_task_or_service_with_the_network(address: str, name: str) -> None:
    pointer = str(dns.reversename.from_address(address))
    assert asked(pointer.upper(), "PTR", on=(BACK, FRONT)) == ("NOERROR", [name])


def test_an_address_of_nobody_on_the_tasks_networks_has_no_name_and_others_are_not_asked() -> None:
    assert asked("99.1.0.10.in-addr.arpa", "PTR") == ("NXDOMAIN", [])
    assert asked(str(dns.reversename.from_address("fd00:2::99")), "PTR", on=(FRONT,)) == ("NXDOMAIN", [])
    assert asked("99.2.0.10.in-addr.arpa", "PTR") is None
    assert asked("8.8.8.8.in-addr.arpa", "PTR") is None


@pytest.mark.parametrize(
    "name", ["1.0.10.in-addr.arpa", "x.1.0.10.in-addr.arpa", "256.1.0.10.in-addr.arpa", "a.ip6.arpa", "in-addr.arpa"]
)
def test_what_is_no_address_is_left_to_others(name: str) -> None:
    assert asked(name, "PTR") is None


def test_a_dot_inside_a_label_does_not_make_two_of_it() -> None:
    assert resolve((b"tasks.web",), list(directory(*WORLD).on((BACK,)))) is None


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=63), max_size=4))
def test_whatever_name_is_asked_for_is_answered_or_left_to_others(labels: list[bytes]) -> None:
    networks = list(directory(*WORLD).on((BACK, FRONT)))
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    for type_ in (1, 12, 28, 255):
        wire = bytes.fromhex("abcd 0100 0001 0000 0000 0000") + name + type_.to_bytes(2, "big") + b"\0\1"
        if len(name) < 255:
            answer(read_query(wire), networks, over_tcp=False)


def gone(*, tasks: Sequence[str] = (), services: Sequence[str] = (), networks: Sequence[str] = ()) -> OverlayChange:
    return OverlayChange(
        remove_networks=tuple(networks),
        remove_endpoints=tuple((BACK, each, "node") for each in tasks),
        remove_services=tuple((BACK, f"id-{each}") for each in services),
    )


def test_what_is_gone_is_not_told_any_more() -> None:
    names = directory(*WORLD)
    names.apply(gone(tasks=("db1",), services=("web",)))
    assert asked("db", of=names) == ("NOERROR", ["10.0.1.22"])
    assert asked("primary", of=names) is None
    assert asked("21.1.0.10.in-addr.arpa", "PTR", of=names) == ("NXDOMAIN", [])
    assert asked("www", of=names) is None
    assert asked("web", of=names) == ("NOERROR", ["10.0.1.11"]), "the task's host name is left"
    assert asked("2.1.0.10.in-addr.arpa", "PTR", of=names) == ("NXDOMAIN", [])
    names.apply(gone(networks=(BACK,)))
    assert asked("db", of=names) is None


def test_what_becomes_something_else_is_told_as_that() -> None:
    names = directory(*WORLD)
    names.apply(told(service("web", "10.0.1.3", aliases=("new",)), task("db", 1, "10.0.1.31", serving=False)))
    assert asked("www", of=names) is None
    assert asked("new", of=names) == ("NOERROR", ["10.0.1.3"])
    assert asked("db", of=names) == ("NOERROR", ["10.0.1.22"])
    assert asked("db1", of=names) == ("NOERROR", ["10.0.1.31"])
    names.apply(told(network(BACK, "renamed")))
    assert asked("db.renamed", of=names) == ("NOERROR", ["10.0.1.22"])


def test_an_address_that_went_to_another_task_keeps_its_new_name() -> None:
    names = directory(network(), task("old", 1, ADDRESS))
    names.apply(told(task("new", 1, ADDRESS)))
    names.apply(gone(tasks=("old1",)))
    assert asked("2.1.0.10.in-addr.arpa", "PTR", of=names) == ("NOERROR", ["new.1.new1.back."])


def test_a_full_set_replaces_everything_and_is_what_a_directory_tells_of_itself() -> None:
    names = directory(*WORLD)
    again = Directory()
    again.apply(names.as_change())
    assert asked("tasks.web", of=again) == asked("tasks.web", of=names)
    assert again.as_change() == names.as_change()
    names.apply(told(network(FRONT), full=True))
    assert asked("web", of=names) is None


def test_what_belongs_to_no_known_network_is_left_out() -> None:
    names = Directory()
    names.apply(told(service("web", ADDRESS), task("web", 1, ADDRESS)))
    names.apply(gone(tasks=("web1",), services=("web",)))
    assert names.as_change() == OverlayChange(full=True)


things = st.one_of(
    st.builds(lambda n, a, s: task("web", n, f"10.0.1.{a}", serving=s), *(st.integers(1, 4),) * 2, st.booleans()),
    st.builds(lambda n, a: service(f"s{n}", aliases=(f"s{a}",)), *(st.integers(1, 3),) * 2),
    st.builds(lambda n: gone(tasks=(f"web{n}",)), st.integers(1, 4)),
    st.builds(lambda n: gone(services=(f"s{n}",)), st.integers(1, 3)),
)


@settings(deadline=None)
@given(st.lists(things, max_size=30))
def test_changes_one_by_one_lead_where_the_whole_leads(changes: list[object]) -> None:
    names = directory(network(), service("web"))
    for change in changes:
        names.apply(change if isinstance(change, OverlayChange) else told(change))  # type: ignore[arg-type]
    again = Directory()
    again.apply(names.as_change())
    for name in (b"web", b"tasks.web", *(b"web%d" % n for n in range(5)), *(b"s%d" % n for n in range(4))):
        found = [sorted(each.on((BACK,)).__next__().addresses(name) or [b"none"]) for each in (names, again)]
        assert found[0] == found[1], name


def test_addresses_are_held_packed() -> None:
    (back,) = directory(*WORLD).on((BACK,))
    assert back.addresses(b"web") == packed(ADDRESS)

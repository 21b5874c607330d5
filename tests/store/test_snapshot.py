"""Snapshots: what a derived one shows, and what it refuses."""

from collections.abc import Callable
from random import Random

import pytest
from msgspec.structs import replace
from rpds import HashTrieSet

from vault.model.base import Version
from vault.model.container import ContainerSpec
from vault.model.ids import Kind
from vault.model.secret import Secret, SecretReference, SecretSpec
from vault.model.service import Endpoint, EndpointSpec, PortConfig, Service, ServiceSpec, TaskSpec
from vault.model.task import State, Task, TaskStatus
from vault.store.changes import Delete, Put, Relied, kind_of
from vault.store.snapshot import Ids, Snapshot, Stale, is_good, members, taken_at_once


def secret(object_id: str = "s1", name: str = "password", version: int = 0) -> Secret:
    return Secret(id=object_id, version=Version(index=version), spec=SecretSpec(name=name))


def service(*secret_ids: str, version: int = 0, previous: ServiceSpec | None = None) -> Service:
    references = tuple(SecretReference(secret_id=i) for i in secret_ids)
    spec = ServiceSpec(name="web", task_template=TaskSpec(container_spec=ContainerSpec(secrets=references)))
    return Service(id="w", version=Version(index=version), spec=spec, previous_spec=previous)


def test_an_object_is_found_by_its_name_whatever_the_case() -> None:
    snap = Snapshot().apply((Put(secret(name="PassWord")),), index=1, now_s=5.0)
    found = snap.by_name(Kind.SECRET, "pASSwORD")
    assert found is not None
    assert found.id == "s1"
    assert found.version == Version(index=1)
    assert found.created_at.timestamp() == 5.0


def test_a_renamed_object_is_no_longer_found_by_the_old_name() -> None:
    snap = Snapshot().apply((Put(secret()),), index=1, now_s=1.0)
    snap = snap.apply((Put(secret(name="other", version=1)),), index=2, now_s=2.0)
    assert snap.by_name(Kind.SECRET, "password") is None
    assert snap.secrets["s1"].created_at.timestamp() == 1.0
    assert snap.secrets["s1"].updated_at.timestamp() == 2.0


def test_a_write_on_another_version_is_stale_and_changes_nothing() -> None:
    snap = Snapshot().apply((Put(secret()),), index=1, now_s=1.0)
    for change in (Put(secret()), Put(secret(version=2)), Delete(Kind.SECRET, "s1", 7), Delete(Kind.SECRET, "no", 1)):
        with pytest.raises(Stale):
            snap.apply((Put(secret("s2", "second")), change), index=2, now_s=2.0)
    assert set(snap.secrets) == {"s1"}


def test_a_write_that_relied_on_a_changed_object_is_stale() -> None:
    snap = Snapshot().apply((Put(secret()),), index=3, now_s=1.0)
    snap.apply((Put(service(), (Relied(Kind.SECRET, "s1", 3),)),), index=4, now_s=1.0)
    with pytest.raises(Stale):
        snap.apply((Put(service(), (Relied(Kind.SECRET, "s1", 2),)),), index=4, now_s=1.0)


def test_a_secret_is_used_by_the_spec_and_by_the_spec_before_it() -> None:
    snap = Snapshot().apply((Put(service("s1")),), index=1, now_s=1.0)
    assert [s.id for s in snap.services_using(Kind.SECRET, "s1")] == ["w"]
    snap = snap.apply((Put(service("s2", version=1, previous=service("s1").spec)),), index=2, now_s=1.0)
    assert [s.id for s in snap.services_using(Kind.SECRET, "s1")] == ["w"]
    snap = snap.apply((Put(service("s2", version=2)),), index=3, now_s=1.0)
    assert list(snap.services_using(Kind.SECRET, "s1")) == []


def test_spec_version_moves_only_when_the_spec_does() -> None:
    snap = Snapshot().apply((Put(service("s1")),), index=1, now_s=1.0)
    snap = snap.apply((Put(service("s1", version=1)),), index=2, now_s=1.0)
    assert snap.services["w"].spec_version == Version(index=1)
    snap = snap.apply((Put(service("s2", version=2)),), index=3, now_s=1.0)
    assert snap.services["w"].spec_version == Version(index=3)


def test_tasks_are_found_by_service_slot_and_node() -> None:
    tasks = [
        Task(id="t1", spec=TaskSpec(), service_id="w", slot=1, node_id="n1"),
        Task(id="t2", spec=TaskSpec(), service_id="w", slot=2),
        Task(id="g1", spec=TaskSpec(), service_id="g", node_id="n1"),
    ]
    snap = Snapshot().apply(tuple(Put(task) for task in tasks), index=1, now_s=1.0)
    assert {t.id for t in snap.tasks_of("w")} == {"t1", "t2"}
    assert {t.id for t in snap.tasks_on("n1")} == {"t1", "g1"}
    assert [t.id for t in snap.tasks_in("w", 2)] == ["t2"]
    assert [t.id for t in snap.tasks_in("g", 0, "n1")] == ["g1"]
    snap = snap.apply((Delete(Kind.TASK, "t1", 1),), index=2, now_s=1.0)
    assert {t.id for t in snap.tasks_on("n1")} == {"g1"}
    assert [t.id for t in snap.tasks_in("w", 1)] == []


@pytest.mark.parametrize("size", [0, 1, 2, 100])
def test_the_members_of_a_set_are_each_named_once(size: int) -> None:
    ids = HashTrieSet(f"t{number}" for number in range(size))
    assert sorted(members(ids)) == sorted(ids)
    assert len(members(ids)) == size


@pytest.mark.parametrize("seed", range(20))
def test_indexes_after_many_changes_are_those_of_a_snapshot_made_at_once(seed: int) -> None:
    """Most changes leave an object at its places in the indexes, and then the indexes are left alone."""
    random, snap = Random(seed), Snapshot()
    for index in range(1, 150):
        made, number = random.choice((_some_task, _some_service, _some_secret)), random.randrange(5)
        obj = made(random, number)
        old = snap.get(kind_of(obj), obj.id)
        version = 0 if old is None else old.version.index
        gone = old is not None and random.random() < 0.3
        change = Delete(kind_of(obj), obj.id, version) if gone else Put(replace(obj, version=Version(index=version)))
        snap = snap.apply((change,), index=index, now_s=1.0)
        everything = [obj for objects in snap.objects.values() for obj in objects.values()]
        afresh = Snapshot().apply((Put(replace(obj, version=Version())) for obj in everything), index=1, now_s=1.0)
        for name in ("names", "by_service", "by_slot", "by_node", "users", "publishers"):
            assert dict(getattr(snap, name)) == dict(getattr(afresh, name)), name


def _some_task(random: Random, number: int) -> Task:
    nodes = ("", "n1", "n2")
    return Task(
        id=f"t{number}",
        spec=TaskSpec(),
        service_id=random.choice(("w", "g")),
        slot=random.randrange(3),
        node_id=random.choice(nodes),
        numbered=random.random() < 0.5,
        status=TaskStatus(state=random.choice(tuple(State))),
    )


def _some_service(random: Random, number: int) -> Service:
    def spec() -> ServiceSpec:
        secrets = tuple(SecretReference(secret_id=i) for i in random.sample(("a", "b", "c"), 2))
        port = PortConfig(published_port=random.randrange(3))
        return ServiceSpec(
            name=f"s{number}{random.randrange(2)}",
            task_template=TaskSpec(container_spec=ContainerSpec(secrets=secrets)),
            endpoint_spec=EndpointSpec(ports=(port,)),
        )

    return Service(id=f"s{number}", spec=spec(), previous_spec=random.choice((None, spec())))


def _some_secret(random: Random, number: int) -> Secret:
    return secret(f"x{number}", f"x{number}{random.choice('aA')}{random.randrange(2)}")


def test_the_difference_names_what_was_touched_and_nothing_else() -> None:
    first = Snapshot().apply((Put(secret()),), index=1, now_s=1.0)
    second = first.apply((Put(secret("s2", "b")),), index=2, now_s=1.0)
    third = second.apply((Delete(Kind.SECRET, "s1", 1),), index=3, now_s=1.0)
    assert third.changed_since(first) == {(Kind.SECRET, "s2"), (Kind.SECRET, "s1")}
    assert third.changed_since(third) == set()
    assert third.changed_since(Snapshot()) is None, "another store's snapshot tells nothing"
    assert third.changed_since(first.mark()) == third.changed_since(first)
    assert not first.mark().secrets, "a mark holds nothing"
    assert third.kinds_changed_since(first) == {Kind.SECRET}
    assert third.kinds_changed_since(third) == set()
    assert third.kinds_changed_since(Snapshot()) is None


def test_a_difference_too_long_ago_is_unknown() -> None:
    first = snap = Snapshot().apply((Put(secret()),), index=1, now_s=1.0)
    for index in range(2, 5000):
        snap = snap.apply((), index=index, now_s=1.0)
    assert snap.changed_since(first) is None


def test_services_are_found_by_the_ports_they_publish_or_were_given_and_no_longer_by_those_they_left() -> None:
    def publishing(version: int, *asked: int, given: int = 0) -> Put:
        spec = ServiceSpec(name="web", endpoint_spec=EndpointSpec(ports=tuple(map(port, asked))))
        endpoint = Endpoint(ports=(port(given),) if given else ())
        return Put(Service(id="w", version=Version(index=version), spec=spec, endpoint=endpoint))

    def port(number: int) -> PortConfig:
        return PortConfig(target_port=80, published_port=number)

    def found(snap: Snapshot) -> list[int]:
        return [number for number in (0, 80, 81, 30_000) if list(snap.services_publishing(number, "tcp"))]

    first = Snapshot().apply((publishing(0, 80, 0),), index=1, now_s=1.0)
    second = first.apply((publishing(1, 81, 0, given=30_000),), index=2, now_s=1.0)
    third = second.apply((Delete(Kind.SERVICE, "w", 2),), index=3, now_s=1.0)
    assert [found(snap) for snap in (first, second, third)] == [[80], [81, 30_000], []]
    assert not list(first.services_publishing(80, "udp"))


def test_rpds_hands_out_the_ids_of_a_set_all_at_once() -> None:
    """If this fails, a newer rpds pickles sets in another way: look for one that is as fast, as bench.control shows."""
    assert is_good(taken_at_once)
    assert members is taken_at_once


def changed(ids: Ids) -> list[str]:
    raise AttributeError("__reduce__")


@pytest.mark.parametrize(
    "take",
    [
        changed,
        lambda ids: ids.__reduce__()[1],
        lambda ids: ids.__reduce__()[2][0],
        lambda ids: iter(ids.__reduce__()[1][0]),
        lambda ids: tuple(ids),
        lambda ids: [*ids, ""],
        lambda ids: list(ids)[1:],
    ],
)
def test_a_way_that_does_not_give_all_ids_as_a_list_is_not_taken(take: Callable[[Ids], list[str]]) -> None:
    assert not is_good(take)
    assert is_good(list)

"""The credentials of a service: whose they are, and when they go."""

from collections.abc import Iterable

import pytest

from vault.crypto import Plaintext
from vault.model.container import ContainerSpec
from vault.model.errors import InvalidArgument
from vault.model.ids import Kind
from vault.model.service import ServiceSpec, TaskSpec
from vault.store.changes import Change, PutValue
from vault.store.rules_registry_auth import Given, with_credentials
from vault.store.rules_service import new_service, removed_service, rolled_back, updated_service
from vault.store.snapshot import Snapshot


class World:
    """A service `web`, and what becomes of it."""

    def __init__(self) -> None:
        self.snap = Snapshot()
        self.values: dict[str, bytes] = {}

    def write(self, changes: Iterable[Change]) -> None:
        changes = tuple(changes)
        self.values |= {one.id: one.value.reveal() for one in changes if isinstance(one, PutValue)}
        self.snap = self.snap.apply(changes, index=self.snap.index + 1, now_s=1.0)

    def create(self, given: Given | None = None) -> None:
        self.write(with_credentials(self.snap, new_service(self.snap, "web", spec("v1"), now_s=1.0), given))

    def update(self, image: str, given: Given | None = None, *, from_previous: bool = False) -> None:
        put = updated_service(self.snap, "web", spec(image), version=self.version, now_s=1.0)
        self.write(with_credentials(self.snap, put, given, from_previous=from_previous))

    @property
    def version(self) -> int:
        return self.snap.services["web"].version.index

    @property
    def held(self) -> set[str]:
        """The ids of all credentials there are."""
        return set(self.snap.objects[Kind.REGISTRY_AUTH])

    @property
    def used(self) -> tuple[str, str]:
        """The ids of the credentials of the spec, and of the spec before."""
        web = self.snap.services["web"]
        return web.registry_auth, web.previous_registry_auth


def spec(image: str) -> ServiceSpec:
    return ServiceSpec(name="web", task_template=TaskSpec(container_spec=ContainerSpec(image=image)))


def given(auth_id: str, value: bytes | None = b"{}") -> Given:
    return Given(id=auth_id, value=Plaintext(value) if value is not None else None)


def test_credentials_are_kept_beside_the_service_and_not_in_its_spec() -> None:
    world = World()
    world.create(given("a1", b"one"))
    assert (world.used, world.held, world.values) == (("a1", ""), {"a1"}, {"a1": b"one"})
    assert world.snap.services["web"].spec.task_template.container_spec == ContainerSpec(
        image="v1", isolation="default"
    )


def test_an_update_that_brings_none_keeps_those_of_the_spec_before() -> None:
    world = World()
    world.create(given("a1"))
    world.update("v2")
    assert (world.used, world.held) == (("a1", "a1"), {"a1"})


def test_what_neither_spec_has_any_more_is_removed_with_the_update() -> None:
    world = World()
    world.create(given("a1"))
    world.update("v2", given("a2"))
    assert (world.used, world.held) == (("a2", "a1"), {"a1", "a2"})
    world.update("v3", given("a3"))
    assert (world.used, world.held) == (("a3", "a2"), {"a2", "a3"})
    world.update("v4", given("none", None))
    world.update("v5")
    assert (world.used, world.held) == (("", ""), set())


def test_a_service_goes_back_to_the_credentials_of_its_previous_spec() -> None:
    world = World()
    world.create(given("a1"))
    world.update("v2", given("a2"))
    world.write([rolled_back(world.snap, "web", version=world.version, now_s=1.0)])
    assert (world.used, world.held) == (("a1", "a2"), {"a1", "a2"})
    world.update("v3", from_previous=True)
    assert (world.used, world.held) == (("a2", "a1"), {"a1", "a2"})


def test_there_are_no_credentials_of_a_previous_spec_that_there_is_none_of() -> None:
    world = World()
    world.create(given("a1"))
    with pytest.raises(InvalidArgument, match="service does not have a previous spec"):
        world.update("v2", from_previous=True)


def test_all_credentials_go_with_the_service() -> None:
    world = World()
    world.create(given("a1"))
    world.update("v2", given("a2"))
    world.write(removed_service(world.snap, "web", now_s=1.0))
    assert world.held == set()

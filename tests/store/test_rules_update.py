"""What a service says of its updates: deadlines outlive clients that do not know them, and a way back stays open."""

import pytest
from msgspec.structs import replace

from tests.orchestrator.world import SECOND, World
from tests.orchestrator.world import spec as plain
from vault.model.container import ContainerSpec
from vault.model.errors import FailedPrecondition, InUse, VaultError
from vault.model.ids import Kind
from vault.model.network import Network, NetworkSpec
from vault.model.secret import (
    Config,
    ConfigReference,
    ConfigSpec,
    Driver,
    FileTarget,
    Secret,
    SecretReference,
    SecretSpec,
)
from vault.model.service import NetworkAttachmentConfig, Service, ServiceSpec, TaskSpec, UpdateConfig
from vault.model.task import State
from vault.store import rules
from vault.store.changes import Put
from vault.store.rules_network import removed_network
from vault.store.rules_service import new_service, updated_service
from vault.store.snapshot import Snapshot

TIMED = UpdateConfig(parallelism=1, deadline=60 * SECOND)


def service_of(snapshot: Snapshot) -> Service:
    return snapshot.services["web"]


def created(spec: ServiceSpec) -> Snapshot:
    return Snapshot().apply([new_service(Snapshot(), "web", spec, now_s=0)], index=1, now_s=0)


def updated(snapshot: Snapshot, spec: ServiceSpec) -> Snapshot:
    index = service_of(snapshot).version.index
    changed = updated_service(snapshot, "web", spec, version=index, now_s=0)
    return snapshot.apply([changed], index=snapshot.index + 1, now_s=0)


@pytest.mark.parametrize(
    ("posted", "deadline"),
    [
        (UpdateConfig(parallelism=2), 60 * SECOND),  # A client that does not know of deadlines.
        (UpdateConfig(deadline=0), None),
        (UpdateConfig(deadline=90 * SECOND), 90 * SECOND),
        (None, None),  # All settings go.
    ],
)
def test_a_deadline_stays_until_a_client_that_knows_it_takes_it_away(
    posted: UpdateConfig | None, deadline: int | None
) -> None:
    before = created(plain(update=TIMED, rollback=TIMED))
    after = service_of(updated(before, plain(update=posted, rollback=posted))).spec
    for config in (after.update_config, after.rollback_config):
        assert (config.deadline if config is not None else None) == deadline


def test_no_deadline_is_stored_as_none_was_given() -> None:
    config = service_of(created(plain(update=UpdateConfig(deadline=0)))).spec.update_config
    assert config == UpdateConfig()


def using(name: str, image: str) -> ServiceSpec:
    """Return a spec with a secret, a config and a network of that name."""
    file = FileTarget(name="f", uid="0", gid="0", mode=0o444)
    container = ContainerSpec(
        image=image,
        secrets=(SecretReference(secret_id=f"s-{name}", secret_name=name, file=file),),
        configs=(ConfigReference(config_id=f"c-{name}", config_name=name, file=replace(file, name="g")),),
    )
    spec = plain(2, image=image, update=UpdateConfig(parallelism=1, failure_action="rollback", monitor=SECOND))
    networks = (NetworkAttachmentConfig(target=f"n-{name}"),)
    return replace(spec, task_template=TaskSpec(container_spec=container, networks=networks))


def world_with(*names: str) -> World:
    """Return a world with a secret, a config and a network of each name."""
    world = World()
    for name in names:
        world.write(
            Put(Secret(id=f"s-{name}", spec=SecretSpec(name=name))),
            Put(Config(id=f"c-{name}", spec=ConfigSpec(name=name))),
            Put(
                Network(id=f"n-{name}", spec=NetworkSpec(name=name, driver_configuration=Driver(name="overlay"))),
            ),
        )
    world.settle()
    return world


def refusals(snapshot: Snapshot, name: str) -> list[type[VaultError] | None]:
    """Return how removing the secret, the config and the network of a name is refused."""
    found: list[type[VaultError] | None] = []
    for remove in (
        lambda: rules.removed(snapshot, Kind.SECRET, f"s-{name}"),
        lambda: rules.removed(snapshot, Kind.CONFIG, f"c-{name}"),
        lambda: removed_network(snapshot, f"n-{name}"),
    ):
        try:
            remove()
            found.append(None)
        except VaultError as error:
            found.append(type(error))
    return found


KEPT = [InUse, InUse, FailedPrecondition]


def test_what_an_automatic_rollback_needs_cannot_be_removed_before_it_nor_in_its_midst() -> None:
    world = world_with("old", "new")
    world.run(using("old", "v1"))
    world.update(using("new", "v2"))
    assert refusals(world.snap, "old") == refusals(world.snap, "new") == KEPT
    world.follow(State.FAILED)
    assert world.status is not None
    assert world.status[0] == "rollback_started"
    assert refusals(world.snap, "old") == KEPT, "the rollback is under way"
    world.follow(State.FAILED)
    assert world.status[0] == "rollback_paused"
    assert refusals(world.snap, "old") == KEPT, "it is paused, and the spec in force needs them"
    world.update(using("new", "v3"))
    assert refusals(world.snap, "old") == KEPT, "the next rollback goes there"


def test_what_only_the_failed_spec_needed_may_go_once_its_tasks_have() -> None:
    world = world_with("old", "new")
    world.run(using("old", "v1"))
    world.update(using("new", "v2"))
    world.follow(State.FAILED)
    world.follow()
    assert refusals(world.snap, "new") == [None, None, None]

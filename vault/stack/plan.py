"""The steps that bring a cluster to what a stack says, in order.

Pure; called by `vault.stack.deploy` with what the cluster holds; `vault.stack.carry` makes changes of them.
"""

from dataclasses import dataclass

import msgspec

from vault.model.service import ServiceSpec
from vault.stack.checks import check_deployable
from vault.stack.convert import Deployment, NewConfig, NewNetwork, NewSecret
from vault.stack.deadlines import cleared
from vault.stack.existing import Existing
from vault.stack.namespace import IMAGE_LABEL


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveService:
    """Remove a service that the stack no longer has."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSecret:
    """Bring a secret's labels up to date; its value is the posted one."""

    id: str
    version: int
    secret: NewSecret


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfig:
    """Bring a config's labels up to date; its value is the posted one."""

    id: str
    version: int
    config: NewConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateNetwork:
    """Create a network."""

    network: NewNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSecret:
    """Create a secret."""

    secret: NewSecret


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateConfig:
    """Create a config."""

    config: NewConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateService:
    """Create a service; its references carry names."""

    spec: ServiceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateService:
    """Give a service a new spec; its references carry names."""

    id: str
    version: int
    spec: ServiceSpec


Step = (
    RemoveService
    | UpdateSecret
    | UpdateConfig
    | CreateNetwork
    | CreateSecret
    | CreateConfig
    | CreateService
    | UpdateService
)


def plan(
    deployment: Deployment, existing: Existing, *, prune: bool = False, keep_images: bool = False
) -> tuple[Step, ...]:
    """Return the steps, in order, that bring the cluster to what the stack says.

    prune: remove the stack's services that it no longer names.  keep_images: a service whose image in the file has not
    changed keeps the image it has, which may be pinned to a digest (`--resolve-image changed|never`).
    Raises `NotDeployable` for what the cluster lacks or holds in the way, before anything is made.
    """
    check_deployable(deployment, existing)
    return (
        *_secret_updates(deployment, existing),
        *_config_updates(deployment, existing),
        *(_removals(deployment, existing) if prune else ()),
        *(CreateNetwork(network=network) for network in deployment.networks if network.name not in existing.networks),
        *(CreateSecret(secret=new) for new in deployment.secrets if new.spec.name not in existing.secrets),
        *(CreateConfig(config=new) for new in deployment.configs if new.spec.name not in existing.configs),
        *(_service_step(spec, existing, keep_images=keep_images) for spec in deployment.services),
    )


def _secret_updates(deployment: Deployment, existing: Existing) -> tuple[UpdateSecret, ...]:
    return tuple(
        UpdateSecret(id=found.id, version=found.version.index, secret=new)
        for new in deployment.secrets
        if (found := existing.secrets.get(new.spec.name)) is not None
    )


def _config_updates(deployment: Deployment, existing: Existing) -> tuple[UpdateConfig, ...]:
    return tuple(
        UpdateConfig(id=found.id, version=found.version.index, config=new)
        for new in deployment.configs
        if (found := existing.configs.get(new.spec.name)) is not None
    )


def _removals(deployment: Deployment, existing: Existing) -> tuple[RemoveService, ...]:
    wanted = {spec.name for spec in deployment.services}
    ours = existing.services_of(deployment.namespace)
    return tuple(RemoveService(id=service.id, name=name) for name, service in ours.items() if name not in wanted)


def _service_step(spec: ServiceSpec, existing: Existing, *, keep_images: bool) -> Step:
    found = existing.services.get(spec.name)
    if found is None:
        return CreateService(spec=spec)
    task, old = spec.task_template, found.spec.task_template
    container = task.container_spec
    if keep_images and found.spec.labels.get(IMAGE_LABEL) == spec.labels[IMAGE_LABEL]:
        container = msgspec.structs.replace(container, image=old.container_spec.image)
    # A deploy is no `--force`: tasks stay while nothing else changes.
    task = msgspec.structs.replace(task, container_spec=container, force_update=old.force_update)
    changed = cleared(msgspec.structs.replace(spec, task_template=task), found.spec)
    return UpdateService(id=found.id, version=found.version.index, spec=changed)

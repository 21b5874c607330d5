"""The steps that bring a cluster to what a stack says.

Pure; called by the command line with what the cluster holds, and carried out by it in order.  Everything that can be
checked is checked here, before the first step.  Steps that a cluster may refuse (a secret's value cannot be compared
without asking) come first, so that a refused deploy leaves nothing half-made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from vault.model.secret import Config, Secret
from vault.model.service import Service, ServiceSpec
from vault.stack.convert import Deployment, NewConfig, NewNetwork, NewSecret
from vault.stack.errors import NotDeployable, StackError
from vault.stack.namespace import IMAGE_LABEL, NAMESPACE_LABEL

_NODE_NETWORKS = frozenset(("host", "none", "bridge", "default"))  # On every node, and never looked up.


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingNetwork:
    """A network of the cluster, or of this node."""

    id: str
    scope: str  # swarm | local
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What the cluster holds, by name; of services at least those with the stack's label."""

    networks: Mapping[str, ExistingNetwork] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    configs: Mapping[str, Config] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveService:
    """Remove a service that the stack no longer has."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSecret:
    """Bring a secret's labels up to date; the cluster refuses another value."""

    id: str
    version: int
    secret: NewSecret


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfig:
    """Bring a config's labels up to date; the cluster refuses another value."""

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
    """Create a service; `with_ids` first."""

    spec: ServiceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateService:
    """Give a service a new spec; `with_ids` first."""

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
    _check_networks(deployment, existing)
    _check_references(deployment, existing)
    _check_taken(deployment, existing)
    return (
        *_secret_updates(deployment, existing),
        *_config_updates(deployment, existing),
        *(_removals(deployment, existing) if prune else ()),
        *(CreateNetwork(network=network) for network in deployment.networks if network.name not in existing.networks),
        *(CreateSecret(secret=new) for new in deployment.secrets if new.spec.name not in existing.secrets),
        *(CreateConfig(config=new) for new in deployment.configs if new.spec.name not in existing.configs),
        *(_service_step(spec, existing, keep_images=keep_images) for spec in deployment.services),
    )


def with_ids(spec: ServiceSpec, secret_ids: Mapping[str, str], config_ids: Mapping[str, str]) -> ServiceSpec:
    """Return a spec whose references carry the ids of the secrets and configs they name.

    secret_ids, config_ids: ids by name in the cluster, those just created among them.
    """
    container = spec.task_template.container_spec
    container = msgspec.structs.replace(
        container,
        secrets=tuple(
            msgspec.structs.replace(reference, secret_id=secret_ids[reference.secret_name])
            for reference in container.secrets
        ),
        configs=tuple(
            msgspec.structs.replace(reference, config_id=config_ids[reference.config_name])
            for reference in container.configs
        ),
    )
    task = msgspec.structs.replace(spec.task_template, container_spec=container)
    return msgspec.structs.replace(spec, task_template=task)


def _check_networks(deployment: Deployment, existing: Existing) -> None:
    """Raise `NotDeployable` for an external network that is missing, or known on this node only."""
    for name in deployment.external_networks:
        if name in _NODE_NETWORKS:
            continue
        network = existing.networks.get(name)
        if network is None:
            raise NotDeployable(
                f'network "{name}" is declared as external, but could not be found. '
                "You need to create a swarm-scoped network before the stack is deployed"
            )
        if network.scope != "swarm":
            raise NotDeployable(
                f'network "{name}" is declared as external, but it is not in the right scope: '
                f'"{network.scope}" instead of "swarm"'
            )


def _check_references(deployment: Deployment, existing: Existing) -> None:
    """Raise `NotDeployable` for a secret or config that a service names and nobody made."""
    secrets = existing.secrets.keys() | {new.spec.name for new in deployment.secrets}
    configs = existing.configs.keys() | {new.spec.name for new in deployment.configs}
    for spec in deployment.services:
        container = spec.task_template.container_spec
        service = spec.name.removeprefix(deployment.namespace.scope(""))
        for secret in container.secrets:
            if secret.secret_name not in secrets:
                raise NotDeployable(f"service {service}: secret not found: {secret.secret_name}")
        for config in container.configs:
            if config.config_name not in configs:
                raise NotDeployable(f"service {service}: config not found: {config.config_name}")


def _check_taken(deployment: Deployment, existing: Existing) -> None:
    """Raise `NotDeployable` for a name that something outside the stack, or twice inside, has."""
    stack = deployment.namespace.name
    for network in deployment.networks:
        found = existing.networks.get(network.name)
        if found is not None and found.labels.get(NAMESPACE_LABEL) != stack:
            raise NotDeployable(
                f"failed to create network {network.name}: network with name {network.name} already exists"
            )
    for spec in deployment.services:
        service = existing.services.get(spec.name)
        if service is not None and service.spec.labels.get(NAMESPACE_LABEL) != stack:
            raise NotDeployable(
                f"failed to create service {spec.name}: rpc error: code = AlreadyExists desc = "
                f"name conflicts with an existing object: service {spec.name} already exists"
            )
    for kind, names in (
        ("network", [network.name for network in deployment.networks]),
        ("secret", [new.spec.name for new in deployment.secrets]),
        ("config", [new.spec.name for new in deployment.configs]),
    ):
        twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if twice is not None:
            raise StackError(f"the stack defines two {kind}s with the name {twice}: give one of them another name")


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
    return tuple(
        RemoveService(id=service.id, name=name)
        for name, service in sorted(existing.services.items())
        if service.spec.labels.get(NAMESPACE_LABEL) == deployment.namespace.name and name not in wanted
    )


def _service_step(spec: ServiceSpec, existing: Existing, *, keep_images: bool) -> Step:
    found = existing.services.get(spec.name)
    if found is None:
        return CreateService(spec=spec)
    task, old = spec.task_template, found.spec.task_template
    container = task.container_spec
    if keep_images and found.spec.labels.get(IMAGE_LABEL) == container.image:
        container = msgspec.structs.replace(container, image=old.container_spec.image)
    # A deploy is no `--force`: tasks stay while nothing else changes.
    task = msgspec.structs.replace(task, container_spec=container, force_update=old.force_update)
    return UpdateService(
        id=found.id, version=found.version.index, spec=msgspec.structs.replace(spec, task_template=task)
    )

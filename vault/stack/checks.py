"""Whether a cluster can become what a stack says: all that can be known before the first step.

Pure; called by `vault.stack.plan`.  What the cluster would refuse half-way is refused here, in the words in which the
command line would have passed the refusal on.
"""

from collections.abc import Iterable, Iterator

from vault.model.errors import VaultError
from vault.model.service import PortConfig, ServiceSpec
from vault.stack.convert import Deployment
from vault.stack.errors import NotDeployable, StackError
from vault.stack.existing import Existing
from vault.stack.namespace import NAMESPACE_LABEL
from vault.stack.references import with_ids
from vault.store.rules_references import check_targets
from vault.store.rules_spec import check_spec

_NODE_NETWORKS = frozenset(("host", "none", "bridge", "default"))  # On every node, and never looked up.


def check_deployable(deployment: Deployment, existing: Existing, *, prune: bool) -> None:
    """Raise `StackError` for the first thing that stands in the way."""
    _check_networks(deployment, existing)
    _check_references(deployment, existing)
    _check_defined_once(deployment)
    _check_taken(deployment, existing)
    _check_services(deployment, existing)
    _check_ports(deployment, existing, prune=prune)


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
    """Raise `NotDeployable` for a name that something outside the stack has."""
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
    for kind, wanted, held in (
        ("secret", [new.spec.name for new in deployment.secrets], existing.secrets),
        ("config", [new.spec.name for new in deployment.configs], existing.configs),
    ):
        lowered = {name.lower() for name in held}
        for name in wanted:
            if name not in held and name.lower() in lowered:
                raise NotDeployable(
                    f"failed to create {kind} {name}: "
                    f"rpc error: code = AlreadyExists desc = {kind} {name} already exists"
                )


def _check_defined_once(deployment: Deployment) -> None:
    """Raise `StackError` when two objects of the stack would have one name in the cluster."""
    _once("network", (network.name for network in deployment.networks))
    _once("secret", (new.spec.name.lower() for new in deployment.secrets))
    _once("config", (new.spec.name.lower() for new in deployment.configs))


def _once(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise StackError(f"the stack defines two {kind}s with the name {name}: give one of them another name")
        seen.add(name)


def _check_services(deployment: Deployment, existing: Existing) -> None:
    """Raise `NotDeployable` for a service that the cluster would not take as it is, or whose mode would change."""
    for spec in deployment.services:
        found = existing.services.get(spec.name)
        verb = "create" if found is None else "update"
        try:
            check_spec(spec)
            check_targets(_with_any_ids(spec).task_template.container_spec)
        except VaultError as error:
            raise NotDeployable(f"failed to {verb} service {spec.name}: {error}") from None
        if found is not None and found.spec.mode.name != spec.mode.name:
            raise NotDeployable(
                f"failed to update service {spec.name}: rpc error: code = Unimplemented desc = "
                "service mode change is not allowed"
            )


def _with_any_ids(spec: ServiceSpec) -> ServiceSpec:
    """Return a spec whose references look resolved: a name stands for the id that is not known yet."""
    container = spec.task_template.container_spec
    secrets = {reference.secret_name: reference.secret_name for reference in container.secrets}
    configs = {reference.config_name: reference.config_name for reference in container.configs}
    return with_ids(spec, secrets, configs)


def _check_ports(deployment: Deployment, existing: Existing, *, prune: bool) -> None:
    """Raise `NotDeployable` when two services would publish one port, unless both do so on their own node only."""
    ours = {spec.name for spec in deployment.services}
    gone = existing.services_of(deployment.namespace).keys() if prune else frozenset()
    taken: dict[tuple[int, str], tuple[str, PortConfig]] = {}
    for name, service in existing.services.items():
        if name not in ours and name not in gone:
            for port in (*_published(service.spec), *service.endpoint.ports):
                taken.setdefault((port.published_port, port.protocol), (name, port))
    for spec in deployment.services:
        verb = "update" if spec.name in existing.services else "create"
        for port in _published(spec):
            other, theirs = taken.setdefault((port.published_port, port.protocol), (spec.name, port))
            if other != spec.name and not port.publish_mode == theirs.publish_mode == "host":
                how = "an ingress port" if theirs.publish_mode == "ingress" else "a host-published port"
                raise NotDeployable(
                    f"failed to {verb} service {spec.name}: rpc error: code = InvalidArgument desc = "
                    f"port '{port.published_port}' is already in use by service '{other}' as {how}"
                )


def _published(spec: ServiceSpec) -> Iterator[PortConfig]:
    if spec.endpoint_spec is not None:
        yield from (port for port in spec.endpoint_spec.ports if port.published_port)

"""Whether a cluster can become what a stack says, as far as Docker's client looks before it sends anything.

Pure; called by `vault.stack.plan`.  Texts are the client's; what the store's own rules refuse comes in `carry`.
"""

from collections.abc import Iterable

from vault.stack.convert import Deployment
from vault.stack.errors import NotDeployable, StackError
from vault.stack.existing import Existing
from vault.stack.namespace import NAMESPACE_LABEL

_NODE_NETWORKS = frozenset(("host", "none", "bridge", "default"))  # On every node, and never looked up.


def check_deployable(deployment: Deployment, existing: Existing) -> None:
    """Raise `StackError` for the first thing that stands in the way."""
    _check_networks(deployment, existing)
    _check_references(deployment, existing)
    _check_defined_once(deployment)
    _check_taken(deployment, existing)


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

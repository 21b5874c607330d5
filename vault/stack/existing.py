"""What a cluster holds, as far as a deploy must know it.  Pure; filled from a snapshot, read by `plan` and `checks`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vault.model.secret import Config, Secret
from vault.model.service import Service
from vault.stack.namespace import NAMESPACE_LABEL, Namespace
from vault.store.rules_network import is_predefined
from vault.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingNetwork:
    """A network of the cluster, or of every node."""

    id: str
    scope: str  # swarm | local
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """All networks, secrets, configs and services of a cluster, each by its name."""

    networks: Mapping[str, ExistingNetwork] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    configs: Mapping[str, Config] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)

    def services_of(self, namespace: Namespace) -> dict[str, Service]:
        """Return a stack's services, sorted by name."""
        return {
            name: service
            for name, service in sorted(self.services.items())
            if service.spec.labels.get(NAMESPACE_LABEL) == namespace.name
        }


def existing_in(snapshot: Snapshot) -> Existing:
    """Return what a snapshot holds."""
    return Existing(
        networks={
            network.spec.name: ExistingNetwork(
                id=network.id, scope="local" if is_predefined(network) else "swarm", labels=network.spec.labels
            )
            for network in snapshot.networks.values()
        },
        secrets={secret.spec.name: secret for secret in snapshot.secrets.values()},
        configs={config.spec.name: config for config in snapshot.configs.values()},
        services={service.spec.name: service for service in snapshot.services.values()},
    )

"""What a cluster holds, as far as a deploy must know it.  Filled by the command line, read by `plan` and `checks`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vault.model.secret import Config, Secret
from vault.model.service import Service
from vault.stack.namespace import NAMESPACE_LABEL, Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingNetwork:
    """A network of the cluster, or of this node."""

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

"""Keys of a compose file that make no difference on a cluster, and keys that only other loaders know.

Pure; called by `vault.stack.load`.  The first are named in a warning, the second end the load, both in Docker's words.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from vault.stack.errors import StackError

# The last one Docker ignores without a word; `tmpfs`, `shm_size` and `security_opt`, too, which we honour.
_IGNORED = frozenset(
    [
        "build",
        "cgroupns_mode",
        "cgroup_parent",
        "devices",
        "domainname",
        "external_links",
        "ipc",
        "links",
        "mac_address",
        "network_mode",
        "pid",
        "privileged",
        "restart",
        "userns_mode",
    ]
)
_IGNORED_ON_NETWORKS = frozenset(("ipv4_address", "ipv6_address"))
_DEPRECATED = {
    "container_name": "Setting the container name is not supported.",
    "expose": "Exposing ports is unnecessary - services on the same network can access each other's containers "
    "on any port.",
}
_RESOURCES = "Set resource limits using deploy.resources"
_FORBIDDEN = {
    "extends": "Support for `extends` is not implemented yet.",
    "volume_driver": "Instead of setting the volume driver on the service, define a volume using the top-level "
    "`volumes` option and specify the driver there.",
    "volumes_from": "To share a volume between services, define it using the top-level `volumes` option and "
    "reference it from each service that shares it using the service-level `volumes` option.",
    **dict.fromkeys(("cpu_quota", "cpu_shares", "cpuset", "mem_limit", "memswap_limit"), _RESOURCES),
}


def forbidden(mapping: Mapping[str, Any]) -> None:
    """Raise `StackError` when a service has keys of the compose format that a cluster cannot honour."""
    used = {key for service in _services(mapping) for key in service if key in _FORBIDDEN}
    if used:
        reasons = "\n\n".join(f"{key}: {_FORBIDDEN[key]}" for key in sorted(used))
        raise StackError(f"Compose file contains unsupported options:\n\n{reasons}\n")


def warnings_for(mappings: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what to tell the user of ignored keys; each text ends a paragraph."""
    services = [service for mapping in mappings for service in _services(mapping)]
    keys = {key for service in services for key in service}
    keys |= {key for service in services for network in _networks(service) for key in network} & _IGNORED_ON_NETWORKS
    warnings = []
    ignored = sorted(keys & (_IGNORED | _IGNORED_ON_NETWORKS))
    if ignored:
        warnings.append(f"Ignoring unsupported options: {', '.join(ignored)}\n")
    deprecated = sorted(keys & _DEPRECATED.keys())
    if deprecated:
        reasons = "\n\n".join(f"{key}: {_DEPRECATED[key]}" for key in deprecated)
        warnings.append(f"Ignoring deprecated options:\n\n{reasons}\n")
    return tuple(warnings)


def _services(mapping: Mapping[str, Any]) -> list[dict[str, Any]]:
    services = mapping.get("services")
    return [item for item in services.values() if isinstance(item, dict)] if isinstance(services, dict) else []


def _networks(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    networks = service.get("networks")
    return [item for item in networks.values() if isinstance(item, dict)] if isinstance(networks, dict) else []

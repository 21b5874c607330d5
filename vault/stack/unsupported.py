"""Keys that cannot be honoured: they need Windows or cluster volumes, or their effect comes with a later release.

Accepting one would be to ignore it, so the deploy stops here.

Pure; called by `vault.stack.convert` before anything is read or made.  `stack config` prints such a file all the same.
"""

from collections.abc import Iterator

from vault.model.network import ENCRYPTED, MTU_OPTION, VXLAN_OPTION
from vault.stack import document as doc
from vault.stack.errors import NotOffered, NotSupportedYet
from vault.store.rules_offered import CLUSTER_VOLUMES, WINDOWS

_NETWORK_OPTIONS = frozenset((ENCRYPTED, MTU_OPTION, VXLAN_OPTION))


def check_supported(document: doc.Document) -> None:
    """Raise `NotOffered`, or `NotSupportedYet`, for the first key of the document that this release cannot honour."""
    for path, why in _not_offered(document):
        raise NotOffered(path, why)
    for path in _unsupported(document):
        raise NotSupportedYet(path)


def _not_offered(document: doc.Document) -> Iterator[tuple[str, str]]:
    """Yield the paths of keys that are not offered at all, each with the reason."""
    for name, service in document.services.items():
        where = f"services.{name}"
        if service.credential_spec != doc.CredentialSpec():
            yield f"{where}.credential_spec", WINDOWS
        if service.isolation.lower() not in ("", "default"):
            yield f"{where}.isolation", WINDOWS
        for index, volume in enumerate(service.volumes):
            if volume.type == "npipe":
                yield f"{where}.volumes.{index}.type npipe", WINDOWS
            if volume.type == "cluster":
                yield f"{where}.volumes.{index}.type cluster", CLUSTER_VOLUMES
    for name, described in document.volumes.items():
        if "x-cluster-spec" in described.extensions:
            yield f"volumes.{name}.x-cluster-spec", CLUSTER_VOLUMES


def _unsupported(document: doc.Document) -> Iterator[str]:
    """Yield the paths of keys that cannot be honoured, in document order."""
    for name, service in document.services.items():
        for key in _in_service(service):
            yield f"services.{name}.{key}"
    for name, network in document.networks.items():
        if not network.external:
            yield from (f"networks.{name}.{key}" for key in _in_network(network))
    for name, secret in document.secrets.items():
        if secret.driver:
            yield f"secrets.{name}.driver"
        if secret.template_driver:
            yield f"secrets.{name}.template_driver"
    for name, config in document.configs.items():
        if config.template_driver not in ("", "golang"):
            yield f"configs.{name}.template_driver"


def _in_network(network: doc.Network) -> Iterator[str]:
    if network.driver not in ("", "overlay"):
        yield "driver"
    yield from (f"driver_opts.{option}" for option in sorted(network.driver_opts.keys() - _NETWORK_OPTIONS))
    if network.ipam.driver not in ("", "default"):
        yield "ipam.driver"


def _in_service(service: doc.Service) -> Iterator[str]:
    for index, port in enumerate(service.ports):
        if port.protocol == "sctp":
            yield f"ports.{index}.protocol sctp"
    for name, attachment in service.networks.items():
        if attachment is not None and attachment.driver_opts:
            yield f"networks.{name}.driver_opts"

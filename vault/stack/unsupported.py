"""Keys that no node can honour: they need Windows or cluster volumes.

Accepting one would be to ignore it, so the deploy stops here.  Pure; called by `vault.stack.convert` before anything is
read or made.  `stack config` prints such a file all the same.
"""

from collections.abc import Iterator

from vault.stack import document as doc
from vault.stack.errors import NotOffered
from vault.store.rules_offered import CLUSTER_VOLUMES, WINDOWS


def check_supported(document: doc.Document) -> None:
    """Raise `NotOffered` for the first key of the document that no node can honour."""
    for path, why in _not_offered(document):
        raise NotOffered(path, why)


def _not_offered(document: doc.Document) -> Iterator[tuple[str, str]]:
    """Yield the paths of keys that are not offered, each with the reason, in document order."""
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

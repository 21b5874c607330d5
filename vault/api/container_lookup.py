"""How a reference finds a container of this node: full id, then name, then the beginning of an id.  Pure."""

from collections.abc import Sequence

from vault.api.ports import Container
from vault.model.errors import BadRequest, NoSuch


def find_container(containers: Sequence[Container], reference: str) -> Container:
    """Return the container that `reference` means; raise `NoSuch`, or `BadRequest` for an ambiguous prefix."""
    name = reference.removeprefix("/")
    for container in containers:
        if reference == container.id or name == container.name:
            return container
    found = [container for container in containers if name and container.id.startswith(name)]
    if len(found) > 1:
        raise BadRequest(f"Multiple IDs found with provided prefix: {reference[:64]}")
    if not found:
        raise NoSuch("container", reference)
    return found[0]

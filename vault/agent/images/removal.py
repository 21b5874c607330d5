"""What `image rm` may do: take a name away, delete the image, or refuse.

Pure.  Called by `store`.  Rules and texts: Docker's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vault.agent.images.errors import BadReference
from vault.agent.images.image import Image
from vault.agent.images.reference import Reference, parse
from vault.model.errors import Conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What happened, or is to happen."""

    names: frozenset[str]  # Whole names that go.
    deleted: str = ""  # The image's id, if the image goes.

    @property
    def untagged(self) -> tuple[str, ...]:
        """The names that went, as Docker shows them."""
        return tuple(sorted((parse(name).shown for name in self.names), key=lambda name: ("@" in name, name)))


def plan_removal(image: Image, reference: str, *, used: Mapping[str, str], force: bool) -> Removed:
    """Decide; used: ids of images in use, each with a container that uses it.  Raises `Conflict`."""
    container = used.get(image.id, "")[:12]
    named = _named(image, reference)
    if named is None:
        repositories = {parse(name).repository for name in image.names}
        if container:
            raise Conflict(
                f"conflict: unable to delete {image.short_id} (cannot be forced) - "
                f"image is being used by running container {container}"
            )
        if len(repositories) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {image.short_id} (must be forced) - "
                "image is referenced in multiple repositories"
            )
        return Removed(names=image.names, deleted=image.id)
    gone = {named.full}
    rest = image.names - gone
    # Digests follow the last tag of their repository.
    if named.tag and not any(_is_tag_of(named, name) for name in rest):
        gone |= {name for name in rest if "@" in name and parse(name).repository == named.repository}
    if image.names - gone:
        return Removed(names=frozenset(gone))
    if container and not force:
        raise Conflict(
            f'conflict: unable to remove repository reference "{reference}" (must force) - '
            f"container {container} is using its referenced image {image.short_id}"
        )
    return Removed(names=frozenset(gone), deleted="" if container else image.id)


def _named(image: Image, reference: str) -> Reference | None:
    """Return the name that a reference is, None when it is an id."""
    try:
        named = parse(reference)
    except BadReference:
        return None
    return named if named.full in image.names else None


def _is_tag_of(named: Reference, name: str) -> bool:
    return "@" not in name and parse(name).repository == named.repository

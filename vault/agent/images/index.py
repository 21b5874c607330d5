"""index.json: which images the store has, and under which names.

Read once at start, written whole at every change: by temporary file, fsync, rename and fsync of the directory.
Blocking; called by `store`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from vault.agent.images.content import Content, sync_directory
from vault.agent.images.documents import NAME_KEY, Descriptor, Index, decode
from vault.agent.images.errors import BadArchive, StoreUnreadable
from vault.agent.images.image import Image

_SIZE_KEY: Final = "vault.unpacked-bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One image of the list."""

    manifest: Descriptor
    names: frozenset[str]
    size_bytes: int


def read_index(content: Content) -> Iterator[Listed]:
    """Yield what is listed; nothing when there is no list yet.  Raises `StoreUnreadable` when it is damaged."""
    path = content.root / "index.json"
    try:
        index = decode(path.read_bytes(), Index)
    except FileNotFoundError:
        return
    except (OSError, BadArchive):
        raise StoreUnreadable(
            f"the list of images {path} cannot be read: move {content.root} away and load the images again"
        ) from None
    names: dict[str, set[str]] = {}
    for descriptor in index.manifests:
        named = names.setdefault(descriptor.digest, set())
        if name := (descriptor.annotations or {}).get(NAME_KEY):
            named.add(name)
    for descriptor in {descriptor.digest: descriptor for descriptor in index.manifests}.values():
        size = (descriptor.annotations or {}).get(_SIZE_KEY, "0")
        yield Listed(
            manifest=descriptor,
            names=frozenset(names[descriptor.digest]),
            size_bytes=int(size) if size.isdigit() else 0,
        )


def write_index(content: Content, images: Iterable[Image]) -> None:
    """Write the list; it is on disk when this returns."""
    manifests = [
        Descriptor(
            media_type=image.manifest.media_type,
            digest=image.manifest.digest,
            size=image.manifest.size,
            annotations={_SIZE_KEY: str(image.size_bytes)} | ({NAME_KEY: name} if name else {}),
        )
        for image in images
        for name in sorted(image.names) or [""]
    ]
    scratch = content.root / "index.json.new"
    with scratch.open("wb") as file:
        file.write(msgspec.json.encode(Index(manifests=manifests)))
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(content.root / "index.json")
    sync_directory(content.root)

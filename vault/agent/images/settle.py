"""The last step of every way in: with all blobs in place, check an image's documents and unpack its layers.

Blocking; runs in the worker process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vault.agent.images.content import Content
from vault.agent.images.documents import Configuration, Descriptor, Manifest, check_layers, decode
from vault.agent.images.errors import BadArchive
from vault.agent.images.protocol import Stored


def settle(content: Content, descriptor: Descriptor, names: Sequence[str], tell: Callable[[str, str], None]) -> Stored:
    """Unpack the layers that are not unpacked yet.  Raises `BadArchive` when a blob is missing or does not fit."""
    manifest = decode(content.document(descriptor.digest), Manifest)
    configuration = decode(content.document(manifest.config.digest), Configuration)
    check_layers(manifest, configuration)
    chains: list[str] = []
    size_bytes = 0
    for layer, diff in zip(manifest.layers, configuration.rootfs.diff_ids, strict=True):
        if not content.blob(layer.digest).exists():
            raise BadArchive(f"the image refers to {layer.digest}, which is missing")
        tell("Extracting", layer.digest)
        chain, layer_bytes = content.unpack(layer.digest, diff, chains)
        chains.append(chain)
        size_bytes += layer_bytes
        tell("Pull complete", layer.digest)
    return Stored(manifest=descriptor, names=list(names), size_bytes=size_bytes)

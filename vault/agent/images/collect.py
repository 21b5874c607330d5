"""Deletes what no image needs: blobs, unpacked layers, and what broken-off workers left.

Only while no other worker runs.  Blocking; runs in the worker process.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from vault.agent.images.content import Content, chain_ids
from vault.agent.images.documents import Configuration, Manifest, decode


def collect(content: Content, manifests: Iterable[str]) -> None:
    """Keep what these manifests refer to.  Raises `BadArchive`, having deleted nothing, when one cannot be read."""
    blobs: set[str] = set()
    layers: set[str] = set()
    for digest in manifests:
        manifest = decode(content.document(digest), Manifest)
        configuration = decode(content.document(manifest.config.digest), Configuration)
        blobs |= {digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        layers |= set(chain_ids(configuration.rootfs.diff_ids))
    for blob in content.blob("").iterdir():
        if f"sha256:{blob.name}" not in blobs:
            blob.unlink()
    for layer in content.layer("").iterdir():
        if f"sha256:{layer.name}" not in layers:
            shutil.rmtree(layer)
    for leftover in content.incoming.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()

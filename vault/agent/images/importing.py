"""Makes an image of one layer from a tar of a root file system.  Blocking; runs in the worker process."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from vault.agent.images.changes import apply
from vault.agent.images.content import Content
from vault.agent.images.documents import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Descriptor, Manifest
from vault.agent.images.errors import BadArchive
from vault.agent.images.platforms import architecture
from vault.agent.images.protocol import Stored

_PIECE_BYTES: Final = 1 << 18


def import_image(content: Content, archive: io.BufferedReader, changes: Sequence[str], message: str) -> Stored:
    """Store an image without a name.  Raises `BadArchive` and `BadChange` before anything is kept."""
    config = apply(changes)
    with content.intake() as intake:
        while piece := archive.read(_PIECE_BYTES):
            intake.write(piece)
        if intake.size_bytes == 0:
            raise BadArchive("the archive is empty: give a tar of a root file system")
        layer = Descriptor(media_type=LAYER_TYPE, digest=intake.keep(), size=intake.size_bytes)
    diff, size_bytes = content.unpack(layer.digest, "", ())
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    document = {
        "architecture": architecture(),
        "os": "linux",
        "created": now,
        "comment": message,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff]},
        "history": [{"created": now, "comment": message}],
    }
    data = msgspec.json.encode(document)
    configuration = Descriptor(media_type=CONFIG_TYPE, digest=content.put(data), size=len(data))
    manifest = msgspec.json.encode(Manifest(config=configuration, layers=[layer]))
    descriptor = Descriptor(media_type=MANIFEST_TYPE, digest=content.put(manifest), size=len(manifest))
    return Stored(manifest=descriptor, names=[], size_bytes=size_bytes)

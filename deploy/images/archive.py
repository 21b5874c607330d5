"""Image archives that both `vault image load` and `docker load` read.

An OCI layout (index.json) and, over the same blobs, Docker's manifest.json.  Called by `build`.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an archive holds: layers, lowermost first, and how to start them."""

    name: str  # For example `mysql:5.7`.
    layers: Sequence[Path]  # Each file is called by its SHA-256.
    config: Mapping[str, object]  # Docker's keys: Cmd, Entrypoint, Env, …
    created_s: int
    comment: str  # What this image really is.
    architecture: str
    labels: Mapping[str, str] = field(default_factory=dict)


def write(image: Image, target: Path) -> str:
    """Write one archive; return the image's id, 64 hex digits."""
    config = _json(_config(image))
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [_layer_descriptor(layer) for layer in image.layers],
        }
    )
    config_id = hashlib.sha256(config).hexdigest()
    repository, _, tag = image.name.partition(":")
    names = {
        "io.containerd.image.name": f"docker.io/library/{image.name}",
        "org.opencontainers.image.ref.name": tag,
    }
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [_descriptor(MANIFEST_TYPE, manifest) | {"annotations": names}],
    }
    docker = [
        {
            "Config": f"blobs/sha256/{config_id}",
            "RepoTags": [f"{repository}:{tag}"],
            "Layers": [f"blobs/sha256/{layer.name}" for layer in image.layers],
        }
    ]
    with tarfile.open(target, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json(index))
        _add(tar, "manifest.json", _json(docker))
        for blob in (config, manifest):
            _add(tar, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        for layer in image.layers:
            with layer.open("rb") as source:
                info = tarfile.TarInfo(f"blobs/sha256/{layer.name}")
                info.size = layer.stat().st_size
                tar.addfile(info, source)
    return config_id


def _config(image: Image) -> dict[str, object]:
    created = datetime.fromtimestamp(image.created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    step = {"created": created, "created_by": "deploy/images/build.py", "comment": image.comment}
    return {
        "architecture": image.architecture,
        "os": "linux",
        "created": created,
        "config": dict(image.config) | {"Labels": dict(image.labels)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.name}" for layer in image.layers]},
        "history": [step for _ in image.layers],
    }


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def _layer_descriptor(layer: Path) -> dict[str, object]:
    return {"mediaType": LAYER_TYPE, "digest": f"sha256:{layer.name}", "size": layer.stat().st_size}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))

"""Builders: layers, docker archives and OCI archives, written with the standard library's `tarfile`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of a tar; `fields` are those of `TarInfo`."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def directory(name: str, mode: int = 0o755, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=mode, **fields)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An image in memory."""

    config: bytes
    layers: tuple[bytes, ...]  # As stored, perhaps compressed.

    @property
    def id(self) -> str:
        return digest(self.config)

    @property
    def manifest(self) -> bytes:
        def pointer(data: bytes, kind: str) -> dict[str, Any]:
            return {"mediaType": kind, "digest": digest(data), "size": len(data)}

        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": pointer(self.config, "application/vnd.oci.image.config.v1+json"),
            "layers": [pointer(layer, "application/vnd.oci.image.layer.v1.tar") for layer in self.layers],
        }
        return json.dumps(document).encode()

    @property
    def blobs(self) -> dict[str, bytes]:
        return {digest(data): data for data in (self.config, *self.layers, self.manifest)}


def image(*layers: bytes, compressed: bool = False, config: dict[str, Any] | None = None, **top: Any) -> Made:
    """An image of these uncompressed layers; without any, of one small file."""
    layers = layers or (tar(member("hello", b"hello\n")),)
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-02T03:04:05.123456789Z",
        "config": config or {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
    } | top
    stored = tuple(gzip.compress(layer, mtime=0) for layer in layers) if compressed else layers
    return Made(config=json.dumps(document).encode(), layers=stored)


def docker_archive(made: Made, tags: Sequence[str] = ("app:1",)) -> bytes:
    """What `docker save` wrote before version 25."""
    names = [f"{number}/layer.tar" for number in range(len(made.layers))]
    listed = [{"Config": "config.json", "RepoTags": list(tags), "Layers": names}]
    return tar(
        *(member(name, layer) for name, layer in zip(names, made.layers, strict=True)),
        member("config.json", made.config),
        member("manifest.json", json.dumps(listed).encode()),
    )


def oci_archive(made: Made, name: str = "docker.io/library/app:1") -> bytes:
    """An OCI layout in a tar."""
    pointer = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(made.manifest),
        "size": len(made.manifest),
        "annotations": {"io.containerd.image.name": name},
    }
    return tar(
        member("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        member("index.json", json.dumps({"schemaVersion": 2, "manifests": [pointer]}).encode()),
        *(member(f"blobs/sha256/{key.removeprefix('sha256:')}", data) for key, data in made.blobs.items()),
    )


async def pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
